"""attnc: architectures as short checked specs, compiled to readable PyTorch modules."""

__version__ = "0.1.0"

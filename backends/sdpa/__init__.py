"""PyTorch's own fused attention."""

from attnc.backends.sdpa.backend import SdpaBackend

__all__ = ["SdpaBackend"]

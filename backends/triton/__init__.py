"""Generated Triton kernels."""

from attnc.backends.triton.backend import TritonBackend

__all__ = ["TritonBackend"]

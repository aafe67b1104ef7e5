"""Plain torch, materialised: the meaning of every attention."""

from attnc.backends.reference.backend import AttentionFunction, ReferenceBackend, function

__all__ = ["AttentionFunction", "ReferenceBackend", "function"]

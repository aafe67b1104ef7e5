"""Attention whose weights are products of features: O(n) time by summing keys and values first."""

from attnc.backends.linear.backend import LinearBackend

__all__ = ["LinearBackend"]

"""Attention tile by tile in plain torch, recomputed for the backward pass: O(n) memory."""

from attnc.backends.tiled.backend import TiledBackend

__all__ = ["TiledBackend"]

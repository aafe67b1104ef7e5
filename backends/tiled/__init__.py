"""Attention tile by tile in plain torch: trains in O(n) memory, on any device."""

from attnc.backends.tiled.backend import TiledBackend

__all__ = ["TiledBackend"]

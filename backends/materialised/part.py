"""Scores that are normalised together."""

from __future__ import annotations

from dataclasses import dataclass

KEYS, QUERIES = -1, -2
"""Axes of scores."""


@dataclass(frozen=True, slots=True)
class Part:
    """Scores that are normalised together: those of one source, or of all.

    Attributes:
        scores: the variable that holds them, as `values` holds those of v.
        suffix: of the names of all else.
        sources: their numbers.
        is_masked: whether a score may be -inf.
        can_lack: the axes along which all scores may be -inf.
        can_vanish: the axes along which there may be no scores, as their lengths are left open.
    """

    scores: str
    values: str
    suffix: str
    sources: tuple[int, ...]
    is_masked: bool
    can_lack: frozenset[int]
    can_vanish: frozenset[int]

    @property
    def weights(self) -> str:
        """The variable for the weights."""
        return f"weights{self.suffix}"

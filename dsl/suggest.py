"""Did you mean: the nearest known name to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

SIMILAR = 0.6
"""A name with more than this share of matching characters is worth proposing."""

SIMILAR_SHORT = 0.75
"""The same for names of one or two characters, where chance matches are common."""

LONGEST = 64
"""Longer names are not compared: nobody misspells those, and comparing them costs time."""

SEPARATORS = {ord(mark): None for mark in "-_. "}


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like `name`, or none where all are too far.

    Case and separators (`-`, `_`, `.`, space) do not count. Ties go to the first in order of the
    alphabet, so the answer does not depend on the order of the candidates.
    """
    wanted = _folded(name)
    if not wanted or len(name) > LONGEST:
        return None
    best: str | None = None
    best_likeness = 0.0
    for candidate in sorted(set(candidates) - {name}):
        likeness = _likeness(wanted, _folded(candidate), best_likeness)
        if likeness > best_likeness:
            best, best_likeness = candidate, likeness
    return best


def did_you_mean(name: str, candidates: Iterable[str]) -> str | None:
    """Return the remedy "did you mean `x`?", or none where no candidate is near."""
    found = closest(name, candidates)
    return f"did you mean `{found}`?" if found else None


def _likeness(wanted: str, candidate: str, least: float) -> float:
    if not candidate or len(candidate) > LONGEST:
        return 0.0
    least = max(least, SIMILAR_SHORT if min(len(wanted), len(candidate)) < 3 else SIMILAR)
    matcher = SequenceMatcher(None, candidate, wanted, autojunk=False)
    if matcher.real_quick_ratio() <= least or matcher.quick_ratio() <= least:
        return 0.0
    ratio = matcher.ratio()
    return ratio if ratio > least else 0.0


def _folded(name: str) -> str:
    return name.casefold().translate(SEPARATORS)

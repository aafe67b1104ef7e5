"""Einops patterns, parsed: `b (y x) c -> b c y x`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import chain

from attnc.dsl.ops.mismatch import Mismatch

Group = tuple[str, ...]
"""The names that make up one axis; none for an axis of size 1."""

REST = "..."
"""All axes that have no name, each for itself."""

_JOINED_REST = "(...)"
_TOKEN = re.compile(r"\s*(?:([A-Za-z_]\w*|1(?!\w)|\.\.\.)|(\()|(\)))")


@dataclass(frozen=True, slots=True)
class Notation:
    """Both sides of a pattern, axis by axis."""

    left: tuple[Group, ...]
    right: tuple[Group, ...]

    def for_rank(self, rank: int) -> Notation:
        """Return the pattern with `...` spelled out for a tensor of `rank` axes.

        Raises:
            Mismatch: the pattern has another number of axes.
        """
        has_rest = (REST,) in self.left
        spare = rank - len(self.left) + has_rest
        if spare < 0 or (spare and not has_rest):
            raise Mismatch(
                "argument", f"the pattern has {len(self.left) - has_rest} axes, the tensor {rank}",
                parameter="pattern",
            )  # fmt: skip
        rest = tuple(f"{REST}{axis}" for axis in range(spare))
        return Notation(_spelled(self.left, rest), _spelled(self.right, rest))

    @staticmethod
    def names(side: tuple[Group, ...]) -> list[str]:
        """Return the names of a side in order."""
        return [name for group in side for name in group]

    def new_names(self) -> list[str]:
        """Return the names that stand on the right only."""
        return [name for name in self.names(self.right) if name not in self.names(self.left)]

    def lost_names(self) -> list[str]:
        """Return the names that stand on the left only."""
        return [name for name in self.names(self.left) if name not in self.names(self.right)]


def _spelled(side: tuple[Group, ...], rest: Group) -> tuple[Group, ...]:
    """Replace `...` by names, and inside parentheses by a part of the group."""
    spelled: list[Group] = []
    for group in side:
        if group == (REST,):
            spelled.extend((name,) for name in rest)
        else:
            names = [rest if name == _JOINED_REST else (name,) for name in group]
            spelled.append(tuple(chain.from_iterable(names)))
    return tuple(spelled)


@cache
def parse(pattern: str) -> Notation:
    """Parse a pattern.

    Raises:
        Mismatch: it is no pattern, or a name stands twice on one side.
    """
    left, arrow, right = pattern.partition("->")
    if not arrow:
        raise _wrong(pattern, "there is no ->")
    notation = Notation(_parse_side(left, pattern), _parse_side(right, pattern))
    for side in (notation.left, notation.right):
        names = Notation.names(side)
        if len(set(names)) < len(names):
            raise _wrong(pattern, "a name stands twice on one side")
    if any(_JOINED_REST in group for group in notation.left):
        raise _wrong(pattern, "... cannot stand in parentheses before the arrow")
    return notation


def _parse_side(side: str, pattern: str) -> tuple[Group, ...]:
    groups: list[list[str]] = []
    is_inside, at, text = False, 0, side.rstrip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or (token[2] and is_inside) or (token[3] and not is_inside):
            raise _wrong(pattern, f"{text[at:].strip()[0]!r} cannot stand there")
        at = token.end()
        if token[1] is None:
            is_inside = token[2] is not None
            if is_inside:
                groups.append([])
            continue
        if not is_inside:
            groups.append([])
        if token[1] == REST:
            groups[-1].append(_JOINED_REST if is_inside else REST)
        elif token[1] != "1":
            groups[-1].append(token[1])
    if is_inside:
        raise _wrong(pattern, "a parenthesis is not closed")
    return tuple(map(tuple, groups))


def _wrong(pattern: str, reason: str) -> Mismatch:
    return Mismatch("argument", f'no pattern: "{pattern}": {reason}', parameter="pattern")

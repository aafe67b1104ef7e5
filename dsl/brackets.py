"""The brackets that are open in a text, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field

from attnc.dsl import codes
from attnc.dsl.diagnostics import Collector, Note
from attnc.dsl.lexemes import Fragment, Item, Lexeme

DEEPEST = 100
"""Levels of brackets and bodies within each other."""

_CLOSING = {"(": ")", "[": "]", "{": "}"}

OPENING = {closing: opening for opening, closing in _CLOSING.items()}


class TooDeep(Exception):
    """Brackets nest deeper than `DEEPEST`; it has been reported."""


@dataclass(slots=True)
class Body:
    """Items being collected, the last of which is still open.

    Attributes:
        commas: a comma ends an item, as in variants.
        broken: an error in the open item has been reported.
    """

    commas: bool = False
    items: list[Item] = field(default_factory=list)
    lexemes: list[Lexeme] = field(default_factory=list)
    broken: bool = False


@dataclass(slots=True)
class Level:
    """A bracket that is open.

    Attributes:
        outer: of a brace that opens a body, what the body stands in.
        depth: levels up to here.
    """

    bracket: str
    start: int
    outer: Body | None
    depth: int


class Brackets:
    """A stack of open brackets.

    Attributes:
        inside: line ends and commas do not end items: a bracket is open that is not a body's, or
            all of the text stands within one.
    """

    def __init__(self, fragment: Fragment, collector: Collector, part: bool, depth: int) -> None:
        self.fragment = fragment
        self.collector = collector
        self.part = part
        self.depth = depth
        self.levels: list[Level] = []
        self.inside = part

    def innermost(self) -> str:
        """Return the innermost open bracket; nothing directly in a body."""
        return self.levels[-1].bracket if self.levels and self.levels[-1].outer is None else ""

    def push(self, bracket: str, start: int, outer: Body | None = None, chained: int = 0) -> None:
        """Open a bracket.

        Args:
            chained: further levels, one for each `else` before it.

        Raises:
            TooDeep: that is one too many.
        """
        depth = (self.levels[-1].depth if self.levels else self.depth) + 1 + chained
        if depth > DEEPEST:
            span = self.fragment.span(start, start + 1)
            self.collector.add(codes.TOO_DEEP.at(span, limit=DEEPEST))
            raise TooDeep
        self.levels.append(Level(bracket, start, outer, depth))
        self.inside = self.part or outer is None

    def pop(self) -> None:
        """Close the innermost bracket."""
        self.levels.pop()
        self.inside = self.part or bool(self.innermost())

    def drop(self, start: int = 0) -> None:
        """Close all brackets within the innermost body that were opened at `start` or later."""
        while self.innermost() and self.levels[-1].start >= start:
            self.pop()

    def reach(self, closing: str, start: int, end: int) -> bool:
        """Find what a closing bracket closes, and close all that is open within it.

        Returns false where anything is wrong, which is reported; where the bracket closes nothing
        the innermost one does not fit it.
        """
        opening = OPENING[closing]
        reached = next(
            (level for level in reversed(self.levels)
             if level.bracket == opening or level.outer is not None), None,
        )  # fmt: skip
        if reached is None or reached.bracket != opening:
            self._report_stray(closing, start, end)
            return False
        if reached is self.levels[-1]:
            return True
        self.report_unclosed(f"'{closing}'", start, end)
        while self.levels[-1] is not reached:
            self.pop()
        return False

    def fits(self, closing: str) -> bool:
        """Whether the innermost bracket is what a closing one closes."""
        return bool(self.levels) and self.levels[-1].bracket == OPENING[closing]

    def report_unclosed(self, found: str, start: int, end: int) -> None:
        """Say that the innermost bracket is not closed where something else is found."""
        level = self.levels[-1]
        note = Note("this one is never closed", self.fragment.span(level.start, level.start + 1))
        self.collector.add(codes.TEXT_SYNTAX.at(
            self.fragment.span(start, end), found=found,
            expected=f"'{_CLOSING[level.bracket]}'", notes=[note],
        ))  # fmt: skip

    def _report_stray(self, closing: str, start: int, end: int) -> None:
        innermost = self.innermost()
        self.collector.add(codes.TEXT_SYNTAX.at(
            self.fragment.span(start, end), found=f"'{closing}'",
            expected=f"'{_CLOSING[innermost]}'" if innermost else "end of line",
            hint="no bracket is open that it could close",
        ))  # fmt: skip

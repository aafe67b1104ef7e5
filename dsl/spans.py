"""Where text came from: sources, spans, and positions as people count them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A text that was read: the name to show for it, and its characters.

    Attributes:
        name: the path as the user gave it, `zoo:vit`, `std:mlp` or `<stdin>`.
        text: the whole text.
    """

    name: str
    text: str
    _starts: list[int] = field(default_factory=list, init=False, repr=False)

    def _line_starts(self) -> list[int]:
        if not self._starts:
            self._starts.append(0)
            self._starts.extend(at + 1 for at, char in enumerate(self.text) if char == "\n")
        return self._starts

    def position(self, offset: int) -> tuple[int, int]:
        """Return the 1-based line and column (in code points) of `offset`."""
        starts = self._line_starts()
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Return line `number` (1-based) without its line end."""
        starts = self._line_starts()
        if not 1 <= number <= len(starts):
            return ""
        end = starts[number] - 1 if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r")


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Characters `start` up to, not including, `end` of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        """The 1-based line of the first character."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """The 1-based column of the first character, in code points."""
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        """The characters themselves."""
        return self.source.text[self.start : self.end]

    def to(self, last: Span) -> Span:
        """Return the span from here to the end of `last`, a later one of this source."""
        return Span(self.source, self.start, max(self.end, last.end))

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


SpanChain = tuple[Span, ...]
"""Outermost use site first, innermost definition last."""

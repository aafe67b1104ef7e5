"""A source line as a terminal shows it, and the columns that a span takes in it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from attnc.dsl.spans import Span

COLUMNS = 88
"""Width of the source text shown; a longer line is clipped around the span."""

TAB = "    "
ELLIPSIS = "…"
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that would move the cursor, reorder the line, or not show at all."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One line to show.

    Attributes:
        line: its number, 1-based.
        text: printable characters only, at most `COLUMNS` columns wide.
        indent: terminal columns before the marker.
        width: terminal columns of the marker, at least 1.
    """

    line: int
    text: str
    indent: int
    width: int


def excerpt(span: Span) -> Excerpt:
    """Return the first line of `span`, made printable and clipped so that its start shows."""
    number, column = span.source.position(span.start)
    line = span.source.line(number)
    start = min(column - 1, len(line))
    stop = min(start + max(span.end - span.start, 1), len(line))
    first, last = _window(line, start)
    before = (ELLIPSIS if first else "") + printable(line[first:start])
    marked = printable(line[start : min(stop, last)])
    after = printable(line[min(stop, last) : last]) + (ELLIPSIS if last < len(line) else "")
    return Excerpt(number, before + marked + after, columns(before), max(columns(marked), 1))


def printable(text: str) -> str:
    """Return `text` with tabs widened and what a terminal would not show escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def columns(text: str) -> int:
    """Return the columns that printable text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _window(line: str, start: int) -> tuple[int, int]:
    """The part of `line` to show: all of it, or about a third of the columns before `start`."""
    if len(line) <= COLUMNS and columns(printable(line)) <= COLUMNS:
        return 0, len(line)
    room = COLUMNS - 2 * len(ELLIPSIS)
    first = last = start
    while first > 0 and columns(printable(line[first - 1 : start])) <= room // 3:
        first -= 1
    while last < len(line) and columns(printable(line[first : last + 1])) <= room:
        last += 1
    while first > 0 and columns(printable(line[first - 1 : last])) <= room:
        first -= 1
    return first, last


def _shown(character: str) -> str:
    if character == "\t":
        return TAB
    if unicodedata.category(character) in INVISIBLE:
        return character.encode("unicode_escape").decode("ascii")
    return character


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1

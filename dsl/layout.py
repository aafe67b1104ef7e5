"""Laying out nested brackets: on one line where it fits, else one item to a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Union

WIDTH = 100
"""Columns of a line."""

STEP = 2
"""Columns of one level of indentation."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item in brackets, the comments above it, and what parts it from the next."""

    text: Layout
    comments: tuple[str, ...] = ()
    ending: str = ","


@dataclass(frozen=True, slots=True)
class Brackets:
    """Items between brackets."""

    opening: str
    items: tuple[Item, ...]
    closing: str


Layout = tuple[Union[str, Brackets], ...]
"""Texts and brackets in a row."""


def flat(layout: Layout) -> str | None:
    """Return the layout on one line; none where a comment in it (no blank line) forbids that."""
    parts = [part if isinstance(part, str) else _flat_brackets(part) for part in layout]
    kept = [part for part in parts if part is not None]
    return "".join(kept) if len(kept) == len(parts) else None


def _flat_brackets(brackets: Brackets) -> str | None:
    items = [None if any(item.comments) else flat(item.text) for item in brackets.items]
    kept = [item for item in items if item is not None]
    if len(kept) < len(items):
        return None
    endings = [f"{item.ending} " for item in brackets.items[:-1]] + [""]
    inner = "".join(f"{text}{ending}" for text, ending in zip(kept, endings, strict=False))
    return f"{brackets.opening}{inner}{brackets.closing}"


def laid_out(layout: Layout, margin: int = 0, column: int | None = None) -> str:
    """Return the layout as it starts at `column` of a line indented by `margin`.

    Where it does not fit, the longest brackets in it are broken, and again within them.
    """
    column = margin if column is None else column
    line = flat(layout)
    if line is not None and column + len(line) <= WIDTH:
        return line
    widths = [_width(part) for part in layout]
    widest = max(range(len(layout)), key=widths.__getitem__, default=0)
    if not widths or widths[widest] == 0:
        return line or ""
    before, brackets, after = layout[:widest], layout[widest], layout[widest + 1 :]
    assert isinstance(brackets, Brackets), "only brackets have a width"
    return f"{flat(before)}{_broken(brackets, margin)}{flat(after)}"


def _width(part: str | Brackets) -> float:
    if isinstance(part, str) or not part.items:
        return 0
    line = _flat_brackets(part)
    return float("inf") if line is None else len(line)


def _broken(brackets: Brackets, margin: int) -> str:
    inner = margin + STEP
    lines = [brackets.opening.rstrip()]
    for item in brackets.items:
        lines += comment_lines(item.comments, inner, first=len(lines) == 1)
        lines.append(f"{' ' * inner}{laid_out(item.text, inner)}{item.ending}")
    lines.append(f"{' ' * margin}{brackets.closing}")
    return "\n".join(lines)


def comment_lines(comments: Iterable[str], margin: int, first: bool = False) -> Iterator[str]:
    """Yield comments as lines; an empty one is a blank line, which is left out at the beginning."""
    for comment in comments:
        if comment:
            yield f"{' ' * margin}# {comment}"
            first = False
        elif not first:
            yield ""
            first = True


def separated(layouts: Sequence[Layout], separator: str) -> Layout:
    """Return layouts in a row with a separator between them."""
    joined: list[str | Brackets] = []
    for layout in layouts:
        joined += [separator, *layout] if joined else layout
    return tuple(joined)

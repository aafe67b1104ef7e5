"""Which tiles a loop visits: closed forms from the band of a source, whole and cut tiles apart."""

from __future__ import annotations

from dataclasses import dataclass

from attnc.backends.triton.expressions import Printer
from attnc.backends.triton.names import Names
from attnc.backends.triton.problem import Stream
from attnc.dsl.attention import ScoreTree
from attnc.dsl.scorelang import (
    KeyRangeText,
    LinearBand,
    as_size,
    at_least,
    coordinates,
    key_range_text,
)


@dataclass(frozen=True, slots=True)
class Loop:
    """A run of tiles.

    Attributes:
        start, stop: expressions.
        cut: whether pairs of its tiles may lie outside the band or past the end.
    """

    start: str
    stop: str
    cut: bool


@dataclass(frozen=True, slots=True)
class Walk:
    """How a kernel walks one side of the pairs.

    Attributes:
        lines: statements before the loops.
        loops: in the order of rows.
        used: tensors, strides and sizes that lines read.
    """

    lines: tuple[str, ...]
    loops: tuple[Loop, ...]
    used: frozenset[str]

    def parts(self) -> tuple[str, ...]:
        """Return all its texts."""
        bounds = (part for each in self.loops for part in (each.start, each.stop))
        return (*self.lines, *bounds)


@dataclass(frozen=True, slots=True)
class Side:
    """The side that is walked, as seen from the tile that stays.

    Attributes:
        inside: the band, seen from that tile: queries of a key lie in the mirrored band.
        low, high: names of its first and last row.
        length: name of the number of rows walked.
        block: rows of a tile walked.
        tag: what names of the walk end in.
    """

    inside: LinearBand
    low: str
    high: str
    length: str
    block: str
    tag: str


def over_keys(stream: Stream) -> Side:
    """Return how a tile of queries walks the keys of a stream."""
    return Side(stream.inside, "first_i", "last_i", stream.own("m"), "BLOCK_J", stream.tag)


def over_queries(stream: Stream) -> Side:
    """Return how a tile of keys walks the queries: j - right <= i <= j + left."""
    mirrored = LinearBand(stream.inside.right, stream.inside.left)
    return Side(mirrored, "first_j", "last_j", "n", "BLOCK_I", "")


_BOUNDS = ("begin", "whole", "rest", "end")


def walk(side: Side, stream: Stream, names: Names) -> Walk:
    """Return the loops over the tiles that a band reaches.

    Tiles where every pair is allowed come in a loop of their own, without a mask.

    Args:
        side: what is walked.
        stream: the source whose pairs they are.
        names: the vocabulary of the site.
    """
    printer = Printer(names, stream.ranges)
    begin, whole, rest, end = (f"{name}{side.tag}" for name in _BOUNDS)
    block = side.block
    reach = key_range_text(
        side.inside, side.low, side.high, side.length, printer.expression,
        "tl.minimum({a}, {b})", "tl.maximum({a}, {b})",
    )  # fmt: skip
    lines = list(printer.lines)
    start, stop = reach.start, reach.stop
    if side.inside.left is not None:
        lines.append(f"{begin} = {start} // {block} * {block}")
        start = begin
    if side.inside.right is not None:
        lines.append(f"{end} = {stop}")
        stop = end
    used = frozenset(printer.used - {"b", "h"})
    if stream.masked:
        return Walk(tuple(lines), (Loop(start, stop, True),), used)
    lines += _whole_tiles(reach, side, whole, rest)
    loops = [Loop(whole if side.inside.left is not None else "0", rest, False)]
    if side.inside.left is not None:
        loops.insert(0, Loop(start, f"tl.minimum({whole}, {stop})", True))
    return Walk(tuple(lines), (*loops, Loop(rest, stop, True)), used)


def reach(side: Side, stream: Stream, names: Names) -> tuple[Walk, str]:
    """Return statements, and the condition that the tile from `first_j` on holds a pair allowed.

    The condition is empty where the band does not tell.
    """
    printer = Printer(names, stream.ranges)
    sides = [each for each in (side.inside.left, side.inside.right) if each is not None]
    if any("b" in coordinates(each) for each in sides):
        return Walk((), (), frozenset()), ""
    band = key_range_text(
        side.inside, side.low, side.high, side.length, printer.expression,
        "tl.minimum({a}, {b})", "tl.maximum({a}, {b})",
    )  # fmt: skip
    conditions = []
    if side.inside.left is not None:
        conditions.append(f"(first_j + {side.block} > {band.start})")
    if side.inside.right is not None:
        conditions.append(f"(first_j < {band.stop})")
    used = frozenset(printer.used - {"h"})
    return Walk(tuple(printer.lines), (), used), " & ".join(conditions)


def _whole_tiles(reach: KeyRangeText, side: Side, whole: str, rest: str) -> list[str]:
    """Bound the tiles in which every pair is allowed."""
    block = side.block
    down = f"{reach.full_stop} // {block} * {block}"
    if side.inside.left is not None:
        return [
            f"{whole} = tl.cdiv({reach.full_start}, {block}) * {block}",
            f"{rest} = tl.maximum({down}, {whole})",
        ]
    if side.inside.right is None or _is_natural(side.inside.right):
        return [f"{rest} = {down}"]
    return [f"{rest} = tl.maximum({reach.full_stop}, 0) // {block} * {block}"]


def _is_natural(tree: ScoreTree) -> bool:
    size = as_size(tree)
    return size is not None and at_least(size, 0)

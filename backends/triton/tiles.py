"""Which tiles a loop visits: closed forms from the band of a source, whole and cut tiles apart."""

from __future__ import annotations

from dataclasses import dataclass

from attnc.backends.triton.expressions import Printer
from attnc.backends.triton.names import Names
from attnc.backends.triton.streams import Blocks, Stream
from attnc.dsl.attention import Constant, ScoreTree
from attnc.dsl.scorelang import (
    LinearBand,
    as_size,
    at_least,
    coordinates,
    fill,
    is_scalar,
    make,
    simplify,
)


@dataclass(frozen=True, slots=True)
class Loop:
    """A run of tiles.

    Attributes:
        start, stop: expressions.
        cut: whether pairs of its tiles may lie outside the band or past the end.
        few: whether it has a tile or two, so that a pipeline would only take registers.
    """

    start: str
    stop: str
    cut: bool
    few: bool = False


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
        group: the size that says how many heads share each row walked; empty for one.
    """

    inside: LinearBand
    low: str
    high: str
    length: str
    block: str
    tag: str
    group: str = ""

    def slots(self, rows: str) -> str:
        """Return the number of places that rows take."""
        return fill("{a} * {b}", rows, self.group) if self.group else rows


def over_keys(stream: Stream) -> Side:
    """Return how a tile of queries walks the keys of a stream."""
    return Side(stream.inside, "first_i", "last_i", stream.own("m"), "BLOCK_J", stream.tag)


def over_queries(stream: Stream, group: str) -> Side:
    """Return how a tile of keys walks the queries: j - right <= i <= j + left.

    Args:
        stream: whose keys and queries.
        group: the size that says how many heads are walked at once; empty for one.
    """
    mirrored = LinearBand(stream.inside.right, stream.inside.left)
    return Side(mirrored, "first_j", "last_j", "n", "BLOCK_I", "", group)


NOTHING = Constant(0)
SHORT = 64
"""Slots that tiles of most cards take at once."""
_BOUNDS = ("begin", "whole", "rest", "end")


def walk(side: Side, stream: Stream, names: Names) -> Walk:
    """Return the loops over the tiles that a band reaches.

    Tiles where every pair is allowed come in a loop of their own, without a mask. Of a source by
    block a tile walks the slots of its block.

    Args:
        side: what is walked.
        stream: the source whose pairs they are.
        names: the vocabulary of the site.
    """
    if stream.blocks is not None:
        return _block_walk(stream.blocks, stream, names)
    printer = Printer(names, stream.ranges)
    begin, whole, rest, end = (f"{name}{side.tag}" for name in _BOUNDS)
    left, right, block = side.inside.left, side.inside.right, side.block
    start, full_start, stop, full_stop = map(side.slots, (
        *(_start(row, left, printer) for row in (side.low, side.high)),
        *(_stop(row, right, side.length, printer) for row in (side.high, side.low)),
    ))  # fmt: skip
    lines = list(printer.lines)
    if left is not None:
        lines.append(f"{begin} = {start} // {block} * {block}")
        start = begin
    if right is not None:
        lines.append(f"{end} = {stop}")
        stop = end
    used = frozenset(printer.used - {"b", "h"})
    if stream.masked:
        return Walk(tuple(lines), (Loop(start, stop, True),), used)
    narrow = left is not None and right is not None
    last = Loop(rest, stop, True, few=not narrow)
    loops = [Loop(start, rest, False), last]
    down = f"{full_stop} // {block} * {block}"
    if left is not None:
        lines.append(f"{whole} = tl.cdiv({full_start}, {block}) * {block}")
        down = f"tl.maximum({down}, {whole})"
        first = Loop(start, f"tl.minimum({whole}, {stop})", True, few=not narrow)
        loops = [first, Loop(whole, rest, False), last]
    elif right is not None and not _is_natural(right):  # the first rows may reach nothing
        down = f"tl.maximum({full_stop}, 0) // {block} * {block}"
    return Walk((*lines, f"{rest} = {down}"), tuple(loops), used)


def _block_walk(blocks: Blocks, stream: Stream, names: Names) -> Walk:
    seen = blocks.seen
    printer = Printer(names, {**stream.ranges, "block": seen.block_range})
    count = printer.expression(simplify(seen.count))
    lines, stop = list(printer.lines), count
    if blocks.packs:
        stop = f"PACK * {seen.slots}"
        if not is_scalar(seen.count):
            lines.append(f"end{stream.tag} = {stop} if PACK > 1 else {count}")
            stop = f"end{stream.tag}"
    few = isinstance(seen.size, int) and seen.size <= SHORT
    return Walk(
        tuple(lines), (Loop("0", stop, True, few),),
        frozenset((printer.used | blocks.used) - {"b", "h", "block"}),
    )  # fmt: skip


def holds_pair(side: Side, stream: Stream, names: Names) -> tuple[Walk, str]:
    """Return statements, and the condition that the tile from `first_j` on holds a pair allowed.

    The condition is empty where the band does not tell.
    """
    printer = Printer(names, stream.ranges)
    left, right = side.inside.left, side.inside.right
    if any("b" in coordinates(each) for each in (left, right) if each is not None):
        return Walk((), (), frozenset()), ""
    conditions = []
    if left is not None:
        conditions.append(f"first_j + {side.block} > {_start(side.low, left, printer)}")
    if right is not None:
        conditions.append(f"first_j < {_stop(side.high, right, side.length, printer)}")
    joined = " & ".join(f"({each})" if len(conditions) > 1 else each for each in conditions)
    return Walk(tuple(printer.lines), (), frozenset(printer.used - {"h"})), joined


def _start(row: str, left: ScoreTree | None, printer: Printer) -> str:
    """Return the first row in reach of a row."""
    if left is None:
        return "0"
    if left == NOTHING:
        return row
    return fill("tl.maximum({a} - {b}, 0)", row, printer.expression(left))


def _stop(row: str, right: ScoreTree | None, length: str, printer: Printer) -> str:
    """Return the end of the rows in reach of a row."""
    if right is None:
        return length
    beyond = printer.expression(make("add", right, Constant(1)))
    return fill("tl.minimum({a} + {b}, {c})", row, beyond, length)


def _is_natural(tree: ScoreTree) -> bool:
    size = as_size(tree)
    return size is not None and at_least(size, 0)

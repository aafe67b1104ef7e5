"""The kernel for gradients of tensors that scores read by `i - j` alone: relative positions.

Tiles on one diagonal of tiles read alike, so that a program adds up all of them, and its part of
the batch, in registers and stores one tile: sums take as much memory as the tokens do, in an order
that no launch changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from attnc.backends.triton.gradient import Slopes, formulas, nothing_outside
from attnc.backends.triton.kernel import KernelText, kernel_text
from attnc.backends.triton.orientation import PAIRS
from attnc.backends.triton.pairs import no_sums, one_element, summed
from attnc.backends.triton.pieces import axes, captures, key_sizes
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.streams import Stream
from attnc.backends.triton.tiles import Walk, holds_pair, over_keys


def offsets(problem: Problem, stream: Stream) -> KernelText:
    """Return the kernel: one diagonal of square tiles, for a part of the batch.

    Buffers are [parts, h, diagonals, BLOCK_I, BLOCK_J]; the first diagonal is that of the first
    queries and the last keys.
    """
    k, v = stream.own("k"), stream.own("v")
    slopes: Slopes = {f"{each.buffer}_slope": each.by_pair for each in stream.of_kind("offset")}
    statistics = problem.of_query(stream)
    buffers = [each.buffer for each in stream.of_kind("offset")]
    found, inside = holds_pair(over_keys(stream), stream, problem.names)
    used = captures([*formulas(stream, slopes), stream.weight])
    return kernel_text(
        problem,
        f"offsets{stream.tag}",
        "Gradients of what scores read by i - j, over a part of the batch.",
        inputs=["q", k, v, *statistics, "grad_out"],
        outputs=buffers,
        contiguous=[*statistics, *buffers],
        used={*used, *found.used, *key_sizes(stream, PAIRS), "batch", "span", "heads", "n"},
        body=_body(problem, stream, slopes, found, inside),
    )


def _body(
    problem: Problem, stream: Stream, slopes: Slopes, found: Walk, inside: str
) -> Iterator[str]:
    m = stream.own("m")
    yield _PLACE.format(m=m)
    if inside:
        yield _FIRST
        if "last_i" in " ".join((*found.lines, inside)):
            yield "last_i = tl.minimum(first_i + BLOCK_I, n) - 1"
        yield from found.lines
        yield f"allowed = {inside}  # the others hold no more"
        yield "end = tl.where(allowed, end, begin)"
    yield from no_sums(slopes)
    lines = [
        _TILE.format(m=m),
        *axes(stream, formulas(stream, slopes), PAIRS),
        *one_element(problem, stream, slopes),
        *nothing_outside(stream, slopes, PAIRS, f"(rows < n)[:, None] & (cols < {m})[None, :]"),
    ]
    yield "for item in range(begin, end):\n" + indent(summed(lines, slopes), "    ")
    yield _AT
    for name in slopes:
        buffer = name.removesuffix("_slope")
        yield f"tl.store({buffer} + at, {buffer}_sum)"


_PLACE = """\
tiles_i = tl.cdiv(n, BLOCK_I)
tiles_j = tl.cdiv({m}, BLOCK_J)
diagonals = tiles_i + tiles_j - 1
program = tl.program_id(0)
part = (program // diagonals).to(tl.int64)  # heads innermost
h = part % heads
apart = program % diagonals - tiles_j + 1  # tiles from keys to queries
top = tl.maximum(apart, 0)
count = tl.minimum(tiles_i, tiles_j + apart) - top
begin = part // heads * span * count
end = tl.minimum(begin + span * count, batch * count)"""
_FIRST = """\
first_i = top * BLOCK_I
first_j = (top - apart) * BLOCK_J"""
_TILE = """\
b = item // count
tile = top + (item % count).to(tl.int32)
rows = tile * BLOCK_I + tl.arange(0, BLOCK_I)
cols = (tile - apart) * BLOCK_J + tl.arange(0, BLOCK_J)
near_i = tl.minimum(rows, n - 1)  # past the end the last row again
near_j = tl.minimum(cols, {m} - 1)"""
_AT = """\
at = program.to(tl.int64) * BLOCK_I + tl.arange(0, BLOCK_I)
at = at[:, None] * BLOCK_J + tl.arange(0, BLOCK_J)[None, :]"""

"""The kernel for gradients of tensors that scores read by query and key: biases and tables.

Sums over the batch, and over blocks that read alike, stay in registers and each tile is stored
once: no atomics, no order of sums that depends on the launch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from textwrap import indent

from attnc.backends.triton.gradient import (
    Slopes,
    formulas,
    nothing_outside,
    of_rows,
    score_gradient,
    sums,
    weight_name,
)
from attnc.backends.triton.kernel import KernelText, kernel_text
from attnc.backends.triton.orientation import PAIRS
from attnc.backends.triton.pieces import (
    axes,
    captures,
    key_head,
    key_sizes,
    of_stream,
    rows_of,
)
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.streams import Blocks, Stream
from attnc.backends.triton.tiles import Walk, holds_pair, over_keys


def pairs(problem: Problem, stream: Stream) -> KernelText:
    """Return the kernel: one tile of pairs, for a part of the batch.

    Buffers are [parts, h, n, m], to be summed over the parts; of a source by block n and m are the
    slots of a block and of what it sees, and blocks that are kept apart come before.
    """
    k, v = stream.own("k"), stream.own("v")
    terms = stream.of_kind("pair")
    slopes: Slopes = {f"{each.buffer}_slope": each.by_pair for each in terms}
    statistics = problem.of_query(stream)
    buffers = [each.buffer for each in terms]
    used = captures([*formulas(stream, slopes), stream.weight])
    if stream.blocks is None:
        found, inside = holds_pair(over_keys(stream), stream, problem.names)
        body = _in_a_row(problem, stream, slopes, found, inside)
    else:
        found, single = Walk((), (), frozenset()), stream.blocks.single
        stream = replace(stream, blocks=single)
        body = _by_block(problem, stream, single, slopes)
    return kernel_text(
        problem,
        f"pairs{stream.tag}",
        "Gradients of what scores read by query and key, over a part of the batch.",
        inputs=["q", k, v, *statistics, "grad_out"],
        outputs=buffers,
        contiguous=[*statistics, *buffers],
        used={
            *used, *found.used, *of_stream(stream), *key_sizes(stream, PAIRS),
            *("batch", "span", "heads", "n"),
        },
        body=body,
    )  # fmt: skip


def _in_a_row(
    problem: Problem, stream: Stream, slopes: Slopes, found: Walk, inside: str
) -> Iterator[str]:
    m = stream.own("m")
    yield _PLACE.format(n="n", m=m)
    yield "rows = first_i + tl.arange(0, BLOCK_I)"
    yield "cols = first_j + tl.arange(0, BLOCK_J)"
    yield _NEAR.format(m=m)
    if "last_i" in " ".join((*found.lines, inside)):
        yield "last_i = tl.minimum(first_i + BLOCK_I, n) - 1"
    yield from axes(stream, formulas(stream, slopes), PAIRS)
    yield from no_sums(slopes)
    yield _PART.format(items="batch")
    if inside:
        yield from found.lines
        yield f"allowed = {inside}"
        yield "end = tl.where(allowed, end, begin)"
    lines = one_element(problem, stream, slopes)
    if stream.keep is not None:
        lines += nothing_outside(stream, slopes, PAIRS)
    yield "for b in range(begin, end):\n" + indent(summed(lines, slopes), "    ")
    yield from _stored(slopes, "rows", "cols", "n", m)


def _by_block(problem: Problem, stream: Stream, blocks: Blocks, slopes: Slopes) -> Iterator[str]:
    """The same for the slots of a block, in sums over all blocks unless they are kept apart."""
    m, of = stream.own("m"), blocks.own.blocks
    place = _PLACE_APART if stream.apart else _PLACE
    yield place.format(n=blocks.own.slots, m=blocks.seen.slots, of=of)
    yield "slots_i = first_i + tl.arange(0, BLOCK_I)"
    yield "slots_j = first_j + tl.arange(0, BLOCK_J)"
    lines = [
        f"rows = {blocks.own.tokens.rows('slots_i', 'n')}",
        f"cols = {blocks.seen.tokens.rows('slots_j', m)}",
        "near_i = tl.minimum(rows, n - 1)",
        f"near_j = tl.minimum(cols, {m} - 1)",
        *axes(stream, formulas(stream, slopes), PAIRS),
    ]
    if stream.apart:
        yield from lines
        yield _PART_APART.format(of=of)
        lines, run = [], "for b in range(begin, end):\n"
    else:
        yield _PART.format(items=f"batch * {of}")
        lines, run = [f"b = item // {of}", f"block = item % {of}", *lines], _ITEMS
    yield from no_sums(slopes)
    lines += one_element(problem, stream, slopes)
    inside = f"(rows < n)[:, None] & (cols < {m})[None, :]"
    lines += nothing_outside(stream, slopes, PAIRS, inside)
    yield run + indent(summed(lines, slopes), "    ")
    yield from _stored(slopes, "slots_i", "slots_j", blocks.own.slots, blocks.seen.slots)


def one_element(problem: Problem, stream: Stream, slopes: Slopes) -> list[str]:
    """Return statements for what one element of the batch gives."""
    k, v = stream.own("k"), stream.own("v")
    of_query = problem.of_query(stream)
    lines = [
        f"q_tile = {rows_of('q', 'h', 'near_i', problem.dim)}",
        f"k_tile = {rows_of(k, key_head(stream, PAIRS), 'near_j', problem.dim)}",
        f"v_tile = {rows_of(v, key_head(stream, PAIRS), 'near_j', problem.width)}",
        f"grad_tile = {rows_of('grad_out', 'h', 'near_i', problem.width)}",
        *(["at = (b * heads + h) * n + near_i"] if of_query else []),
        *of_rows(of_query, "at"),
    ]
    if stream.weight is not None and weight_name(stream):
        lines.append(stream.weight.assigned("weight"))
    return [*lines, *score_gradient(problem.rule, stream, slopes, PAIRS, placed=True)]


def summed(lines: list[str], slopes: Slopes) -> str:
    """Return lines, then those that add the tile of each buffer to its sum."""
    return "\n".join([*lines, *sums(slopes, "{}")])


def no_sums(slopes: Slopes) -> Iterator[str]:
    """Yield a sum of 0 for each buffer."""
    for name in slopes:
        buffer = name.removesuffix("_slope")
        yield f"{buffer}_sum = tl.zeros([BLOCK_I, BLOCK_J], tl.float32)"


def _stored(slopes: Slopes, rows: str, cols: str, n: str, m: str) -> Iterator[str]:
    yield f"at = (part * {n} + {rows}[:, None]) * {m} + {cols}[None, :]"
    yield f"stored = ({rows} < {n})[:, None] & ({cols} < {m})[None, :]"
    for name in slopes:
        buffer = name.removesuffix("_slope")
        yield f"tl.store({buffer} + at, {buffer}_sum, mask=stored)"


_PLACE = """\
tiles_i = tl.cdiv({n}, BLOCK_I)
tiles_j = tl.cdiv({m}, BLOCK_J)
program = tl.program_id(0)
part = (program // tiles_i // tiles_j).to(tl.int64)  # heads innermost
h = part % heads
first_i = program % tiles_i * BLOCK_I
first_j = program // tiles_i % tiles_j * BLOCK_J"""
_NEAR = """\
near_i = tl.minimum(rows, n - 1)  # past the end the last row again, never stored
near_j = tl.minimum(cols, {m} - 1)"""
_PART = """\
begin = part // heads * span
end = tl.minimum(begin + span, {items})"""
_PLACE_APART = """\
tiles_i = tl.cdiv({n}, BLOCK_I)
tiles_j = tl.cdiv({m}, BLOCK_J)
program = tl.program_id(0)
part = (program // tiles_i // tiles_j).to(tl.int64)  # blocks innermost, then heads
block = part % {of}
h = part // {of} % heads
first_i = program % tiles_i * BLOCK_I
first_j = program // tiles_i % tiles_j * BLOCK_J"""
_PART_APART = """\
begin = part // {of} // heads * span
end = tl.minimum(begin + span, batch)"""
_ITEMS = "for item in range(begin, end):\n"

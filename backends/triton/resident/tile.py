"""Lines that both resident kernels have: the rows of a program, its tiles and their scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import indent

from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.layout import call
from attnc.backends.triton.pieces import (
    assigned,
    axes,
    captures,
    is_uneven,
    literal,
    only_kept,
    padded,
    rows_of,
    scores,
    variables,
)
from attnc.backends.triton.resident.problem import Resident
from attnc.backends.triton.resident.readings import Reading
from attnc.dsl.scorelang import fill


def sizes(problem: Resident, formulas: Iterable[Formula]) -> set[str]:
    """Return captured tensors, strides and sizes that a kernel reads."""
    return captures(formulas) | {"heads", "span", problem.streams.length}


def program(problem: Resident) -> Iterator[str]:
    """Yield statements that find the rows of a program and read the operand that stays."""
    side, length = problem.stays, problem.streams.length
    yield f"splits = tl.maximum(tl.cdiv({length}, span), 1)"
    yield "split, b, h = place(splits, heads, 1)"
    yield f"slots = tl.arange(0, {side.block})"
    if not problem.is_full:
        last = problem.count - 1
        yield f"held = tl.minimum(slots, {last})  # past the end the last row again, never stored"
    yield f"{side.tile} = {rows_of(side.operand, 'h', problem.stayed, side.width)}"


def walk(problem: Resident, body: Iterable[str]) -> str:
    """Return the loop over the tiles of a program."""
    block, length = problem.streams.block, problem.streams.length
    head = f"for first in range(split * span, end, {block}):\n"
    lines = "\n".join(line for line in body if line)
    return f"end = tl.minimum((split + 1) * span, {length})\n" + head + indent(lines, "    ")


def tile_scores(
    problem: Resident, formulas: tuple[Formula, ...], scored: bool = True
) -> Iterator[str]:
    """Yield statements for `s`, the scores of a tile [streamed rows, rows that stay], and `keep`.

    Args:
        problem: the site.
        formulas: what the tile computes with.
        scored: whether scores are needed; else `keep` is all.
    """
    stream, side, held = problem.stream, problem.streams, problem.orientation
    yield f"rows = first + tl.arange(0, {side.block})"
    yield f"near = tl.minimum(rows, {side.length} - 1)"
    yield f"{side.tile} = {rows_of(side.operand, 'h', 'near', side.width)}"
    if scored or "qk" in variables(formulas):
        yield f"qk = {held.product}"
    yield from axes(stream, formulas, held)
    if scored:
        yield from scores(stream)
    inside = f"(rows < {side.length})[:, None]"
    if not problem.is_full:
        inside += f" & (slots < {problem.count})[None, :]"
    keep = stream.keep
    if keep is None:
        yield f"keep = {inside}"
    elif keep.name:
        yield keep.assigned("keep")
        yield f"keep = keep & {inside}"
    else:
        yield f"keep = {fill('{a} & {b}', inside, keep.value)}"
    if scored:
        yield only_kept("s", 'float("-inf")')


def values_tile(problem: Resident, reading: Reading) -> str:
    """Return the expression of a tile of values: streamed where the result gathers."""
    rows = "near" if reading.gathers else problem.stayed
    return rows_of(reading.values, "h", rows, reading.width)


def share(problem: Resident) -> Iterator[str]:
    """Yield statements for `share`, by which post multiplies weights."""
    yield from assigned(problem.stream.share, "share")
    if is_uneven(problem.stream.share):
        yield only_kept("share")


def share_name(problem: Resident) -> str:
    """Return what weights are multiplied by; empty for 1."""
    return literal(problem.stream.share, "share")


def best_slot(problem: Resident) -> Iterator[str]:
    """Yield statements for `chosen`, the slot of the largest score of each row, the first one."""
    yield "top = tl.max(s, 1)"
    slots = f"tl.where(s == top[:, None], slots[None, :], {problem.stays.block})"
    yield f"chosen = tl.min({slots}, 1)"
    yield 'chosen = tl.where(top == float("-inf"), -1, chosen)'


def softmax_of_rows() -> Iterator[str]:
    """Yield statements for a softmax over the side that stays: `p`, to be divided by `norm`."""
    yield "top = tl.max(s, 1)"
    yield 'shift = tl.where(top == float("-inf"), 0.0, top)'
    yield "p = tl.exp2(s - shift[:, None])"
    yield "norm = tl.sum(p, 1)"


NORMED = "tl.where(norm == 0.0, 1.0, norm)[:, None]"
"""What `p` is divided by; 1 for a row without pairs."""


def part(tile: str, parts: str, problem: Resident, width: int) -> str:
    """Return a statement that writes what a program has summed for rows that stay."""
    return call(
        "store_part", [tile, parts, "slots", str(problem.count), str(width), str(padded(width))]
    )


def part_rows(problem: Resident, values: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield statements that write numbers of rows that stay: pairs of parts and value."""
    listed = list(values)
    if listed:
        yield f"own = tl.program_id(0).to(tl.int64) * {problem.count} + slots"
    for parts, value in listed:
        yield f"tl.store({parts} + own, {value}, mask=slots < {problem.count})"


def streamed_rows(problem: Resident) -> str:
    """Return a statement for `at`, where numbers of streamed rows stand."""
    return f"at = (b * heads + h) * {problem.streams.length} + rows"


def stored_row(problem: Resident, buffer: str, value: str) -> str:
    """Return a statement that writes numbers of streamed rows."""
    return f"tl.store({buffer} + at, {value}, mask=rows < {problem.streams.length})"


def score_places(problem: Resident) -> str:
    """Return a statement for `cells`, where the scores [b, h, n, m] of a tile stand."""
    count, length = problem.count, problem.streams.length
    if problem.stays.token == "j":
        return f"cells = ((b * heads + h) * {length} + rows[:, None]) * {count} + slots[None, :]"
    return f"cells = ((b * heads + h) * {count} + slots[None, :]) * {length} + rows[:, None]"


def score_mask(problem: Resident) -> str:
    """Return the expression of what of a tile of scores exists."""
    inside = f"(rows < {problem.streams.length})[:, None]"
    return inside if problem.is_full else f"{inside} & (slots < {problem.count})[None, :]"

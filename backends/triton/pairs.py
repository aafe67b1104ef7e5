"""The kernel for gradients of tensors that scores read by query and key: biases and tables.

Sums over the batch stay in registers and each tile is stored once: no atomics, no order of sums
that depends on the launch.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from attnc.backends.triton.gradient import (
    PAIRS,
    Slopes,
    formulas,
    nothing_outside,
    score_gradient,
    sums,
    weight_name,
)
from attnc.backends.triton.kernel import KernelText, kernel_text
from attnc.backends.triton.pieces import axes, captures, key_head, key_sizes, rows_of
from attnc.backends.triton.problem import Problem, Stream
from attnc.backends.triton.tiles import Walk, holds_pair, over_keys


def pairs(problem: Problem, stream: Stream) -> KernelText:
    """Return the kernel: one tile of pairs, for a part of the batch.

    Buffers are [parts, h, n, m], to be summed over the parts.
    """
    k, v = stream.own("k"), stream.own("v")
    terms = stream.of_kind("pair")
    slopes: Slopes = {f"{each.buffer}_slope": each.slope for each in terms}
    statistics = [problem.statistic(stream, name) for name in ("lse", "delta")]
    buffers = [each.buffer for each in terms]
    used = captures([*formulas(stream, slopes), stream.weight])
    found, inside = holds_pair(over_keys(stream), stream, problem.names)
    return kernel_text(
        problem,
        f"pairs{stream.tag}",
        "Gradients of what scores read by query and key, over a part of the batch.",
        inputs=["q", k, v, *statistics, "grad_out"],
        outputs=buffers,
        contiguous=[*statistics, *buffers],
        used=used | found.used | {"batch", "span", "heads", "n", *key_sizes(stream)},
        body=_body(problem, stream, slopes, found, inside),
    )


def _body(
    problem: Problem, stream: Stream, slopes: Slopes, found: Walk, inside: str
) -> Iterator[str]:
    m = stream.own("m")
    yield _PLACE.format(m=m)
    if "last_i" in " ".join((*found.lines, inside)):
        yield "last_i = tl.minimum(first_i + BLOCK_I, n) - 1"
    yield from axes(formulas(stream, slopes), "near_i[:, None]", "cols[None, :]")
    buffers = [name.removesuffix("_slope") for name in slopes]
    yield from (f"{name}_sum = tl.zeros([BLOCK_I, BLOCK_J], tl.float32)" for name in buffers)
    yield "begin = part // heads * span"
    yield "end = tl.minimum(begin + span, batch)"
    if inside:
        yield from found.lines
        yield f"allowed = {inside}"
        yield "end = tl.where(allowed, end, begin)"
    yield "for b in range(begin, end):\n" + indent(_one_element(problem, stream, slopes), "    ")
    yield f"at = (part * n + rows[:, None]) * {m} + cols[None, :]"
    yield f"stored = (rows < n)[:, None] & (cols < {m})[None, :]"
    yield from (f"tl.store({name} + at, {name}_sum, mask=stored)" for name in buffers)


def _one_element(problem: Problem, stream: Stream, slopes: Slopes) -> str:
    """Add what one element of the batch gives."""
    k, v = stream.own("k"), stream.own("v")
    lse, delta = (problem.statistic(stream, name) for name in ("lse", "delta"))
    lines = [
        f"q_tile = {rows_of('q', 'h', 'near_i', problem.dim)}",
        f"k_tile = {rows_of(k, key_head(stream), 'near_j', problem.dim)}",
        f"v_tile = {rows_of(v, key_head(stream), 'near_j', problem.width)}",
        f"grad_tile = {rows_of('grad_out', 'h', 'near_i', problem.width)}",
        "at = (b * heads + h) * n + near_i",
        f"lse_tile = load_lse({lse}, at)",
        f"delta_tile = tl.load({delta} + at)",
    ]
    if stream.weight is not None and weight_name(stream):
        lines.append(stream.weight.assigned("weight"))
    lines += score_gradient(stream, slopes, PAIRS)
    if stream.keep is not None:
        lines += nothing_outside(stream, slopes)
    return "\n".join([*lines, *sums(slopes, "{}")])


_PLACE = """\
tiles_i = tl.cdiv(n, BLOCK_I)
tiles_j = tl.cdiv({m}, BLOCK_J)
program = tl.program_id(0)
part = (program // tiles_i // tiles_j).to(tl.int64)  # heads innermost
h = part % heads
first_i = program % tiles_i * BLOCK_I
first_j = program // tiles_i % tiles_j * BLOCK_J
rows = first_i + tl.arange(0, BLOCK_I)
cols = first_j + tl.arange(0, BLOCK_J)
near_i = tl.minimum(rows, n - 1)  # past the end the last row again, never stored
near_j = tl.minimum(cols, {m} - 1)"""

"""The kernel for the gradient of the rate: weights count by the distance of their pair."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from attnc.backends.triton.kernel import KernelText
from attnc.backends.triton.linear.core import RATE
from attnc.backends.triton.linear.layout import (
    Linear,
    deltas,
    fades,
    kernel,
    near,
    place,
    shared,
    shares,
    some_columns,
)
from attnc.backends.triton.orientation import product
from attnc.backends.triton.pieces import padded

PART = 64
"""Columns of q and k that a program takes at most: it keeps two sums of them."""


def rates(site: Linear) -> KernelText:
    """Return the kernel.

    Each program has some columns of v and some of q and k, to which what it sums is linear.
    `state` is the sum of k^T v over earlier chunks as it fades; in `lagging` every key counts by
    its distance from the last row before the chunk.
    """
    statistics = ("sums", "delta") if site.over else ()
    pointers = ("q", "k", "v", "grad_out", RATE, *statistics, "moments")
    doc = "What some columns add to the gradient of the rate of one head."
    sizes = ("heads", "n")
    plain = (*statistics, "moments")
    return kernel(site, "rates", doc, pointers, plain, sizes, _body(site))


def _body(site: Linear) -> Iterator[str]:
    rows = part_width(site)
    yield from place(str(part_count(site)), site.problem.width)
    yield f"inner = part * {rows} + tl.arange(0, {rows})"
    yield from fades(site, False, "within", "since", "until", "fade")
    yield f"state = tl.zeros([{rows}, BLOCK_J], tl.float32)"
    yield "lagging = tl.zeros_like(state)"
    if site.over:
        yield f"count = tl.zeros([{rows}], tl.float32)"
        yield "lagging_count = tl.zeros_like(count)"
    yield "moment = tl.zeros([BLOCK_I], tl.float32)"
    lines = indent("\n".join(_step(site)), "    ")
    yield f"for first in range(0, n, BLOCK_I):\n{lines}"
    yield f"tl.store(moments + tl.program_id(0), {site.scaled('tl.sum(moment, 0)')})"


def part_width(site: Linear) -> int:
    """Return how many columns of q and k a program takes."""
    return min(PART, padded(site.problem.dim))


def part_count(site: Linear) -> int:
    """Return in how many parts the columns of q and k are."""
    return -(-site.problem.dim // part_width(site))


def _step(site: Linear) -> Iterator[str]:
    yield near("n")
    yield from (some_columns(site, each, "inner") for each in ("q", "k"))
    yield from (some_columns(site, "v"), some_columns(site, "grad_out"))
    yield "inside = first + rows < n"
    yield from shares(site)
    yield from deltas(site)
    yield from shared(site)
    yield "grad_tile = tl.where(inside[:, None], grad_tile, 0.0)"
    yield f"p = {product('q_tile', 'tl.trans(k_tile)')} * within * lag"
    yield f"dp = {product('grad_tile', 'tl.trans(v_tile)')}"
    if site.over:  # counted once, with the first columns
        yield "less = tl.where(inside & (tile == 0), delta_tile, 0.0)"
        yield "dp -= less[:, None]"
    yield "moment += tl.sum(p * dp, 1)"
    yield "near_part = times_sums(q_tile, state, PRECISION, WIDE) * (rows + 1)[:, None]"
    yield "far_part = times_sums(q_tile, lagging, PRECISION, WIDE)"
    yield "moment += tl.sum((near_part + far_part) * grad_tile, 1) * since"
    if site.over:
        yield "counts = (rows + 1)[:, None] * count[None, :] + lagging_count[None, :]"
        yield "moment -= tl.sum(q_tile * counts, 1) * less * since"
    yield "k_tile = (k_tile * until[:, None]).to(k_tile.dtype)"
    yield "k_lagging = (k_tile * (BLOCK_I - 1 - rows)[:, None]).to(k_tile.dtype)"
    yield "lagging = (lagging + state * BLOCK_I) * fade"
    yield f"lagging = {product('tl.trans(k_lagging)', 'v_tile', 'lagging')}"
    yield f"state = state * fade + {product('tl.trans(k_tile)', 'v_tile')}"
    if site.over:
        yield "lagging_count = (lagging_count + count * BLOCK_I) * fade"
        yield "lagging_count += tl.sum(k_lagging.to(tl.float32), 0)"
        yield "count = count * fade + tl.sum(k_tile.to(tl.float32), 0)"

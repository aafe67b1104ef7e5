"""Kernels that multiply rows: the result, and the gradients of q, k and v.

Each is the sum of weight * z over the rows c that a row r is paired with, where the weight is
x_r . y_c as it fades from c to r. Of the rows of one chunk the weights are computed; of all
others y^T z is summed, which x is multiplied by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from attnc.backends.triton.kernel import KernelText
from attnc.backends.triton.layout import call
from attnc.backends.triton.linear.core import RATE
from attnc.backends.triton.linear.layout import (
    Linear,
    carried,
    chunks,
    deltas,
    fades,
    inner,
    kernel,
    moved,
    near,
    place,
    shared,
    shares,
    some_columns,
    tile,
    whole_rows,
)
from attnc.backends.triton.orientation import product


@dataclass(frozen=True, slots=True)
class Sweep:
    """One of the kernels.

    Attributes:
        name: of the kernel.
        doc: its docstring.
        x, y, z: the tensors.
        out: the result.
        sums: of y^T z over rows elsewhere; `turned` where they are of z^T y.
        counts: the vector that belongs to them; empty for none.
        later: whether rows are paired with later ones.
        read: statistics of queries that it reads; `written` that it writes.
    """

    name: str
    doc: str
    x: str
    y: str
    z: str
    out: str
    sums: str
    turned: bool
    counts: str
    later: bool
    read: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


FORWARD = Sweep(
    "forward", "The result of some queries.",
    "q", "k", "v", "out", "before", False, "counts", False, written=("sums",),
)  # fmt: skip
QUERIES = Sweep(
    "queries", "The gradient of some rows of q.",
    "grad_out", "v", "k", "grad_q", "before", True, "counts", False, ("out", "sums"), ("delta",),
)  # fmt: skip
KEYS = Sweep(
    "keys", "The gradient of some rows of k.",
    "v", "grad_out", "q", "grad_k", "after", True, "deltas", True, ("sums", "delta"),
)  # fmt: skip
VALUES = Sweep(
    "values", "The gradient of some rows of v.",
    "k", "q", "grad_out", "grad_v", "after", False, "", True, ("sums",),
)  # fmt: skip


def sweep(site: Linear, each: Sweep) -> KernelText:
    """Return one of the kernels."""
    over, by_chunk = site.over is not None, site.causal
    counts = (each.counts,) if over and each.counts else ()
    read = each.read if over and (by_chunk or not each.later) else ()
    written = each.written if over else ()
    others = (each.y, each.z, *((RATE,) if site.decays else ())) if by_chunk else ()
    pointers = (each.x, *others, *read, each.sums, *counts, each.out, *written)
    contiguous = {*counts, *read, *written} - {"out"}
    sizes = {"heads", site.length(each.x), *(("span", "parts") if by_chunk else ())}
    body = _chunks(site, each) if by_chunk else _rows(site, each)
    return kernel(site, each.name, each.doc, pointers, contiguous, sizes, body)


def _rows(site: Linear, each: Sweep) -> Iterator[str]:
    """One tile of rows times the sums over all others."""
    length = site.length(each.x)
    yield from place(f"tl.cdiv({length}, BLOCK_I)", site.width(each.z))
    yield inner(site.width(each.x))
    yield from _begin(site, each, "0")
    yield "first = part * BLOCK_I"
    yield near(length)
    yield whole_rows(site, each.x)
    if each is QUERIES:
        yield from _of_queries(site, each)
    yield f"acc = times_sums({tile(each.x)}, state, PRECISION, WIDE)"
    yield from _centred(site, each)
    yield from _finished(site, each)


def _chunks(site: Linear, each: Sweep) -> Iterator[str]:
    """One part of the rows, chunk by chunk, beginning with the sums over other parts."""
    yield from place("parts", site.width(each.z))
    yield inner(site.width(each.x))
    yield from fades(site, each.later, "within", "since", "until", "fade")
    yield from _begin(site, each, "part")
    yield from chunks(site.length(each.x), each.later, _step(site, each))


def _begin(site: Linear, each: Sweep, part: str) -> Iterator[str]:
    """Read the sums over rows elsewhere."""
    height, width = site.width(each.x), site.width(each.z)
    arguments = [
        each.sums, "b", "h", part, f"{each.sums}_strides", "inner", "columns",
        f"{height}", f"{width}", f"{each.turned}",
    ]  # fmt: skip
    yield call("state = load_sums", arguments)
    if site.over and each.counts:
        axis, size = ("columns", width) if each.turned else ("inner", height)
        item = "((b * heads + h) * parts + part)" if site.causal else "(b * heads + h)"
        yield f"at = {item} * {size} + {axis}"
        yield f"count = tl.load({each.counts} + at, mask={axis} < {size}, other=0.0)"


def _step(site: Linear, each: Sweep) -> Iterator[str]:
    """One chunk: pairs inside it, what came before, and what it adds to that."""
    x, y, z = (tile(name) for name in (each.x, each.y, each.z))
    yield near(site.length(each.x))
    yield from (whole_rows(site, each.x), whole_rows(site, each.y), some_columns(site, each.z))
    yield from _of_queries(site, each)
    if each.later:  # rows past the end come first in this order
        yield from shared(site)
        yield f"inside = (first + rows < {site.length(each.x)})[:, None]"
        yield f"{z} = tl.where(inside, {z}, 0.0)"
    yield f"p = {product(x, f'tl.trans({y})')}"
    if site.over and each.turned:
        yield f"p -= delta_tile{'[None, :]' if each.later else '[:, None]'}"
    yield "p *= within" if site.decays else "p = tl.where(lag >= 0, p, 0.0)"
    yield f"acc = times_sums({x}, state, PRECISION, WIDE)"
    yield from _centred(site, each)
    if site.decays:
        yield "acc *= since[:, None]"
    yield f"acc = {product(f'p.to({z}.dtype)', z, 'acc')}"
    yield from _finished(site, each)
    yield from moved(site, each.y, each.z)
    yield from _counted(site, each)


def _of_queries(site: Linear, each: Sweep) -> Iterator[str]:
    """Read statistics of queries, or compute them."""
    if site.over is None or each is FORWARD:
        return
    yield from shares(site)
    if each is KEYS:
        yield from deltas(site)
    if each is QUERIES:
        yield whole_rows(site, "out")
        yield "delta_tile = tl.sum(grad_tile.to(tl.float32) * out_tile.to(tl.float32), 1)"
        if site.over.floor is not None:  # below it the total does not count
            yield f"delta_tile = tl.where(sums_tile >= {site.over.floor!r}, delta_tile, 0.0)"


def _centred(site: Linear, each: Sweep) -> Iterator[str]:
    """Take off what gradients of weights count from."""
    if site.over and each.turned:
        delta = "delta_tile[:, None] * " if each is QUERIES else ""
        yield f"acc -= {delta}count[None, :]"


def _counted(site: Linear, each: Sweep) -> Iterator[str]:
    """Bring `count` forward by a chunk."""
    if site.over is None or not each.counts:
        return
    if each is FORWARD:  # the keys have been brought to the end of the chunk
        yield carried(site, "count", f"tl.sum({tile(each.y)}.to(tl.float32), 0)")
        return
    until = " * until[:, None]" if site.decays else ""
    weight = " * delta_tile[:, None]" if each is KEYS else ""
    yield carried(site, "count", f"tl.sum({tile(each.z)}.to(tl.float32){until}{weight}, 0)")


def _finished(site: Linear, each: Sweep) -> Iterator[str]:
    """Write the result and statistics."""
    value = site.scaled("acc")
    if site.over and each is FORWARD:
        yield f"total = tl.sum({tile(each.x)}.to(tl.float32) * count[None, :], 1)"
        if site.causal:
            yield f"total = total{' * since' if site.decays else ''} + tl.sum(p, 1)"
        if site.scale != 1:
            yield f"total = {site.scaled('total')}"
            yield f"acc = {value}"
        value = site.over.result()
        yield from _statistic("sums", "total")
    elif site.over and each is QUERIES:
        value = f"{value} * share[:, None]"
        yield from _statistic("delta", "delta_tile")
    arguments = [value, each.out, "b", "h", "first + rows", site.length(each.x), "columns"]
    yield call("store_columns", [*arguments, f"{each.out}_strides", f"{site.width(each.z)}"], 2)


def _statistic(name: str, value: str) -> Iterator[str]:
    at = f"{name} + (b * heads + h) * n + first + rows"
    yield f"if tile == 0:\n    tl.store({at}, {value}, mask=first + rows < n)"

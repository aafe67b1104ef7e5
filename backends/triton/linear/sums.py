"""Kernels that sum over rows: k^T v over keys, and q^T grad_out over queries."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.backends.triton.kernel import KernelText
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
from attnc.backends.triton.pieces import padded


def key_sums(site: Linear) -> KernelText:
    """Return the kernel for `before`: k^T v of each part, and `counts`, the sums of its keys."""
    counts = ("counts",) if site.over else ()
    pointers = ("k", "v", *_rate(site), "before", *counts)
    sizes = ("heads", site.length("k"), "span", "parts")
    doc = "The sum of k^T v over one part of the keys."
    body = _body(site, "k", "v", "before", "counts", later=False)
    return kernel(site, "key_sums", doc, pointers, counts, sizes, body)


def query_sums(site: Linear) -> KernelText:
    """Return the kernel for `after`: q^T grad_out of each part, and `deltas`, that of delta."""
    statistics = ("sums", "delta") if site.over else ()
    written = ("deltas",) if site.over else ()
    pointers = ("q", "grad_out", *_rate(site), *statistics, "after", *written)
    sizes = ("heads", "n", "span", "parts")
    doc = "The sum of q^T grad_out over one part of the queries."
    body = _body(site, "q", "grad_out", "after", "deltas", later=True)
    return kernel(site, "query_sums", doc, pointers, (*statistics, *written), sizes, body)


def _rate(site: Linear) -> tuple[str, ...]:
    return (RATE,) if site.decays else ()


def _body(site: Linear, y: str, z: str, sums: str, counts: str, later: bool) -> Iterator[str]:
    height, width = site.width(y), site.width(z)
    yield from place("parts", width)
    yield inner(height)
    yield from fades(site, later, "until", "fade")
    yield f"state = tl.zeros([{padded(height)}, BLOCK_J], tl.float32)"
    if site.over:
        yield f"count = tl.zeros([{padded(height)}], tl.float32)"
    yield from chunks(site.length(y), later, _step(site, y, z, later))
    where = f"part, {sums}_strides, inner, columns, {height}, {width}"
    yield f"store_sums(state, {sums}, b, h, {where})"
    if site.over:
        at = f"{counts} + ((b * heads + h) * parts + part) * {height} + inner"
        yield f"if tile == 0:\n    tl.store({at}, count, mask=inner < {height})"


def _step(site: Linear, y: str, z: str, later: bool) -> Iterator[str]:
    y_tile = tile(y)
    yield near(site.length(y))
    yield whole_rows(site, y)
    yield some_columns(site, z)
    yield f"inside = (first + rows < {site.length(y)})[:, None]"
    yield f"{y_tile} = tl.where(inside, {y_tile}, 0.0)"
    if later and site.over:
        yield from shares(site)
        yield from deltas(site)
        yield from shared(site)
    yield from moved(site, y, z)
    if site.over:
        weights = " * delta_tile[:, None]" if later else ""
        yield carried(site, "count", f"tl.sum({y_tile}.to(tl.float32){weights}, 0)")

"""The launchers of linear attention: they sum over parts of the rows, then multiply rows."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from attnc.backends.triton.kernel import KernelText
from attnc.backends.triton.layout import call, define, listing
from attnc.backends.triton.linear.core import RATE
from attnc.backends.triton.linear.layout import Linear
from attnc.backends.triton.linear.rates import part_count, rates
from attnc.backends.triton.linear.sums import key_sums, query_sums
from attnc.backends.triton.linear.sweeps import FORWARD, KEYS, QUERIES, VALUES, Sweep, sweep
from attnc.backends.triton.operation import backward_arguments, gradients


def forward_launcher(site: Linear) -> Iterator[str]:
    """Yield the sources of the forward kernels and of their launcher."""
    summed, swept = key_sums(site), sweep(site, FORWARD)
    yield from (each.definition() for each in (summed, swept))
    problem = site.problem
    body = [
        *_beginning(site),
        *_keys_summed(site, summed),
        f"out = token_rows(q, {problem.width})",
        *(["sums = by_query(q)"] if site.over else []),
        swept.launch(_grid(site, FORWARD)),
        f"return {', '.join(problem.results)}",
    ]
    doc = "Launch the forward kernels."
    yield define(problem.private("launch"), problem.names.arguments, doc, body, decorator="")


def backward_launcher(site: Linear) -> Iterator[str]:
    """Yield the sources of the other backward kernels and of their launcher."""
    problem, dim, width = site.problem, site.problem.dim, site.problem.width
    swept = {each.name: sweep(site, each) for each in (QUERIES, KEYS, VALUES)}
    summed = query_sums(site)
    yield from (each.definition() for each in (swept["queries"], summed))
    yield from (swept[name].definition() for name in ("keys", "values"))
    body = [
        *_beginning(site),
        *_keys_summed(site, key_sums(site)),
        f"grad_q = token_rows(q, {dim})",
        *(["delta = by_query(q)"] if site.over else []),
        swept["queries"].launch(_grid(site, QUERIES)),
        *_queries_summed(site, summed),
        *_gradient(site, "k", dim, swept["keys"], KEYS),
        *_gradient(site, "v", width, swept["values"], VALUES),
    ]
    if site.decays:
        moved = rates(site)
        yield moved.definition()
        body += _rate_gradient(site, moved)
    body.append(listing("return ", gradients(problem)))
    yield define(
        problem.private("launch_backward"), backward_arguments(problem),
        "Launch the backward kernels.", body, decorator="",
    )  # fmt: skip


def _beginning(site: Linear) -> Iterator[str]:
    yield "batch, heads, n, _ = q.shape"
    if site.decays:
        yield f"{RATE} = {RATE}.contiguous()"
    yield _choice(site, "chunks" if site.causal else "rows")
    yield "wide = wide_precision()"


def _choice(site: Linear, kind: str) -> str:
    table = site.problem.private("tiles")
    return call("block_i, block_j, warps, stages = tile_for", [f'{table}["{kind}"]', "n", "q"])


def _keys_summed(site: Linear, kernel: KernelText) -> Iterator[str]:
    """Return statements for `before`: k^T v over all keys, or those before each part."""
    length = "n" if site.causal else "k.shape[2]"
    yield from _split(site, length)
    yield from _summed(site, kernel, "before", "counts", "")


def _queries_summed(site: Linear, kernel: KernelText) -> Iterator[str]:
    """Return statements for `after`: q^T grad over all queries, or those after each part."""
    if not site.causal:
        yield from _split(site, "n")
    yield from _summed(site, kernel, "after", "deltas", ", later=True")


def _split(site: Linear, length: str) -> Iterator[str]:
    programs = f"batch * heads * {_columns(site.problem.width)}"
    yield call("parts, span = split_chunks", [length, "block_i", programs])


def _summed(site: Linear, kernel: KernelText, sums: str, counts: str, order: str) -> Iterator[str]:
    made = {sums: site.problem.width} | ({counts: 1} if site.over else {})
    for name, width in made.items():
        yield f"{name} = by_query(q, batch, heads, parts, {site.problem.dim}, {width})"
    grid = f"batch * heads * parts * {_columns(site.problem.width)}"
    if not site.causal:
        yield kernel.launch(grid)
        yield from (f"{name} = {name}.sum(2, keepdim=True)" for name in made)
        return
    yield "if parts > 1:\n" + indent(kernel.launch(grid, depth=2), "    ")
    rate = RATE if site.decays else "None"
    yield from (f"{name} = carried({name}, {rate}, span{order})" for name in made)


def _gradient(site: Linear, of: str, width: int, kernel: KernelText, each: Sweep) -> Iterator[str]:
    """Return statements for the gradient of k or v, the sum over the heads of q that share it."""
    if not site.grouped:
        yield f"grad_{of} = token_rows({of}, {width})"
        yield kernel.launch(_grid(site, each))
        return
    yield f"grad_{of} = by_query(q, batch, heads, {of}.shape[2], {width})"
    yield kernel.launch(_grid(site, each))
    total = f"grad_{of}.unflatten(1, ({of}.shape[1], -1)).sum(2)"
    yield f"grad_{of} = token_rows({of}, {width}).copy_({total})"


def _rate_gradient(site: Linear, kernel: KernelText) -> Iterator[str]:
    tiles, parts = _columns(site.problem.width), part_count(site)
    tiles = tiles if parts == 1 else f"{parts} * {tiles}"
    lines = [
        _choice(site, "rates"),
        f"moments = by_query(q, batch, heads, {tiles})",
        kernel.launch(f"batch * heads * {tiles}", depth=2),
        f"grad_{RATE} = moments.sum(2).to({RATE}.dtype)",
    ]
    yield f"grad_{RATE} = {RATE}.new_empty(0)"
    yield "if wanted[0]:\n" + indent("\n".join(lines), "    ")


def _grid(site: Linear, each: Sweep) -> str:
    parts = "parts"
    if not site.causal:
        length = "n" if site.length(each.x) == "n" else "k.shape[2]"
        parts = f"triton.cdiv({length}, block_i)"
    return f"batch * heads * {parts} * {_columns(site.width(each.z))}"


def _columns(width: int) -> str:
    return f"triton.cdiv({width}, block_j)"

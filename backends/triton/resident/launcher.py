"""The launchers of resident kernels: they split rows over programs and sum up what these leave."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from attnc.backends.triton.following import following, launched
from attnc.backends.triton.layout import call, define, listing
from attnc.backends.triton.operation import backward_arguments, forward_arguments, gradients
from attnc.backends.triton.reads import read_function, reads_of, tensor_gradient
from attnc.backends.triton.resident.backward import backward
from attnc.backends.triton.resident.backward import parts as backward_parts
from attnc.backends.triton.resident.forward import forward
from attnc.backends.triton.resident.forward import parts as forward_parts
from attnc.backends.triton.resident.problem import Resident


def forward_launcher(problem: Resident) -> Iterator[str]:
    """Yield the sources of the forward kernel and of its launcher."""
    reads = reads_of(problem.base, problem.stand_in) if problem.learned else {}
    yield from (
        read_function(problem.base, problem.stand_in, read, name) for read, name in reads.items()
    )
    kernel = forward(problem)
    yield kernel.definition()
    late = {each.result for each in problem.readings if each.gathers}
    late |= {each.lse for each in problem.readings if not each.whole}
    late |= {"totals"} if problem.averages else set()
    if any(each.hard and not each.whole for each in problem.readings):
        late.add("index")
    made = [f"{name} = {_room(problem, name)}" for name in problem.results if name not in late]
    body = [
        *_split(problem, "forward"),
        *made,
        *_parts(problem, forward_parts(problem)),
        kernel.launch("batch * heads * splits"),
        *_brought_together(problem),
        f"return {', '.join(problem.results)}",
    ]
    doc = "Launch the forward kernel."
    name, arguments = problem.private("launch"), forward_arguments(problem)
    yield define(name, arguments, doc, _with_sizes(body), decorator="")


def backward_launcher(problem: Resident) -> Iterator[str]:
    """Yield the sources of the backward kernel and of its launcher."""
    kernel = backward(problem)
    yield kernel.definition()
    before: list[str] = []
    if problem.epilogue and problem.epilogue.outputs:
        alone = following(problem.base)
        yield alone.definition()
        before = [*launched(problem.base, alone)]
    body = [
        *before,
        *_split(problem, "gradients"),
        *_streamed_gradients(problem),
        *_parts(problem, backward_parts(problem)),
        kernel.launch("batch * heads * splits"),
        *_stayed_gradients(problem),
    ]
    for number, name in enumerate(problem.learned):
        body += tensor_gradient(problem.base, problem.stand_in, number, name)
    body.append(listing("return ", gradients(problem)))
    name, doc = problem.private("launch_backward"), "Launch the backward kernel."
    yield define(name, backward_arguments(problem), doc, _with_sizes(body), decorator="")


def _stayed(problem: Resident) -> set[str]:
    """Return the inputs whose gradients are sums of parts."""
    return {name.removesuffix("_parts") for name, _, _ in backward_parts(problem)}


def _streamed_gradients(problem: Resident) -> Iterator[str]:
    """Yield statements that make room for what the kernel writes row by row."""
    for name in (each for each in problem.inputs if each not in _stayed(problem)):
        made = f"grad_{name} = token_rows({name}, {problem.widths[name]})"
        reached = problem.has_slope or name not in ("q", "k")
        yield made if reached else f"{made}.zero_()"
    for term in problem.terms(problem.streams):
        yield f"{term.buffer} = by_query(q, {_term_shape(term.kind)})"


def _stayed_gradients(problem: Resident) -> Iterator[str]:
    """Yield statements that sum up, always in one order, what programs have left."""
    for name in (each for each in problem.inputs if each in _stayed(problem)):
        room = f"token_rows({name}, {problem.widths[name]})"
        yield f"grad_{name} = {room}.copy_({name}_parts.sum(2))"
    for term in problem.terms(problem.stays):
        shape = _term_shape(term.kind)
        yield f"{term.buffer} = {term.buffer}_parts.sum(2).view({shape})"


def _with_sizes(body: list[str]) -> list[str]:
    """Return statements behind one that binds the sizes they read."""
    n = "n" if re.search(r"\bn\b", "\n".join(body)) else "_"
    return [f"batch, heads, {n}, _ = q.shape", *body]


def _split(problem: Resident, kind: str) -> list[str]:
    table, length = problem.private("tiles"), problem.streams.on_host
    block = problem.streams.block.lower()
    return [
        call(
            "block_i, block_j, warps, stages = tile_for", [f'{table}["{kind}"]', length, "q"]
        ),
        f"splits, span = split_rows({length}, {block}, batch * heads)",
    ]  # fmt: skip


def _room(problem: Resident, name: str) -> str:
    """Return the expression of an empty result."""
    made: Mapping[str, str] = problem.fakes
    if name in ("out", "back", "normal"):
        return made[name]
    shape = f"by_query(q, {problem.shape_of(name)})"
    return f"{shape}.long()" if name == "index" else shape


def _parts(problem: Resident, summed: list[tuple[str, str, int]]) -> list[str]:
    lines = []
    for name, value, width in summed:
        shape = f"batch, heads, splits, {problem.count}" + (f", {width}" if width else "")
        made = f"{name} = by_query(q, {shape})"
        lines.append(f"{made}.int()" if value == "chosen" else made)
    return lines


def _term_shape(kind: str) -> str:
    return "batch, heads, n, 1" if kind == "row" else "batch, heads, 1, k.shape[2]"


def _brought_together(problem: Resident) -> Iterator[str]:
    """Yield statements that make results of what programs have summed."""
    for each in (each for each in problem.readings if each.gathers):
        room = problem.fakes[each.result]
        if each.hard and not each.whole:
            yield "index = first_best(bests, places)"
            yield f"{each.result} = {room}.copy_(taken({each.values}, index))"
        elif not each.whole:
            yield f"result, {each.lse} = merged(peaks, totals, sums)"
            yield f"{each.result} = {room}.copy_(result)"
        elif problem.averages:
            yield "totals = counts.sum(2)"
            yield "mean = sums.sum(2) / totals.masked_fill(totals == 0, 1)[..., None]"
            yield f"{each.result} = {room}.copy_(mean)"
        else:
            yield f"{each.result} = {room}.copy_(sums.sum(2))"

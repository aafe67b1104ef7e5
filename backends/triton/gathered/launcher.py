"""The launchers of gathered rows: lists in order, and pairs sorted by key for the gradients."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from attnc.backends.triton.gathered.forward import forward
from attnc.backends.triton.gathered.keys import keys
from attnc.backends.triton.gathered.lists import lists_in_torch
from attnc.backends.triton.gathered.problem import Gathered
from attnc.backends.triton.gathered.queries import queries
from attnc.backends.triton.gathered.reading import keys_name, reading
from attnc.backends.triton.kernel import KernelText
from attnc.backends.triton.launcher import choice, part_names, query_grid, recomputed, rest
from attnc.backends.triton.layout import call, define, listing
from attnc.backends.triton.operation import backward_arguments, gradients
from attnc.backends.triton.reads import read_function, reads_of, tensor_gradient
from attnc.backends.triton.routes import once_name
from attnc.backends.triton.streams import Stream
from attnc.compiler.kernel import Site


def forward_launcher(problem: Gathered) -> Iterator[str]:
    """Yield the sources of the forward kernel and of its launcher."""
    functions, kernel = forward(problem)
    yield from functions
    yield kernel.definition()
    kept = [f"{name}=None" for name in part_names(problem)]
    body = [
        "batch, heads, n, _ = q.shape",
        f"out = token_rows(q, {problem.width})",
        *rest(problem),
        *_in_order(problem),
        *choice(problem, "forward", "n", None),
        kernel.launch(query_grid(problem)),
        f"return {', '.join(problem.results)}",
    ]
    name, parameters = problem.private("launch"), [*problem.names.arguments, *kept]
    yield define(name, parameters, "Launch the forward kernel.", body, decorator="")


def backward_launcher(problem: Gathered, site: Site) -> Iterator[str]:
    """Yield the sources of the backward kernels and of their launcher."""
    by_slot, slot_site = reading(problem, site)
    reads = reads_of(by_slot, slot_site).items()
    yield from (read_function(by_slot, slot_site, *read) for read in reads)
    functions, kernel = queries(problem)
    yield from functions
    yield kernel.definition()
    body = ["batch, heads, n, _ = q.shape", *recomputed(problem), *_in_order(problem)]
    body += [f"{name} = by_query(q)" for name in problem.deltas]
    rows = [each for each in problem.terms() if each.kind == "row"]
    body += [f"{each.buffer} = by_query(q, batch, heads, n, 1)" for each in rows]
    for stream in problem.streams:
        shape = f"batch, heads, n, {problem.slots(stream)}"
        body += [f"{name} = by_query(q, {shape})" for name in problem.by_slot(stream)]
    body += [
        f"grad_q = token_rows(q, {problem.dim})",
        *choice(problem, "queries", "n", None),
        kernel.launch(query_grid(problem)),
    ]
    for number, (stream, lists) in enumerate(zip(problem.streams, problem.lists, strict=True)):
        if not lists.index:
            yield lists_in_torch(_lists_name(problem, stream), lists, site, number)
        keys_kernel = keys(problem, stream)
        yield keys_kernel.definition()
        named = by_slot.names.tensors[keys_name(site, stream)].name
        body += _of_keys(problem, stream, named, keys_kernel)
    for number, name in enumerate(problem.learned, len(problem.spared)):
        body += tensor_gradient(by_slot, slot_site, number, name)
    body.append(listing("return ", gradients(problem)))
    yield define(
        problem.private("launch_backward"), backward_arguments(problem),
        "Launch the backward kernels.", body, decorator="",
    )  # fmt: skip


def _in_order(problem: Gathered) -> Iterator[str]:
    """Return statements that bring indices into the form that kernels read."""
    lines = []
    for stream, lists in zip(problem.streams, problem.lists, strict=True):
        if lists.index:
            tensors = problem.names.tensors
            made, index = tensors[once_name(lists.index)].name, tensors[lists.index].name
            lines.append(f"{made} = listed({index}, {stream.own('k')}.shape[2])")
    yield from dict.fromkeys(lines)


def _named(problem: Gathered, stream: Stream, named: str) -> Iterator[str]:
    """Yield a statement for the lists of a stream, [b, h or 1, n, slots], as a tensor."""
    lists = problem.lists[problem.number(stream)]
    if lists.index:
        once = problem.names.tensors[once_name(lists.index)].name
        yield f"{named} = {once if lists.by_head else f'{once}[:, None]'}"
    else:
        yield call(f"{named} = {_lists_name(problem, stream)}", problem.names.arguments)


def _of_keys(problem: Gathered, stream: Stream, named: str, kernel: KernelText) -> Iterator[str]:
    """Yield statements for the gradients of k and v, if wanted: pairs are sorted by key first."""
    k, v = stream.own("k"), stream.own("v")
    made = ", ".join(stream.own(name) for name in ("starts", "places"))
    lists = [*_named(problem, stream, named)]
    lines = [
        *([] if stream.of_kind("pair") else lists),
        f"{made} = places_naming({named}, {k}.shape[2])",
        f"grad_{k} = token_rows({k}, {problem.dim})",
        f"grad_{v} = token_rows({v}, {problem.width})",
        *choice(problem, "keys", f"{k}.shape[2]", None),
        kernel.launch(_key_grid(stream), depth=2),
    ]
    yield from lists if stream.of_kind("pair") else ()  # what is read by slot needs it, too
    yield f"grad_{k}, grad_{v} = {k}.new_empty(0), {v}.new_empty(0)"
    yield f"if wanted[{problem.number(stream)}]:\n" + indent("\n".join(lines), "    ")


def _lists_name(problem: Gathered, stream: Stream) -> str:
    return problem.private(stream.own("lists"))


def _key_grid(stream: Stream) -> str:
    k = stream.own("k")
    return f"batch * {k}.shape[1] * triton.cdiv({k}.shape[2], block_j)"

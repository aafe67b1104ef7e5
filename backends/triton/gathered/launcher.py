"""The launchers of gathered rows: lists in order, and pairs sorted by key for the gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from textwrap import indent

from attnc.backends.triton.following import following
from attnc.backends.triton.gathered.configs import joint
from attnc.backends.triton.gathered.forward import forward
from attnc.backends.triton.gathered.keys import keys
from attnc.backends.triton.gathered.lists import lists_in_torch
from attnc.backends.triton.gathered.problem import Gathered
from attnc.backends.triton.gathered.queries import queries
from attnc.backends.triton.gathered.reading import keys_name, reading
from attnc.backends.triton.kernel import KernelText
from attnc.backends.triton.launcher import (
    choice,
    of_keys,
    of_pairs,
    of_queries,
    query_grid,
    rest,
    routes,
    row_sums,
)
from attnc.backends.triton.layout import call, define, listing
from attnc.backends.triton.operation import backward_arguments, forward_arguments, gradients
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.reads import copies, read_function, reads_of, tensor_gradient
from attnc.backends.triton.routes import once_name
from attnc.backends.triton.streams import Stream
from attnc.compiler.kernel import Site


def forward_launcher(problem: Gathered, site: Site) -> Iterator[str]:
    """Yield the sources of the forward kernel and of its launcher."""
    functions, kernel = forward(problem)
    body = [
        "batch, heads, n, _ = q.shape",
        f"out = token_rows(q, {problem.width})",
        *rest(problem),
        *_copies(problem, site, problem.tiled),
        *routes(problem, backward=False),
        *_in_order(problem),
        *_tiles(problem, "forward"),
        kernel.launch(query_grid(problem)),
        f"return {', '.join(problem.results)}",
    ]
    yield from _reads(_of_tiles(problem), site, body)
    yield from functions
    yield kernel.definition()
    name, parameters = problem.private("launch"), forward_arguments(problem)
    yield define(name, parameters, "Launch the forward kernel.", body, decorator="")


def backward_launcher(problem: Gathered, site: Site) -> Iterator[str]:
    """Yield the sources of the backward kernels and of their launcher."""
    functions, kernel = queries(problem)
    yield from functions
    yield kernel.definition()
    body = ["batch, heads, n, _ = q.shape"]
    body += [*_copies(problem, site, _faces(problem)), *routes(problem, backward=True)]
    body += _in_order(problem)
    body += [f"{name} = by_query(q)" for name in problem.deltas]
    body += row_sums(problem)
    for stream in problem.gathered:
        shape = f"batch, heads, n, {problem.slots_on_host(stream)}"
        body += [f"{name} = by_query(q, {shape})" for name in problem.by_slot(stream)]
    if problem.epilogue and problem.epilogue.is_apart:
        yield following(problem).definition()
    body += of_queries(problem, [*_tiles(problem, "queries")], kernel)
    for sources, lines in _of_keys(problem, site):
        yield from sources
        body += lines
    by_slot, slot_site = reading(problem, site)
    gradients_of = enumerate(problem.learned, len(problem.spared))
    learned = [
        line
        for number, name in gradients_of
        for line in tensor_gradient(by_slot, slot_site, number, name)
    ]
    yield from _reads(by_slot, slot_site, learned)
    yield from _reads(_of_tiles(problem), site, body, turned=True)
    body += [*learned, listing("return ", gradients(problem))]
    yield define(
        problem.private("launch_backward"), backward_arguments(problem),
        "Launch the backward kernels.", body, decorator="",
    )  # fmt: skip


def _of_tiles(problem: Gathered) -> Gathered:
    """Return a problem that reads nothing for lists."""
    streams = (
        replace(stream, terms=()) if stream.tag in problem.lists else stream
        for stream in problem.streams
    )
    return replace(problem, streams=tuple(streams))


def _copies(problem: Gathered, site: Site, streams: Sequence[Stream]) -> list[str]:
    """Return statements that lay out by pair what scores of streams without lists read so."""
    return copies(_of_tiles(problem), site, streams)


def _faces(problem: Gathered) -> list[Stream]:
    """Return streams without lists from both sides, those that look alike once."""
    return [stream for stream in problem.faces() if stream.tag not in problem.lists]


def _tiles(problem: Gathered, kind: str) -> Iterator[str]:
    """Yield statements that choose the tiles of a kernel over queries."""
    yield from choice(problem, kind, "n", problem.blocks)
    if problem.tiled:
        slots = joint(kind, max(problem.dim, problem.width)).slots
        yield f"slots = {slots}  # of each query in a tile"


def _reads(
    problem: Problem, site: Site, body: Sequence[str], turned: bool = False
) -> Iterator[str]:
    """Yield the sources of reads that statements call; `turned` those of keys' views alone."""
    text = "\n".join(body)
    for read, name in reads_of(problem, site).items():
        if f"{name}(" in text and (not turned or "_turned" in name):
            yield read_function(problem, site, read, name)


def _of_keys(problem: Gathered, site: Site) -> Iterator[tuple[list[str], list[str]]]:
    """Yield sources and statements for the gradients of the keys and values of each stream."""
    for number, stream in enumerate(problem.gathered):
        lists, named = problem.lists[stream.tag], keys_name(site, stream)
        kernel = keys(problem, stream)
        sources = [kernel.definition()]
        if not lists.index:
            at = problem.streams.index(stream)
            sources.append(lists_in_torch(_lists_name(problem, stream), lists, site, at))
        yield sources, [*_of_lists(problem, stream, f"wanted[{number}]", named, kernel)]
    for stream in problem.turned:
        if stream.tag not in problem.lists:
            yield of_keys(problem, stream)
    for stream in problem.tiled:
        if stream.of_kind("pair"):
            yield of_pairs(problem, stream)


def _in_order(problem: Gathered) -> Iterator[str]:
    """Return statements that bring indices into the form that kernels read."""
    lines = []
    for stream in problem.gathered:
        lists = problem.lists[stream.tag]
        if lists.index:
            tensors = problem.names.tensors
            made, index = tensors[once_name(lists.index)].name, tensors[lists.index].name
            lines.append(f"{made} = listed({index}, {stream.own('k')}.shape[2])")
    yield from dict.fromkeys(lines)


def _named(problem: Gathered, stream: Stream, named: str) -> Iterator[str]:
    """Yield a statement for the lists of a stream, [b, h or 1, n, slots], as a tensor."""
    lists = problem.lists[stream.tag]
    if lists.index:
        once = problem.names.tensors[once_name(lists.index)].name
        yield f"{named} = {once if lists.by_head else f'{once}[:, None]'}"
    else:
        yield call(f"{named} = {_lists_name(problem, stream)}", problem.names.arguments)


def _of_lists(
    problem: Gathered, stream: Stream, wanted: str, named: str, kernel: KernelText
) -> Iterator[str]:
    """Yield statements for the gradients of k and v, if wanted: pairs are sorted by key first."""
    k, v = stream.own("k"), stream.own("v")
    made = ", ".join(stream.own(name) for name in ("starts", "places"))
    lists = [*_named(problem, stream, named)]
    lines = [
        *([] if stream.of_kind("pair") else lists),
        f"{made} = places_naming({named}, {k}.shape[2])",
        f"grad_{k} = token_rows({k}, {problem.dim})",
        f"grad_{v} = token_rows({v}, {problem.width})",
        *choice(problem, "lists" if problem.tiled else "keys", f"{k}.shape[2]", None),
        kernel.launch(_key_grid(stream), depth=2),
    ]
    yield from lists if stream.of_kind("pair") else ()  # what is read by slot needs it, too
    yield f"grad_{k}, grad_{v} = {k}.new_empty(0), {v}.new_empty(0)"
    yield f"if {wanted}:\n" + indent("\n".join(lines), "    ")


def _lists_name(problem: Gathered, stream: Stream) -> str:
    return problem.private(stream.own("lists"))


def _key_grid(stream: Stream) -> str:
    k = stream.own("k")
    return f"batch * {k}.shape[1] * triton.cdiv({k}.shape[2], block_j)"

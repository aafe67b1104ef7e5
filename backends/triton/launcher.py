"""The launchers: functions of tensors that allocate results and launch the kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from textwrap import indent

from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import ScoreWriter
from attnc.backends.triton.forward import forward
from attnc.backends.triton.keys import keys
from attnc.backends.triton.layout import call, define, listing
from attnc.backends.triton.pairs import pairs
from attnc.backends.triton.problem import Problem, Stream, Term
from attnc.backends.triton.queries import queries
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Coordinate, Load
from attnc.dsl.scorelang import COORDINATES, coordinates, text

BUSY = 1024
"""Programs that keep a large card busy: sums over a batch are split into parts to have as many."""


def forward_launcher(problem: Problem, site: Site) -> Iterator[str]:
    """Yield the sources of the forward kernel and of its launcher."""
    functions, kernel = forward(problem)
    yield from (_read_function(problem, site, *read) for read in reads_of(problem, site).items())
    yield from functions
    yield kernel.definition()
    kept = [f"{name}=None" for name in _parts(problem)]
    lse = "" if problem.summed else "lse = by_query(q)"
    results = "out" if problem.summed else "out, lse"
    body = [
        "batch, heads, n, _ = q.shape",
        f"out = by_token(q, {problem.width})",
        lse,
        *_copies(problem, site),
        _choice(problem, "forward", "n"),
        kernel.launch("batch * heads * triton.cdiv(n, block_i)"),
        f"return {results}",
    ]
    doc = "Launch the forward kernel."
    yield define(
        problem.private("launch"), [*problem.names.arguments, *kept], doc, body, decorator=""
    )


def backward_launcher(problem: Problem, site: Site) -> Iterator[str]:
    """Yield the sources of the backward kernels and of their launcher."""
    functions, kernel = queries(problem)
    yield from functions
    yield kernel.definition()
    body = ["batch, heads, n, _ = q.shape", *_recomputed(problem)]
    body += _copies(problem, site)
    body += [f"delta{tag} = by_query(q)" for tag in problem.statistics]
    rows = [each for each in problem.terms() if each.kind == "row"]
    body += [f"{each.buffer} = by_query(q, batch, heads, n, 1)" for each in rows]
    body += [
        f"grad_q = by_token(q, {problem.dim})",
        _choice(problem, "queries", "n"),
        kernel.launch("batch * heads * triton.cdiv(n, block_i)"),
    ]
    for stream in problem.streams:
        functions, kernel = keys(problem, stream)
        yield from functions
        yield kernel.definition()
        body += _keys_launch(problem, stream, kernel.launch(_key_grid(stream)))
    for stream in problem.streams:
        if stream.of_kind("pair"):
            pair_kernel = pairs(problem, stream)
            yield pair_kernel.definition()
            launched = pair_kernel.launch("parts * tiles", depth=2)
            body += _pairs_launch(problem, stream, launched)
    for number, name in enumerate(problem.learned):
        body += _tensor_gradient(problem, site, number, name)
    body.append(listing("return ", problem.gradients))
    yield define(
        problem.private("launch_backward"), problem.backward_arguments,
        "Launch the backward kernels.", body, decorator="",
    )  # fmt: skip


def _parts(problem: Problem) -> list[str]:
    if not problem.summed:
        return []
    return [f"{name}{tag}" for name in ("part", "lse") for tag in problem.statistics]


def _choice(problem: Problem, kind: str, length: str) -> str:
    table = problem.private("tiles")
    return call("block_i, block_j, warps, stages = tile_for", [f'{table}["{kind}"]', length, "q"])


def _recomputed(problem: Problem) -> list[str]:
    """Return statements that find each summed source's own result: the forward pass once more."""
    if not problem.summed:
        return []
    made = [f"part{tag} = by_token(q, {problem.width})" for tag in problem.statistics]
    made += [f"lse{tag} = by_query(q)" for tag in problem.statistics]
    arguments = [*problem.names.arguments, *_parts(problem)]
    return [*made, call(problem.private("launch"), arguments)]


def _key_grid(stream: Stream) -> str:
    k = stream.own("k")
    return f"batch * {k}.shape[1] * triton.cdiv({k}.shape[2], block_j)"


def _keys_launch(problem: Problem, stream: Stream, launched: str) -> list[str]:
    k, v = stream.own("k"), stream.own("v")
    buffers = [each.buffer for each in stream.of_kind("col")]
    return [
        f"grad_{k} = by_token({k}, {problem.dim})",
        f"grad_{v} = by_token({v}, {problem.width})",
        *(f"{each} = by_query(q, batch, heads, 1, {k}.shape[2])" for each in buffers),
        _choice(problem, "keys", f"{k}.shape[2]"),
        launched,
    ]


def _pairs_launch(problem: Problem, stream: Stream, launched: str) -> list[str]:
    terms = stream.of_kind("pair")
    m = f"{stream.own('k')}.shape[2]"
    by_batch = any(each.by_batch for each in terms)
    span = "1" if by_batch else f"max(1, triton.cdiv(batch * tiles, {BUSY}))"
    lines = [
        _choice(problem, "pairs", "n"),
        f"tiles = heads * triton.cdiv(n, block_i) * triton.cdiv({m}, block_j)",
        f"span = {span}",
        "parts = triton.cdiv(batch, span)",
        *(f"{each.buffer} = by_query(q, parts, heads, n, {m})" for each in terms),
        launched,
    ]
    reached = {load.tensor for each in terms for load in each.reads}
    wanted = [
        f"wanted[{number}]"
        for number, name in enumerate(problem.learned)
        if name in {problem.names.tensors[tensor].name for tensor in reached}
    ]
    return [f"if {' or '.join(wanted)}:\n" + indent("\n".join(lines), "    ")]


Read = tuple[int, Load]
"""Number of the source, and what its score or weight reads."""


def reads_of(problem: Problem, site: Site) -> Mapping[Read, str]:
    """Return the reads that launchers make in torch, each with the name of its function.

    They give the copies by pair that kernels load, and say which element each pair has read.
    """
    names: dict[Read, str] = {}
    for number, stream in enumerate(problem.streams):
        learned = (load for term in stream.terms for load in term.reads)
        scattered = (load for load in learned if not _is_whole(site, number, load))
        for load in (*stream.copies.values(), *scattered):
            if (number, load) not in names:
                name = problem.private(f"read_{problem.names.tensors[load.tensor].name}")
                while name in names.values():
                    name += "_"
                names[number, load] = name
    return names


def _is_whole(site: Site, number: int, load: Load) -> bool:
    """Say whether each element is read for one value of its indices: `bias[h, i, j]`."""
    sizes = dict(
        zip(COORDINATES, (*site.q.shape[:3], site.sources[number][0].shape[2]), strict=True)
    )
    shape = site.tensors[site.attention.tensors.index(load.tensor)].shape
    names = [each.name for each in load.indices if isinstance(each, Coordinate)]
    in_order = sorted(set(names), key=COORDINATES.index) == names and len(names) == len(shape)
    return in_order and all(sizes[name] == size for name, size in zip(names, shape, strict=True))


def _read_function(problem: Problem, site: Site, read: Read, name: str) -> str:
    """Write a read as a torch function of the entry's arguments, in the dtype of the tensor."""
    number, load = read
    named = replace(site, name=name, attention=replace(site.attention, outputs=("out",)))
    as_it_is = tuple(replace(type_, dtype="int") for type_ in site.tensors)
    function = TorchFunction(replace(named, tensors=as_it_is))  # floats would be widened
    written = ScoreWriter(function, number).factor(replace(load, dtype="int")).text
    function.site = named
    return function.source(text(load), written)


def _copies(problem: Problem, site: Site) -> list[str]:
    """Return statements that lay out by pair what scores read by pair."""
    names, arguments = reads_of(problem, site), ", ".join(problem.names.arguments)
    return [
        f"{problem.names.tensors[copy].name} = by_pair({names[number, load]}({arguments}))"
        for number, stream in enumerate(problem.streams)
        for copy, load in stream.copies.items()
    ]


def _tensor_gradient(problem: Problem, site: Site, position: int, name: str) -> list[str]:
    """Return statements for the gradient of a captured tensor, the sum over all its reads."""
    functions, arguments = reads_of(problem, site), ", ".join(problem.names.arguments)
    lines: list[str] = []
    for number, term, load in _gradient_reads(problem, name):
        head = f"grad_{name} {'+=' if lines else '='} "
        if _is_whole(site, number, load):
            lines.append(f"{head}{_summed(term.buffer, load)}.view({name}.shape)")
        else:
            reading = f"lambda {name}: {functions[number, load]}({arguments})"
            lines.append(call(f"{head}read_gradient", [reading, name, term.buffer], depth=2))
    lines.append(f"grad_{name} = grad_{name}.to({name}.dtype)")
    return [
        f"grad_{name} = {name}.new_empty(0)",
        f"if wanted[{position}]:\n" + indent("\n".join(lines), "    "),
    ]


def _summed(buffer: str, load: Load) -> str:
    """Return a buffer [b, h, n, m] summed over the axes that a read does not depend on."""
    read = coordinates(load)
    axes = [str(axis) for axis, name in enumerate(COORDINATES) if name not in read]
    several = f"({', '.join(axes)})" if len(axes) > 1 else "".join(axes)
    return f"{buffer}.sum({several})" if axes else buffer


def _gradient_reads(problem: Problem, name: str) -> Iterator[tuple[int, Term, Load]]:
    """Yield the reads of a captured tensor, with their sources and the terms they belong to."""
    for number, stream in enumerate(problem.streams):
        for term in stream.terms:
            for load in term.reads:
                if problem.names.tensors[load.tensor].name == name:
                    yield number, term, load

"""The launchers: functions of tensors that allocate results and launch the kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import indent

from attnc.backends.triton.following import brought, following, launched
from attnc.backends.triton.forward import forward
from attnc.backends.triton.kernel import KernelText
from attnc.backends.triton.keys import keys
from attnc.backends.triton.layout import call, define, listing
from attnc.backends.triton.names import Names
from attnc.backends.triton.offsets import offsets
from attnc.backends.triton.operation import backward_arguments, forward_arguments, gradients
from attnc.backends.triton.pairs import pairs
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.queries import queries
from attnc.backends.triton.reads import copies, read_function, reads_of, tensor_gradient
from attnc.backends.triton.streams import Blocks, Stream, Term
from attnc.compiler.kernel import Site
from attnc.dsl.scorelang import fill

FULL = 64
"""Rows that a tile has room for even where a block has fewer slots: then it holds several."""

BUSY = 1024
"""Programs that keep a large card busy: sums over a batch are split into parts to have as many."""


def forward_launcher(problem: Problem, site: Site) -> Iterator[str]:
    """Yield the sources of the forward kernel and of its launcher."""
    functions, kernel = forward(problem)
    yield from (read_function(problem, site, *read) for read in reads_of(problem, site).items())
    yield from (each.definition() for each in problem.ahead.values())
    yield from functions
    yield kernel.definition()
    body = [
        "batch, heads, n, _ = q.shape",
        f"out = token_rows(q, {problem.width})",
        *rest(problem),
        *_views(problem),
        *copies(problem, site, problem.streams),
        *routes(problem, backward=False),
        *choice(problem, "forward", rows_of_tiles(problem), problem.blocks),
        kernel.launch(query_grid(problem)),
        f"return {', '.join(problem.results)}",
    ]
    doc = "Launch the forward kernel."
    yield define(problem.private("launch"), forward_arguments(problem), doc, body, decorator="")


def backward_launcher(problem: Problem, site: Site) -> Iterator[str]:
    """Yield the sources of the backward kernels and of their launcher."""
    functions, kernel = queries(problem)
    yield from functions
    yield kernel.definition()
    body = ["batch, heads, n, _ = q.shape"]
    body += [*copies(problem, site, problem.faces()), *routes(problem, backward=True)]
    body += [f"{name} = by_query(q)" for name in problem.deltas]
    body += row_sums(problem)
    if problem.epilogue and problem.epilogue.is_apart:
        yield following(problem).definition()
    chosen = choice(problem, "queries", rows_of_tiles(problem), problem.blocks)
    body += of_queries(problem, chosen, kernel)
    for sources, lines in (
        *(of_keys(problem, stream) for stream in problem.turned),
        *(of_pairs(problem, stream) for stream in problem.streams if stream.of_kind("pair")),
        *(of_offsets(problem, stream) for stream in problem.streams if stream.of_kind("offset")),
    ):
        yield from sources
        body += lines
    for number, name in enumerate(problem.learned):
        body += tensor_gradient(problem, site, number, name)
    body.append(listing("return ", gradients(problem)))
    yield define(
        problem.private("launch_backward"), backward_arguments(problem),
        "Launch the backward kernels.", body, decorator="",
    )  # fmt: skip


def _views(problem: Problem) -> Iterator[str]:
    """Yield statements that give tables of rotations the axes of the rows they turn."""
    for name, ahead in problem.ahead.items():
        heads, rows = ("heads", "n") if name == "q" else (f"{name}.shape[1]", f"{name}.shape[2]")
        yield from ahead.views(heads, rows)


def row_sums(problem: Problem) -> list[str]:
    """Return statements that make room for gradients by query."""
    rows = [each for each in problem.terms() if each.kind == "row"]
    return [f"{each.buffer} = by_query(q, batch, heads, n, 1)" for each in rows]


def of_queries(problem: Problem, chosen: list[str], kernel: KernelText) -> Iterator[str]:
    """Yield statements for the gradient of q, and for those of what follows the result.

    Args:
        problem: the site.
        chosen: statements that choose tiles; there are as many sums by column as programs.
        kernel: for the gradient of q.
    """
    after, grad_q = problem.inline, f"grad_q = token_rows(q, {problem.dim})"
    launch = kernel.launch(query_grid(problem))
    if after is None:
        yield from launched(problem, following(problem)) if problem.epilogue else ()
        yield from (grad_q, *chosen, launch)
        return
    yield from after.room
    yield from (grad_q, *chosen)
    yield from after.room_by_program(query_grid(problem))
    yield launch
    yield from brought(after)


def rest(problem: Problem) -> list[str]:
    """Return statements that make room for the results besides `out`."""
    return [f"{name} = {problem.fakes[name]}" for name in problem.results[1:]]


def choice(problem: Problem, kind: str, length: str, blocks: Blocks | None) -> list[str]:
    """Return statements that choose tiles, and how many blocks they hold."""
    if blocks is not None:
        length = _on_host(blocks.own.slots, problem.names)
        if blocks.packs:
            length = str(max(int(length), FULL)) if length.isdigit() else f"max({length}, {FULL})"
    table = problem.private("tiles")
    arguments = [f'{table}["{kind}"]', length, "q"]
    chosen = call("block_i, block_j, warps, stages = tile_for", arguments)
    if blocks is None or not blocks.packs:
        return [chosen]
    slots = _on_host(blocks.own.slots, problem.names)
    rows = "block_j" if kind == "keys" else "block_i"
    return [chosen, f"pack = max(1, {rows} // {slots})"]


def routes(problem: Problem, backward: bool) -> list[str]:
    """Return statements that bring indices into the forms that kernels read."""
    name = {each.tensor: problem.names.tensors[each.tensor].name for each in problem.derived}
    lines = []
    for once in (each for each in problem.derived if not each.turned):
        index = problem.names.tensors[once.of].name
        lines.append(f"{name[once.tensor]} = once({index})")
        if backward:
            starts, rows = (each for each in problem.derived if each.turned and each.of == once.of)
            made = f"{name[starts.tensor]}, {name[rows.tensor]}"
            lines.append(f"{made} = rows_naming({name[once.tensor]}, {starts.shape[-1] - 1})")
    return lines


def query_grid(problem: Problem) -> str:
    """Return the number of tiles of queries."""
    heads, tiles = "heads", f"triton.cdiv({rows_of_tiles(problem)}, block_i)"
    if problem.group:
        heads = f"{problem.streams[0].own('k')}.shape[1]"
    if problem.blocks is not None:
        tiles = _block_tiles(problem.blocks, "block_i", problem.names)
    return f"batch * {heads} * {tiles}"


def rows_of_tiles(problem: Problem) -> str:
    """Return the number of rows of q that tiles are taken from."""
    return fill("n * {a}", problem.names.host(problem.group)) if problem.group else "n"


def _key_grid(problem: Problem, stream: Stream) -> str:
    k = stream.own("k")
    tiles = f"triton.cdiv({k}.shape[2], block_j)"
    if stream.blocks is not None:
        tiles = _block_tiles(stream.blocks, "block_j", problem.names)
    return f"batch * {k}.shape[1] * {tiles}"


def _block_tiles(blocks: Blocks, size: str, names: Names) -> str:
    """Return the number of tiles of all blocks of the side that stays."""
    of, slots = (_on_host(each, names) for each in (blocks.own.blocks, blocks.own.slots))
    if blocks.packs:
        return f"triton.cdiv({of}, pack) * triton.cdiv(pack * {slots}, {size})"
    return fill("{a} * {b}", of, f"triton.cdiv({slots}, {size})")


def _on_host(size: str, names: Names) -> str:
    return size if size.isdigit() else names.host(size)


def of_keys(problem: Problem, stream: Stream) -> tuple[list[str], list[str]]:
    """Return sources and statements for the gradients of k and v of a stream as keys see it."""
    functions, kernel = keys(problem, stream)
    lines = _keys_launch(problem, stream, kernel.launch(_key_grid(problem, stream)))
    return [*functions, kernel.definition()], lines


def of_pairs(problem: Problem, stream: Stream) -> tuple[list[str], list[str]]:
    """Return sources and statements for what scores read by query and key."""
    kernel = pairs(problem, stream)
    lines = _pairs_launch(problem, stream, kernel.launch("parts * tiles", depth=2))
    return [kernel.definition()], lines


def of_offsets(problem: Problem, stream: Stream) -> tuple[list[str], list[str]]:
    """Return sources and statements for what scores read by the distance of query and key."""
    kernel = offsets(problem, stream)
    launched = kernel.launch("parts * heads * diagonals", depth=2)
    return [kernel.definition()], _offsets_launch(problem, stream, launched)


def _keys_launch(problem: Problem, stream: Stream, launched: str) -> list[str]:
    k, v = stream.own("k"), stream.own("v")
    buffers = [each.buffer for each in stream.of_kind("col")]
    return [
        f"grad_{k} = token_rows({k}, {problem.dim})",
        f"grad_{v} = token_rows({v}, {problem.width})",
        *(f"{each} = by_query(q, batch, heads, 1, {k}.shape[2])" for each in buffers),
        *choice(problem, "keys", f"{k}.shape[2]", stream.blocks),
        launched,
    ]


def _pairs_launch(problem: Problem, stream: Stream, launched: str) -> list[str]:
    """Return statements for the sums by pair, where someone asks for what they are for."""
    terms, names = stream.of_kind("pair"), problem.names
    n, m, items, alone = "n", f"{stream.own('k')}.shape[2]", "batch", "1"
    of: tuple[str, ...] = ("heads",)
    if stream.blocks is not None:
        n, m = (_on_host(each.slots, names) for each in (stream.blocks.own, stream.blocks.seen))
        blocks = _on_host(stream.blocks.own.blocks, names)
        if stream.apart:
            of = (*of, blocks)
        else:
            items, alone = fill("{a} * {b}", "batch", blocks), blocks
    by_batch = any(each.by_batch for each in terms)
    span = alone if by_batch else f"max(1, triton.cdiv({items} * tiles, {BUSY}))"
    lines = [
        *choice(problem, "pairs", n, None),
        f"tiles = {' * '.join(of)} * triton.cdiv({n}, block_i) * triton.cdiv({m}, block_j)",
        f"span = {span}",
        f"parts = triton.cdiv({items}, span)",
        *(f"{each.buffer} = by_query(q, parts, {', '.join(of)}, {n}, {m})" for each in terms),
        launched,
    ]
    return [_if_wanted(problem, terms, lines)]


def _offsets_launch(problem: Problem, stream: Stream, launched: str) -> list[str]:
    """Return statements for the sums by i - j, where someone asks for what they are for."""
    terms, m = stream.of_kind("offset"), f"{stream.own('k')}.shape[2]"
    by_batch = any(each.by_batch for each in terms)
    span = "1" if by_batch else f"max(1, triton.cdiv(batch * heads * diagonals, {BUSY}))"
    made = [
        f"{each.buffer} = by_query(q, parts, heads, diagonals, block_i, block_j)" for each in terms
    ]
    lines = [
        *choice(problem, "offsets", "n", None),
        f"diagonals = triton.cdiv(n, block_i) + triton.cdiv({m}, block_j) - 1",
        f"span = {span}",
        "parts = triton.cdiv(batch, span)",
        *made,
        launched,
        *(f"{each.buffer} = offset_sums({each.buffer}, n, {m})" for each in terms),
    ]
    return [_if_wanted(problem, terms, lines)]


def _if_wanted(problem: Problem, terms: Sequence[Term], lines: Sequence[str]) -> str:
    """Return lines that only gradients of the tensors which terms read need."""
    reached = {load.tensor for each in terms for load in each.reads}
    wanted = [
        f"wanted[{number}]"
        for number, name in enumerate(problem.learned, len(problem.spared))
        if name in {problem.names.tensors[tensor].name for tensor in reached}
    ]
    return f"if {' or '.join(wanted)}:\n" + indent("\n".join(lines), "    ")

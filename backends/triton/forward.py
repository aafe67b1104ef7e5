"""The forward kernel: tiles of keys go by a tile of queries; all sums are in float32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import indent

from attnc.backends.triton.columns import Columns, least, whole
from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.kernel import KernelText, kernel_text
from attnc.backends.triton.orientation import product
from attnc.backends.triton.pieces import (
    assigned,
    at_edges,
    axes,
    block_constants,
    captures,
    constants,
    is_uneven,
    kept,
    key_head,
    key_sizes,
    literal,
    needs_product,
    of_block,
    of_stream,
    only_kept,
    padded,
    query_tile,
    scores,
    shared_head,
    stored,
    times,
    variables,
    walked,
)
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.rules import LateSoftmax, Softmax
from attnc.backends.triton.step import Step
from attnc.backends.triton.streams import Stream
from attnc.backends.triton.tiles import Walk, over_keys, walk


def forward(problem: Problem) -> tuple[list[str], KernelText]:
    """Return the device functions of the forward kernel, and the kernel itself."""
    steps = [step(problem, stream) for stream in problem.streams]
    walks = [walk(over_keys(stream), stream, problem.names) for stream in problem.streams]
    first = [_first_step(problem, stream) for stream in problem.streams] if problem.late else []
    kernel = forward_kernel(problem, steps, walks, first, _wide(problem))
    return [each.definition() for each in (*first, *steps)], kernel


@dataclass(frozen=True, slots=True)
class Wide:
    """Columns of q and k, and of v and sums of it.

    Splitting them saves a quarter of the products and of shared memory at a head dim of 96 on every
    card; backward kernels hold so many tiles that it makes them spill on cuda:80.
    """

    keys: Columns
    values: Columns


def _wide(problem: Problem) -> Wide:
    """Return how steps hold columns; what follows the sums may need them in one tile."""
    columns = whole if problem.undivided else least
    return Wide((whole if problem.ahead else columns)(problem.dim), columns(problem.width))


def _read(problem: Problem, columns: Columns, tensor: str, head: str, rows: str) -> list[str]:
    """Return statements that read rows of q or k as they are multiplied."""
    tile, ahead = f"{tensor[0]}_tile", problem.ahead.get(tensor)
    if ahead is None:
        return columns.loaded(tile, tensor, head, rows)
    return [ahead.called(tile, head, rows)]


def _of_keys(problem: Problem, stream: Stream, reads_k: bool) -> tuple[str, ...]:
    """Return tensors and strides that reading keys takes besides k."""
    ahead = problem.ahead.get(stream.own("k"))
    return tuple(ahead.used) if ahead is not None and reads_k else ()


def step(problem: Problem, stream: Stream) -> Step:
    """Return what adds a tile of keys."""
    k, v = stream.own("k"), stream.own("v")
    rule, held, wide = problem.rule, problem.held, _wide(problem)
    shares = [stream.late] if stream.late else [stream.share, stream.extra]
    computed = [stream.score, stream.keep, *shares]
    formulas = tuple(each for each in computed if each is not None)
    reads_k = _reads_k(stream, formulas)
    body = [
        *_scores(problem, stream, formulas),
        *wide.values.loaded("v_tile", v, key_head(stream, held), "near"),
        *rule.adding(),
        *shared(stream),
        *wide.values.added("acc", "p", "v_tile", rule.carried),
        *extra(stream, f"added = {product('extra.to(v_tile.dtype)', 'v_tile', 'added')}"),
    ]
    return Step(
        name=problem.private(f"forward_step{stream.tag}"),
        doc=rule.doc,
        given=(
            *of_block(stream, formulas, held), *shared_head(held),
            *((*wide.keys.names("q_tile"), k, v) if reads_k else (v,)),
            *(("bound",) if problem.late else ()),
        ),
        state=(
            *(() if problem.late else rule.state), *wide.values.names("acc"),
            *(["added"] if stream.extra else []),
        ),
        coordinate="i",
        strided=(k, v) if reads_k else (v,),
        sizes=(
            *key_sizes(stream, held), *of_stream(stream), *_of_keys(problem, stream, reads_k)
        ),
        constants=constants(stream),
        formulas=formulas,
        names=problem.names,
        block="BLOCK_J",
        masked=stream.masked,
        body=tuple(body),
    )  # fmt: skip


def _first_step(problem: Problem, stream: Stream) -> Step:
    """Return what finds lse, where weights must be known before they are summed."""
    rule, held = LateSoftmax(), problem.held
    formulas = tuple(each for each in (stream.score, stream.keep) if each is not None)
    k = (stream.own("k"),) if _reads_k(stream, formulas) else ()
    return Step(
        name=problem.private(f"first_step{stream.tag}"),
        doc=Softmax.doc,
        given=(
            *of_block(stream, formulas, held), *(shared_head(held) if k else ()),
            *((*_wide(problem).keys.names("q_tile"), *k) if k else ()),
        ),
        state=rule.state,
        coordinate="i",
        strided=k,
        sizes=(
            *key_sizes(stream, held), *of_stream(stream), *_of_keys(problem, stream, bool(k))
        ),
        constants=constants(stream),
        formulas=formulas,
        names=problem.names,
        block="BLOCK_J",
        masked=stream.masked,
        body=(*_scores(problem, stream, formulas), *rule.first),
    )  # fmt: skip


def _reads_k(stream: Stream, formulas: Iterable[Formula]) -> bool:
    return needs_product([stream.score]) or "qk" in variables(formulas)


def _scores(problem: Problem, stream: Stream, formulas: tuple[Formula, ...]) -> Iterator[str]:
    """Yield statements for the scores of a tile of keys."""
    k, m, held = stream.own("k"), stream.own("m"), problem.held
    yield from walked(stream, "j", "cols", m)
    if _reads_k(stream, formulas):
        columns = _wide(problem).keys
        yield from _read(problem, columns, k, key_head(stream, held), "near")
        yield from columns.over("qk", "q_tile", "k_tile")
    yield from axes(stream, formulas, held)
    yield from scores(stream)
    inside = kept(stream, held, f"(cols < {m})[None, :]")
    yield at_edges(stream, [*inside, only_kept("s", problem.rule.outside)])


def shared(stream: Stream) -> Iterator[str]:
    """Multiply weights as a post expression says, or change them."""
    if stream.late is not None:
        yield "w = p"
        yield stream.late.assigned("p")
        yield at_edges(stream, [only_kept("p")])
        return
    factor = literal(stream.share, "share")
    if factor:
        yield from assigned(stream.share, "share")
        yield f"p = p * {factor}"
        if is_uneven(stream.share):
            yield at_edges(stream, [only_kept("p")])


def extra(stream: Stream, adding: str) -> Iterator[str]:
    """Add to weights what a post expression says, by a statement for a sum of its own."""
    if stream.extra is not None:
        yield stream.extra.assigned("extra")
        yield "extra = tl.zeros_like(p) + extra"
        yield at_edges(stream, [only_kept("extra")])
        yield adding


def forward_kernel(
    problem: Problem,
    steps: list[Step],
    walks: list[Walk],
    first: Sequence[Step] = (),
    wide: Wide | None = None,
    constants: Sequence[str] = (),
) -> KernelText:
    """Return the kernel that walks the keys of each stream step by step.

    Args:
        problem: the site.
        steps: one for each stream; `walks` likewise.
        first: steps of a walk before, where weights must be known before they are summed.
        wide: how steps hold columns: each tile in one part unless stated.
        constants: of steps besides the rows of tiles and what blocks take.
    """
    wide = wide or Wide(whole(problem.dim), whole(problem.width))
    used = {"heads", "n"}.union(*(step.used for step in (*first, *steps)))
    used = used.union({problem.group} - {""}, *(each.used for each in walks))
    used |= captures(each for stream in problem.streams for each in (stream.weight, stream.sink))
    used |= problem.epilogue.used if problem.epilogue else set()
    used |= problem.ahead["q"].used if "q" in problem.ahead else set()
    doc = "One tile of queries against all its keys."
    contiguous = problem.results[1:]
    outputs = dict.fromkeys(["out", *contiguous])
    return kernel_text(
        problem, "forward", doc, problem.inputs, outputs, contiguous, used,
        _body(problem, steps, walks, first, wide),
        (*block_constants(problem.streams), *constants, *(["KEEP"] if problem.if_kept else [])),
    )  # fmt: skip


def _body(
    problem: Problem, steps: list[Step], walks: list[Walk], first: Sequence[Step], wide: Wide
) -> Iterator[str]:
    yield from query_tile(problem.blocks, problem.group, walks)
    yield from _read(problem, wide.keys, "q", problem.held.h, "i")
    if problem.summed:
        yield from _summed(problem, steps, walks)
    else:
        yield from _joined(problem, steps, walks, first, wide.values)


def _joined(
    problem: Problem, steps: list[Step], walks: list[Walk], first: Sequence[Step], columns: Columns
) -> Iterator[str]:
    """One row of weights over the keys of all sources."""
    yield from _fresh(problem, problem.streams[0], columns)
    if problem.adds:
        yield f"added = tl.zeros([BLOCK_I, {padded(problem.width)}], tl.float32)"
    yield from (line for each in walks for line in each.lines)
    yield from (step.visits(each) for step, each in zip(first, walks, strict=bool(first)))
    if isinstance(problem.rule, LateSoftmax):
        yield from problem.rule.bound
    yield from (step.visits(each) for step, each in zip(steps, walks, strict=True))
    yield from columns.each("result", problem.rule.result(), "acc")
    if "normal" in problem.results:  # laid out as the result is
        kept = stored("result", "normal", problem.held.h, "rows", "n", problem.width, "out")
        yield f"if KEEP:\n{indent(kept, '    ')}" if problem.if_kept else kept
    if problem.adds:
        yield "result += added"
    if problem.epilogue:
        yield from problem.epilogue.lines()
    yield from columns.stored("result", "out", problem.held.h, "rows", "n")
    yield from (_stored(problem, name) for name in problem.statistics)


def _summed(problem: Problem, steps: list[Step], walks: list[Walk]) -> Iterator[str]:
    """A row of weights for each source; the backward pass asks for the part of each."""
    yield f"result = tl.zeros([BLOCK_I, {padded(problem.width)}], tl.float32)"
    for number, (stream, step, each) in enumerate(zip(problem.streams, steps, walks, strict=True)):
        yield from _fresh(problem, stream, whole(problem.width))
        yield from each.lines
        yield step.visits(each)
        yield f"part_tile = {problem.rule.result()}"
        if problem.parts:
            part = problem.parts[number]
            # parts are laid out as the result is
            lines = [stored("part_tile", part, problem.held.h, "rows", "n", problem.width, "out")]
            lines += [_stored(problem, name) for name in problem.statistics[number : number + 1]]
            yield "if KEEP:\n" + indent("\n".join(lines), "    ")
        yield from assigned(stream.weight, "weight")
        yield f"result += {times('part_tile', literal(stream.weight, 'weight'))}"
    yield from problem.epilogue.lines() if problem.epilogue else ()
    yield stored("result", "out", problem.held.h, "rows", "n", problem.width)


def _fresh(problem: Problem, stream: Stream, columns: Columns) -> Iterator[str]:
    yield from assigned(stream.sink, "sink")
    yield from problem.rule.fresh(literal(stream.sink, "sink"))
    yield from columns.nothing("acc", "BLOCK_I")


def _stored(problem: Problem, statistic: str) -> str:
    at = "at = (b * heads + h) * n + rows"
    return f"{at}\ntl.store({statistic} + at, {problem.rule.stored}, mask=rows < n)"

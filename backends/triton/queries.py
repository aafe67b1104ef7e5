"""The kernel for the gradient of q: a tile of queries walks its keys as in the forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnc.backends.triton.following import result_before
from attnc.backends.triton.gradient import (
    Slopes,
    formulas,
    nothing_outside,
    of_rows,
    score_gradient,
    sums,
    through,
    tiles_of,
    weight_name,
)
from attnc.backends.triton.kernel import KernelText, kernel_text
from attnc.backends.triton.pieces import (
    assigned,
    at_edges,
    block_constants,
    captures,
    constants,
    key_head,
    key_sizes,
    literal,
    of_block,
    of_stream,
    padded,
    query_tile,
    rows_of,
    shared_head,
    stored,
    times,
    walked,
)
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.step import Step
from attnc.backends.triton.streams import Stream
from attnc.backends.triton.tiles import Walk, over_keys, walk

_ROWSUM = "tl.sum(grad_tile.to(tl.float32) * {}.to(tl.float32), 1)"


def queries(problem: Problem) -> tuple[list[str], KernelText]:
    """Return the device functions and the kernel.

    It runs before the other backward kernels and leaves `delta` for them.
    """
    steps = [step(problem, stream) for stream in problem.streams]
    walks = [walk(over_keys(stream), stream, problem.names) for stream in problem.streams]
    first = [_delta_step(problem, stream) for stream in problem.streams] if problem.late else []
    kernel = queries_kernel(problem, steps, walks, first=first)
    return [each.definition() for each in (*first, *steps)], kernel


def _delta_step(problem: Problem, stream: Stream) -> Step:
    """Return what finds delta where no product of rows gives it: weights are not linear in p."""
    k, v, m = (stream.own(name) for name in ("k", "v", "m"))
    held, computed = problem.held, formulas(stream, {})
    body = [
        *walked(stream, "j", "cols", m),
        f"k_tile = {rows_of(k, key_head(stream, held), 'near', problem.dim)}",
        f"v_tile = {rows_of(v, key_head(stream, held), 'near', problem.width)}",
        *score_gradient(problem.rule, stream, {}, held, centred=False),
        at_edges(stream, nothing_outside(stream, {}, held, f"(cols < {m})[None, :]")),
        "delta_tile += tl.sum(ds, 1)",
    ]
    return Step(
        name=problem.private(f"delta_step{stream.tag}"),
        doc="Add what a tile of keys gives to delta.",
        given=(
            *of_block(stream, computed, held), *shared_head(held),
            *("q_tile", "grad_tile", "lse_tile", k, v),
        ),
        state=("delta_tile",),
        coordinate="i",
        strided=(k, v),
        sizes=(*key_sizes(stream, held), *of_stream(stream)),
        constants=constants(stream),
        formulas=computed,
        names=problem.names,
        block="BLOCK_J",
        masked=stream.masked,
        body=tuple(body),
    )  # fmt: skip


def step(problem: Problem, stream: Stream) -> Step:
    """Return what adds a tile of keys to the gradient of q."""
    k, v, m = (stream.own(name) for name in ("k", "v", "m"))
    slopes: Slopes = {f"{each.buffer}_slope": each.by_pair for each in stream.of_kind("row")}
    if problem.late_slope is None:
        slopes = {**slopes, **stream.slopes}
    held, of_query = problem.held, tiles_of(problem.of_query(stream))
    body = [
        *walked(stream, "j", "cols", m),
        f"k_tile = {rows_of(k, key_head(stream, held), 'near', problem.dim)}",
        f"v_tile = {rows_of(v, key_head(stream, held), 'near', problem.width)}",
        *score_gradient(problem.rule, stream, slopes, held),
        at_edges(stream, nothing_outside(stream, slopes, held, f"(cols < {m})[None, :]")),
        *sums(slopes),
        *through(slopes, "k_tile", "grad_q_tile"),
    ]
    return Step(
        name=problem.private(f"queries_step{stream.tag}"),
        doc="Add what a tile of keys gives to the gradient of q.",
        given=(
            *of_block(stream, formulas(stream, slopes), held), *shared_head(held),
            *("q_tile", "grad_tile", *of_query, *weight_name(stream), k, v),
        ),
        state=("grad_q_tile", *(f"{each.buffer}_sum" for each in stream.of_kind("row"))),
        coordinate="i",
        strided=(k, v),
        sizes=(*key_sizes(stream, held), *of_stream(stream)),
        constants=constants(stream),
        formulas=formulas(stream, slopes),
        names=problem.names,
        block="BLOCK_J",
        masked=stream.masked,
        body=tuple(body),
    )  # fmt: skip


def queries_kernel(
    problem: Problem,
    steps: list[Step],
    walks: list[Walk],
    kept: Sequence[str] = (),
    first: Sequence[Step] = (),
    constants: Sequence[str] = (),
) -> KernelText:
    """Return the kernel that walks the keys of each stream step by step.

    Args:
        problem: the site.
        steps: one for each stream; `walks` likewise.
        kept: buffers that steps write besides.
        first: steps of a walk before, which find delta.
        constants: of steps besides the rows of tiles and what blocks take.
    """
    terms = [each for each in problem.terms() if each.kind == "row"]
    read = [problem.normal] if problem.reads_out and not first else []
    results = problem.parts if problem.summed else read
    grads = [f"grad_{name}" for name in problem.differentiable]
    sums_kept = [*problem.deltas, *(each.buffer for each in terms)]
    lse = problem.statistics
    used = {"heads", "n"}.union(*(step.used for step in (*first, *steps)))
    used = used.union({problem.group} - {""}, *(each.used for each in walks))
    used |= captures([problem.late_slope, *(each.weight for each in problem.streams)])
    used |= captures(each.sink for each in problem.streams)
    used |= captures(each.slope for each in terms if each.of in ("weight", "sink"))
    after = problem.inline
    used |= after.used_back if after else set()
    beside, alongside = (after.outputs, after.contiguous) if after else ([], [])
    leaves = "; leaves delta as well" if problem.deltas else ""
    return kernel_text(
        problem,
        "queries",
        f"Gradient of q for one tile of queries{leaves}.",
        inputs=[*problem.inputs, *results, *lse, *grads],
        outputs=["grad_q", *beside, *sums_kept, *kept],
        contiguous=[*lse, *grads[1:], *alongside, *sums_kept, *kept],
        used=used,
        body=_body(problem, steps, walks, first),
        constants=(*block_constants(problem.streams), *constants),
    )


def _body(
    problem: Problem, steps: list[Step], walks: list[Walk], first: Sequence[Step]
) -> Iterator[str]:
    yield from query_tile(problem.blocks, problem.group, walks)
    yield "at = (b * heads + h) * n"
    q_tile = f"q_tile = {rows_of('q', problem.held.h, 'i', problem.dim)}"
    yield from () if problem.epilogue else (q_tile,)
    yield f"grad_tile = {rows_of('grad_out', problem.held.h, 'i', problem.width)}"
    yield from _before_epilogue(problem)
    if not problem.summed and problem.rule.centred:
        yield from _joined_delta(problem, walks, first)
        yield from _of_sink(problem, problem.streams[0])
    yield from (q_tile,) if problem.epilogue else ()  # after it, for want of registers
    yield f"grad_q_tile = tl.zeros([BLOCK_I, {padded(problem.dim)}], tl.float32)"
    for number, (step, each) in enumerate(zip(steps, walks, strict=True)):
        if problem.summed:
            yield from _summed_delta(problem, number)
        yield from (f"{name} = tl.zeros([BLOCK_I], tl.float32)" for name in step.state[1:])
        yield from () if first else each.lines
        yield step.visits(each)
        yield from (_store(name.removesuffix("_sum"), name) for name in step.state[1:])
    late = problem.late_slope
    yield from assigned(late, "slope")
    if problem.group and late is not None and "h" in late.variables:
        yield "slope = slope[:, None]"
    grad = times("grad_q_tile", literal(late, "slope"))
    yield stored(grad, "grad_q", problem.held.h, "rows", "n", problem.dim)


def _joined_delta(problem: Problem, walks: list[Walk], first: Sequence[Step]) -> Iterator[str]:
    if first:
        yield from of_rows(problem.statistics, "at + i")
        yield "delta_tile = tl.zeros([BLOCK_I], tl.float32)"
        yield from (line for each in walks for line in each.lines)
        yield from (step.visits(each) for step, each in zip(first, walks, strict=True))
    else:
        yield from () if problem.inline else (_out_tile(problem),)
        yield f"delta_tile = {_ROWSUM.format('out_tile')}"
    if problem.with_lse:
        yield "delta_tile -= tl.load(grad_lse + at + i)"
    yield _store("delta", "delta_tile")
    if not first:
        yield from of_rows(problem.statistics, "at + i")


def _before_epilogue(problem: Problem) -> Iterator[str]:
    """From the gradient of what is stored to that of the result, and of what stands beside it."""
    after = problem.inline
    if after is None:
        return
    if problem.reads_out:
        yield _out_tile(problem)
    if after.reads_result and problem.summed:
        yield from result_before(problem, problem.held.h)
    elif after.reads_result:
        yield "result = out_tile.to(tl.float32)"
    yield from after.backward()


def _out_tile(problem: Problem) -> str:
    return f"out_tile = {rows_of(problem.normal, problem.held.h, 'i', problem.width)}"


def _summed_delta(problem: Problem, number: int) -> Iterator[str]:
    """The same for a source with weights of its own; `gain` is d loss / d weight by query."""
    stream = problem.streams[number]
    if problem.parts:
        yield f"part_tile = {rows_of(problem.parts[number], problem.held.h, 'i', problem.width)}"
        yield f"gain = {_ROWSUM.format('part_tile')}"
    for term in (each for each in stream.terms if each.of == "weight"):
        yield from assigned(term.slope, "slope")
        yield _store(term.buffer, times("gain", literal(term.slope, "slope")))
    yield from assigned(stream.weight, "weight")
    if problem.rule.centred:
        yield f"delta_tile = {times('gain', literal(stream.weight, 'weight'))}"
        yield _store(stream.own("delta"), "delta_tile")
        yield from of_rows(problem.statistics[number : number + 1], "at + i")
        yield from _of_sink(problem, stream)


def _of_sink(problem: Problem, stream: Stream) -> Iterator[str]:
    """The gradient of the sink by query: its weight times how far its value, 0, is from delta."""
    terms = [each for each in stream.terms if each.of == "sink"]
    if terms:
        yield from assigned(stream.sink, "sink")
        sink = literal(stream.sink, "sink")
        yield f"ds = -tl.exp2({sink} - lse_tile) * delta_tile"
    for term in terms:
        yield from assigned(term.slope, "slope")
        yield _store(term.buffer, times("ds", literal(term.slope, "slope")))


def _store(buffer: str, value: str) -> str:
    return f"tl.store({buffer} + at + rows, {value}, mask=rows < n)"

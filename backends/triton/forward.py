"""The forward kernel: online softmax over tiles of keys, in base 2, statistics in float32."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from attnc.backends.triton.kernel import KernelText, kernel_text
from attnc.backends.triton.orientation import QUERIES_BY_KEYS, product
from attnc.backends.triton.pieces import (
    at_edges,
    axes,
    block_constants,
    captures,
    constants,
    kept,
    key_head,
    key_sizes,
    literal,
    needs_product,
    of_block,
    of_stream,
    padded,
    query_tile,
    rows_of,
    scores,
    stored,
    times,
    walked,
)
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.step import Step
from attnc.backends.triton.streams import Stream
from attnc.backends.triton.tiles import Walk, over_keys, walk

LN_2 = 0.6931471805599453
_RESULT = "acc / tl.where(total == 0.0, 1.0, total)[:, None]"
_STORE_LSE = (
    "at = (b * heads + h) * n + rows\n"
    f"tl.store({{lse}} + at, (peak + tl.log2(total)) * {LN_2}, mask=rows < n)"
)
_OUTSIDE = 's = tl.where(keep, s, float("-inf"))'
_ONLINE_SOFTMAX = (
    "new_peak = tl.maximum(peak, tl.max(s, 1))",
    'shift = tl.where(new_peak == float("-inf"), 0.0, new_peak)  # no key so far',
    "p = tl.exp2(s - shift[:, None])",
    "shrink = tl.exp2(peak - shift)",
    "peak = new_peak",
    "total = total * shrink + tl.sum(p, 1)",
    f"acc = {product('p.to(v_tile.dtype)', 'v_tile', 'acc * shrink[:, None]')}",
)


def forward(problem: Problem) -> tuple[list[str], KernelText]:
    """Return the device functions of the forward kernel, and the kernel itself."""
    steps = [_step(problem, stream) for stream in problem.streams]
    return [each.definition() for each in steps], _kernel(problem, steps)


def _step(problem: Problem, stream: Stream) -> Step:
    k, v, m = (stream.own(name) for name in ("k", "v", "m"))
    formulas = (stream.score, *([stream.keep] if stream.keep else []))
    reads_k = needs_product([stream.score])
    key_lines = [
        f"k_tile = {rows_of(k, key_head(stream), 'near', problem.dim)}",
        f"qk = {product('q_tile', 'tl.trans(k_tile)')}",
    ]
    held = QUERIES_BY_KEYS
    body = [
        *walked(stream, "j", "cols", m),
        *(key_lines if reads_k else []),
        *axes(stream, formulas, held),
        *scores(stream),
        at_edges(stream, [*kept(stream, held, f"(cols < {m})[None, :]"), _OUTSIDE]),
        f"v_tile = {rows_of(v, key_head(stream), 'near', problem.width)}",
        *_ONLINE_SOFTMAX,
    ]
    return Step(
        name=problem.private(f"forward_step{stream.tag}"),
        doc="Add a tile of keys: peak is the largest s, total the sum of exp2(s - peak).",
        given=(*of_block(stream, formulas, held), *(("q_tile", k, v) if reads_k else (v,))),
        state=("peak", "total", "acc"),
        coordinate="i",
        strided=(k, v) if reads_k else (v,),
        sizes=(*key_sizes(stream), *of_stream(stream)),
        constants=constants(stream),
        formulas=formulas,
        names=problem.names,
        block="BLOCK_J",
        masked=stream.masked,
        body=tuple(body),
    )


def _kernel(problem: Problem, steps: list[Step]) -> KernelText:
    walks = [walk(over_keys(stream), stream, problem.names) for stream in problem.streams]
    lse = [f"lse{tag}" for tag in problem.statistics]
    parts = [f"part{tag}" for tag in problem.statistics] if problem.summed else []
    used = {"heads", "n"}.union(*(step.used for step in steps), *(each.used for each in walks))
    used |= captures(stream.weight for stream in problem.streams)
    doc = "One tile of queries against all its keys."
    return kernel_text(
        problem, "forward", doc, problem.inputs, ["out", *parts, *lse], [*parts, *lse], used,
        _body(problem, steps, walks), block_constants(problem.streams),
    )  # fmt: skip


def _body(problem: Problem, steps: list[Step], walks: list[Walk]) -> Iterator[str]:
    yield from query_tile(problem.blocks, walks)
    yield f"q_tile = {rows_of('q', 'h', 'i', problem.dim)}"
    body = _summed if problem.summed else _joined
    yield from body(problem, steps, walks)


def _joined(problem: Problem, steps: list[Step], walks: list[Walk]) -> Iterator[str]:
    """One softmax over the keys of all sources."""
    yield from _fresh(problem)
    for step, each in zip(steps, walks, strict=True):
        yield from each.lines
        yield step.visits(each)
    yield f"result = {_RESULT}"
    yield stored("result", "out", "h", "rows", "n", problem.width)
    yield _STORE_LSE.format(lse="lse")


def _summed(problem: Problem, steps: list[Step], walks: list[Walk]) -> Iterator[str]:
    """A softmax for each source; the backward pass asks for the part of each."""
    yield f"result = tl.zeros([BLOCK_I, {padded(problem.width)}], tl.float32)"
    for stream, step, each in zip(problem.streams, steps, walks, strict=True):
        part = stream.own("part")
        yield from _fresh(problem)
        yield from each.lines
        yield step.visits(each)
        yield f"part_tile = {_RESULT}"
        # parts are laid out as the result is
        kept_part = stored("part_tile", part, "h", "rows", "n", problem.width, "out")
        lse = _STORE_LSE.format(lse=stream.own("lse"))
        yield f"if {part} is not None:\n" + indent(f"{kept_part}\n{lse}", "    ")
        weight = literal(stream.weight, "weight")
        if stream.weight is not None and weight == "weight":
            yield stream.weight.assigned("weight")
        yield f"result += {times('part_tile', weight)}"
    yield stored("result", "out", "h", "rows", "n", problem.width)


def _fresh(problem: Problem) -> Iterator[str]:
    yield 'peak = tl.full([BLOCK_I], float("-inf"), tl.float32)'
    yield "total = tl.zeros([BLOCK_I], tl.float32)"
    yield f"acc = tl.zeros([BLOCK_I, {padded(problem.width)}], tl.float32)"

"""The forward kernel: a tile of queries goes through its slots; all sums are in float32."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.backends.triton.forward import extra, forward_kernel, shared, step
from attnc.backends.triton.gathered.problem import Gathered
from attnc.backends.triton.gathered.tile import (
    keys_of,
    places,
    products,
    rows_of_keys,
    scores,
    step_sizes,
    walks,
)
from attnc.backends.triton.kernel import KernelText
from attnc.backends.triton.step import Step
from attnc.backends.triton.streams import Stream


def forward(problem: Gathered) -> tuple[list[str], KernelText]:
    """Return the device functions of the forward kernel, and the kernel itself."""
    steps = [
        (_step if stream.tag in problem.lists else step)(problem, stream)
        for stream in problem.streams
    ]
    kernel = forward_kernel(problem, steps, walks(problem), constants=problem.constants)
    return [each.definition() for each in steps], kernel


def _step(problem: Gathered, stream: Stream) -> Step:
    k, v, rule = stream.own("k"), stream.own("v"), problem.rule
    computed = [stream.score, stream.keep, stream.share, stream.extra]
    formulas = tuple(each for each in computed if each is not None)
    read = [*products(formulas)]
    body = [
        *keys_of(problem, stream),
        *([rows_of_keys(problem, stream, "k", problem.dim)] if read else []),
        *read,
        *scores(problem, stream),
        *(each.assigned(name) for name, each in problem.fractions.items()),
        rows_of_keys(problem, stream, "v", problem.width),
        *rule.adding(),
        *shared(stream),
        f"acc = {rule.carried} + weighed(p, v_tile)",
        *extra(stream, "added += weighed(extra, v_tile)"),
        *(_weights_by_slot(problem, stream) if problem.with_weights else []),
    ]
    given = ("i", "q_tile", k, v) if read else ("i", v)
    sizes = step_sizes(problem, stream)
    if problem.with_weights:
        given, sizes = (*given, "rows", "slot_weights"), ("heads", "n", *sizes)
    return Step(
        name=problem.private(f"forward_step{stream.tag}"),
        doc=rule.doc.replace("a tile of keys", "a tile of slots"),
        given=given,
        state=(*rule.state, "acc", *(["added"] if stream.extra else [])),
        coordinate="",
        strided=(k, v) if read else (v,),
        sizes=sizes,
        constants=(),
        formulas=(*formulas, *problem.fractions.values()),
        names=problem.names,
        block=problem.block,
        masked=True,
        body=tuple(body),
    )


def _weights_by_slot(problem: Gathered, stream: Stream) -> Iterator[str]:
    """Store what values are multiplied by."""
    yield from places(problem, stream)
    if stream.extra is not None:
        yield "p = p + extra"
    yield "tl.store(slot_weights + at, p.to(slot_weights.dtype.element_ty), mask=inside)"

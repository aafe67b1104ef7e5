"""The kernel for the gradient of q, which leaves that of scores by slot for the other gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnc.backends.triton.gathered.problem import Gathered, toward
from attnc.backends.triton.gathered.tile import (
    QUERIES_BY_SLOTS,
    keys_of,
    places,
    products,
    rows_of_keys,
    scores,
    step_sizes,
    walks,
)
from attnc.backends.triton.gradient import (
    Slopes,
    formulas,
    only_inside,
    sums,
    tiles_of,
    to_product,
    weight_gradient,
    weight_name,
)
from attnc.backends.triton.kernel import KernelText
from attnc.backends.triton.orientation import Orientation
from attnc.backends.triton.pieces import literal, times
from attnc.backends.triton.queries import queries_kernel, step
from attnc.backends.triton.step import Step
from attnc.backends.triton.streams import Slope, Stream


def queries(problem: Gathered) -> tuple[list[str], KernelText]:
    """Return the device functions and the kernel."""
    steps = [
        (_step if stream.tag in problem.lists else step)(problem, stream)
        for stream in problem.streams
    ]
    kept = [name for stream in problem.gathered for name in problem.by_slot(stream)]
    kernel = queries_kernel(problem, steps, walks(problem), kept, constants=problem.constants)
    return [each.definition() for each in steps], kernel


def _step(problem: Gathered, stream: Stream) -> Step:
    k, v = stream.own("k"), stream.own("v")
    rows, slopes = stream.of_kind("row"), _slopes(stream)
    mixed = problem.of_fractions()
    given = [*problem.by_slot(stream), *problem.seen]
    computed = formulas(stream, slopes, values=True)
    reads_k = bool(toward(stream) or [*products(computed)])
    own = (k, v) if reads_k else (v,)
    body = [
        *keys_of(problem, stream),
        *([rows_of_keys(problem, stream, "k", problem.dim)] if reads_k else []),
        rows_of_keys(problem, stream, "v", problem.width),
        *products(computed),
        *scores(problem, stream),
        *(each.assigned(name) for name, each in problem.fractions.items()),
        *places(problem, stream),
        *_seen(problem),
        *weight_gradient(problem.rule, stream, slopes, _held(problem), values=True),
        *only_inside(slopes, also="p"),
        *sums({f"{each.buffer}_slope": slopes[f"{each.buffer}_slope"] for each in rows}),
        *(f"{name}_grad_sum += tl.sum(grad_{name}, 1)" for name in problem.fractions),
        *_stored(problem, stream, slopes),
    ]
    return Step(
        name=problem.private(f"queries_step{stream.tag}"),
        doc="Add what a tile of slots gives to the gradient of q; keep that of its scores.",
        given=(
            *("i", "rows", "q_tile", "grad_tile", *tiles_of(problem.of_query(stream))),
            *(*weight_name(stream), *own, *given),
        ),
        state=("grad_q_tile", *(f"{each.buffer}_sum" for each in (*rows, *mixed))),
        coordinate="",
        strided=own,
        sizes=("heads", "n", *step_sizes(problem, stream)),
        constants=(),
        formulas=(*computed, *problem.fractions.values()),
        names=problem.names,
        block=problem.block,
        masked=True,
        body=tuple(body),
    )  # fmt: skip


def _seen(problem: Gathered) -> Iterator[str]:
    """Read the gradients of weights that the loss sees themselves."""
    for name in problem.seen:
        yield f"seen = tl.load({name} + at, mask=inside, other=0.0).to(tl.float32)"


def _held(problem: Gathered) -> Orientation:
    if not problem.seen:
        return QUERIES_BY_SLOTS
    return replace(QUERIES_BY_SLOTS, grad_product=f"{QUERIES_BY_SLOTS.grad_product} + seen")


def _slopes(stream: Stream) -> Slopes:
    terms = [*stream.of_kind("row"), *stream.of_kind("pair")]
    slopes = {f"{each.buffer}_slope": each.by_pair for each in terms} | stream.slopes
    if stream.distance_slope is not None:
        slopes["distance_slope"] = Slope(stream.distance_slope, "ds")
    return slopes


def _stored(problem: Gathered, stream: Stream, slopes: Slopes) -> Iterator[str]:
    """Keep weights and gradients by slot; add to the gradient of q."""
    for term in stream.of_kind("pair"):
        name = f"{term.buffer}_slope"
        value = times(slopes[name].base, literal(slopes[name].formula, name))
        yield _store(term.buffer, value)
    weight = literal(stream.weight, "weight")
    yield _store(stream.own("weights"), times("p", weight))
    if "grad_l1" in toward(stream):
        yield f"distant = {times('ds', literal(stream.distance_slope, 'distance_slope'))}"
        yield _store(stream.own("grad_l1"), "distant")
        yield "grad_q_tile += weighed(distant, sign(difference))"
    if "grad_qk" in toward(stream):
        yield from to_product(slopes)
        yield _store(stream.own("grad_qk"), "ds")
        yield "grad_q_tile += weighed(ds, k_tile)"


def _store(buffer: str, value: str) -> str:
    return f"tl.store({buffer} + at, {value}, mask=inside)"

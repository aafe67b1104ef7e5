"""The kernel for the gradients of k and v: a tile of keys walks the queries that may see it."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.gradient import (
    Slopes,
    formulas,
    nothing_outside,
    of_rows,
    score_gradient,
    sums,
    through,
    weight_name,
)
from attnc.backends.triton.kernel import KernelText, kernel_text
from attnc.backends.triton.orientation import KEYS_BY_HEADS, KEYS_BY_QUERIES, product
from attnc.backends.triton.pieces import (
    at_edges,
    block_constants,
    captures,
    constants,
    is_uneven,
    key_sizes,
    key_tile,
    literal,
    near,
    of_block,
    of_stream,
    padded,
    rows_of,
    stored,
    times,
    walked,
)
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.step import Step
from attnc.backends.triton.streams import Stream
from attnc.backends.triton.tiles import Walk, over_queries, walk
from attnc.dsl.attention import Constant


def keys(problem: Problem, stream: Stream) -> tuple[list[str], KernelText]:
    """Return the device functions and the kernel."""
    step = _step(problem, stream)
    return [step.definition()], _kernel(problem, stream, step)


def _step(problem: Problem, stream: Stream) -> Step:
    slopes: Slopes = {f"{each.buffer}_slope": each.by_pair for each in stream.of_kind("col")}
    if not _is_late_slope(stream):
        slopes = {**slopes, **stream.slopes}
    of_query = problem.of_query(stream)
    weight = "" if _is_late(stream, stream.weight) else "weight"
    group, computed = _group(problem, stream), formulas(stream, slopes, values=True)
    held, head = (KEYS_BY_HEADS, "h[:, None]") if group else (KEYS_BY_QUERIES, "h")
    body = [
        *(_heads_walked(group, stream.masked) if group else walked(stream, "i", "rows", "n")),
        *(["at = (b * heads + h) * n + near"] if of_query else []),
        f"q_tile = {rows_of('q', head, 'near', problem.dim)}",
        f"grad_tile = {rows_of('grad_out', head, 'near', problem.width)}",
        *of_rows(of_query, "at"),
        *score_gradient(problem.rule, stream, slopes, held, values=True),
        at_edges(stream, nothing_outside(stream, slopes, held, "(rows < n)[None, :]", also="p")),
        *sums(slopes),
        *([f"p = p * {weight}"] if weight else []),
        f"grad_v_tile = {product('p.to(grad_tile.dtype)', 'grad_tile', 'grad_v_tile')}",
        *through(slopes, "q_tile", "grad_k_tile"),
    ]
    return Step(
        name=problem.private(f"keys_step{stream.tag}"),
        doc="Add what a tile of queries gives to the gradients of k and v.",
        given=(
            *of_block(stream, computed, held),
            *("k_tile", "v_tile", "q", "grad_out", *of_query, *weight_name(stream)),
        ),
        state=(
            "grad_k_tile", "grad_v_tile", *(f"{each.buffer}_sum" for each in stream.of_kind("col"))
        ),
        coordinate="j",
        strided=("q", "grad_out"),
        sizes=("heads", "n", *([group] if group else []), *of_stream(stream)),
        constants=constants(stream),
        formulas=computed,
        names=problem.names,
        block="BLOCK_I",
        masked=stream.masked,
        body=tuple(body),
        head="shared" if group else "h",
    )  # fmt: skip


def _group(problem: Problem, stream: Stream) -> str:
    """Return the size by which queries of several heads are walked at once; empty where not.

    Sums by key and head are kept one head after the other.
    """
    return "" if stream.of_kind("col") else problem.group


def _heads_walked(group: str, masked: bool) -> list[str]:
    return [
        "slots = first + tl.arange(0, BLOCK_I)",
        f"h = shared * {group} + slots % {group}  # heads innermost",
        f"rows = slots // {group}",
        near("rows", "n", masked),
    ]


def _is_late(stream: Stream, factor: Formula | None) -> bool:
    """Say whether a factor may wait for the sums: it is the same for all their pairs."""
    if factor is None or isinstance(factor.tree, Constant):
        return True
    return not stream.grouped and not is_uneven(factor)


def _is_late_slope(stream: Stream) -> bool:
    return stream.post_slope is None and _is_late(stream, stream.slope)


def _kernel(problem: Problem, stream: Stream, step: Step) -> KernelText:
    k, v = stream.own("k"), stream.own("v")
    each = walk(over_queries(stream, _group(problem, stream)), stream, problem.names)
    statistics = problem.of_query(stream)
    buffers = [term.buffer for term in stream.of_kind("col")]
    used = step.used | each.used | {"heads", "n", *key_sizes(stream, KEYS_BY_QUERIES)}
    if _is_late_slope(stream):
        used |= captures([stream.slope])
    return kernel_text(
        problem,
        f"keys{stream.tag}",
        "Gradients of k and v for one tile of keys.",
        inputs=["q", k, v, *statistics, "grad_out"],
        outputs=[f"grad_{k}", f"grad_{v}", *buffers],
        contiguous=[*statistics, *buffers],
        used=used | captures([stream.weight]),
        body=_body(problem, stream, step, each),
        constants=block_constants([stream]),
    )


def _body(problem: Problem, stream: Stream, step: Step, each: Walk) -> Iterator[str]:
    k, v, m, group = (stream.own(name) for name in ("k", "v", "m", "group"))
    head, heads = ("shared", f"heads // {group}") if stream.grouped else ("h", "heads")
    yield from key_tile(stream, heads, head, " ".join(each.parts()))
    yield f"k_tile = {rows_of(k, head, 'near', problem.dim)}"
    yield f"v_tile = {rows_of(v, head, 'near', problem.width)}"
    yield f"grad_k_tile = tl.zeros([BLOCK_J, {padded(problem.dim)}], tl.float32)"
    yield f"grad_v_tile = tl.zeros([BLOCK_J, {padded(problem.width)}], tl.float32)"
    if stream.grouped and not _group(problem, stream):
        lines = [f"h = shared * {group} + member", *_one_head(stream, step, each, depth=2)]
        yield f"for member in range({group}):\n" + indent("\n".join(lines), "    ")
    else:
        yield from _one_head(stream, step, each, depth=1)
    late = _is_late_slope(stream)
    slope = literal(stream.slope, "slope") if late else ""
    if slope == "slope":
        yield stream.slope.assigned("slope")
    weight = literal(stream.weight, "weight") if _is_late(stream, stream.weight) else ""
    yield stored(times("grad_k_tile", slope), f"grad_{k}", head, "j", m, problem.dim)
    yield stored(times("grad_v_tile", weight), f"grad_{v}", head, "j", m, problem.width)


def _one_head(stream: Stream, step: Step, each: Walk, depth: int) -> Iterator[str]:
    """Walk the queries of one head of q."""
    if stream.weight is not None and weight_name(stream):
        yield stream.weight.assigned("weight")
    sums_kept = step.state[2:]
    yield from (f"{name} = tl.zeros([BLOCK_J], tl.float32)" for name in sums_kept)
    yield from each.lines
    yield step.visits(each, depth)
    for name in sums_kept:
        at = f"{name.removesuffix('_sum')} + (b * heads + h) * {stream.own('m')} + j"
        yield f"tl.store({at}, {name}, mask=j < {stream.own('m')})"

"""The backward kernel: all gradients from one walk over the side that is streamed.

Weights are recomputed. With dp the gradient of a weight, softmax has ds = p * (dp - delta), delta
being the sum of p * dp over the side that it is normalised over: of a tile where that side stays,
else grad . result of the row that stays. Gradients of rows that stay are summed by each program
and written as parts.
"""

from __future__ import annotations

from collections.abc import Iterator

from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.gradient import Slopes
from attnc.backends.triton.kernel import KernelText, kernel_text
from attnc.backends.triton.orientation import product
from attnc.backends.triton.pieces import (
    assigned,
    is_uneven,
    literal,
    only_kept,
    padded,
    rows_of,
    stored,
    times,
    variables,
)
from attnc.backends.triton.resident import tile
from attnc.backends.triton.resident.problem import Resident, Side
from attnc.backends.triton.resident.readings import Reading
from attnc.backends.triton.streams import Term


def backward(problem: Resident) -> KernelText:
    """Return the kernel."""
    computed = _formulas(problem)
    results = [each for each in problem.saved if each in ("out", "back")]
    statistics = [each for each in problem.saved if each not in (*results, *problem.if_kept)]
    grads = [f"grad_{name}" for name in problem.differentiable]
    contiguous = [*statistics, *(each for each in grads if each in ("grad_lse", "grad_scores"))]
    terms = [term.buffer for term in problem.terms(problem.streams)]
    summed = [name for name, _, _ in parts(problem)]
    needed = {"q": problem.has_slope, "k": problem.has_slope}
    operands = [name for name in problem.inputs if needed.get(name, not problem.is_hard)]
    streamed = [f"grad_{name}" for name in _streamed_inputs(problem)]
    return kernel_text(
        problem.base,
        "gradients",
        f"Gradients of a run of {problem.streams.operand}, and its part of those that stay.",
        inputs=[*operands, *grads, *results, *statistics],
        outputs=[*streamed, *terms, *summed],
        contiguous=[*contiguous, *terms, *summed],
        used=tile.sizes(problem, computed),
        body=_body(problem, computed),
    )


def parts(problem: Resident) -> list[tuple[str, str, int]]:
    """Return what programs sum for rows that stay: buffer, variable, columns or 0."""
    stays = problem.stays.operand
    found = [(stays, problem.stays.width)] if problem.has_slope else []
    found += [(each.values, each.width) for each in problem.readings if not each.gathers]
    terms = problem.terms(problem.stays)
    return [
        *((f"{name}_parts", f"grad_{name}_tile", width) for name, width in found),
        *((f"{term.buffer}_parts", f"{term.buffer}_sum", 0) for term in terms),
    ]


def _streamed_inputs(problem: Resident) -> list[str]:
    """Return inputs of the streamed side whose gradients are written row by row."""
    operand = [problem.streams.operand] if problem.has_slope else []
    return [*operand, *(each.values for each in problem.readings if each.gathers)]


def _slopes(problem: Resident) -> Slopes:
    if not problem.has_slope:
        return {}
    sides = (problem.streams, problem.stays)
    terms = [term for side in sides for term in problem.terms(side)]
    return {**{f"{term.buffer}_slope": term.by_pair for term in terms}, **problem.stream.slopes}


def _formulas(problem: Resident) -> tuple[Formula, ...]:
    stream = problem.stream
    if not problem.has_slope:
        return ()
    shared = [] if problem.is_hard else [stream.score]
    found = [*shared, stream.keep, stream.share]
    slopes = (each.formula for each in _slopes(problem).values())
    return (*(each for each in found if each is not None), *slopes)


def _body(problem: Resident, computed: tuple[Formula, ...]) -> Iterator[str]:
    lines = [*tile.program(problem)]
    yield from lines if problem.has_slope else lines[:-1]
    for each in problem.readings:
        yield from _of_stayed(problem, each)
    for _, name, width in parts(problem):
        shape = f"{problem.stays.block}, {padded(width)}" if width else problem.stays.block
        yield f"{name} = tl.zeros([{shape}], tl.float32)"
    yield tile.walk(problem, _tile(problem, computed))
    for parts_, name, width in parts(problem):
        if width:
            yield tile.part(name, parts_, problem, width)
    numbers = [(parts_, name) for parts_, name, width in parts(problem) if not width]
    yield from tile.part_rows(problem, numbers)


def _of_stayed(problem: Resident, reading: Reading) -> Iterator[str]:
    """Read what a reading needs of rows that stay, once."""
    stayed, result = problem.stayed, reading.result
    if not reading.gathers:
        if not reading.hard:
            yield f"{reading.values}_tile = {tile.values_tile(problem, reading)}"
        return
    grad = f"grad_{result}_tile"
    yield f"{grad} = {rows_of(f'grad_{result}', 'h', stayed, reading.width)}"
    at = f"(b * heads + h) * {problem.count} + {stayed}"
    if problem.averages:
        yield f"total = tl.load(totals + {at})"
        yield "inverse = 1.0 / tl.where(total == 0.0, 1.0, total)"
    if reading.hard:
        if not reading.whole:
            yield f"chosen = tl.load(index + {at})"
            if not problem.is_full:
                yield f"chosen = tl.where(slots < {problem.count}, chosen, -1)"
        return
    delta = "gamma" if reading.whole else f"{result}_delta"
    if problem.averages or not reading.whole:
        yield f"result = {rows_of(result, 'h', stayed, reading.width)}"
        yield f"{delta} = tl.sum({grad}.to(tl.float32) * result.to(tl.float32), 1)"
    if not reading.whole:
        if "lse" in problem.outputs and reading.lse == "lse":
            yield f"{delta} -= tl.load(grad_lse + {at})"
        yield f"{reading.lse}_tile = load_lse({reading.lse}, {at})"


def _tile(problem: Resident, computed: tuple[Formula, ...]) -> Iterator[str]:
    """What a tile of streamed rows gives."""
    side, slopes = problem.streams, _slopes(problem)
    if problem.has_slope:
        # hard weights come from the index, not from scores
        yield from tile.tile_scores(problem, computed, scored=not problem.is_hard)
    else:
        yield f"rows = first + tl.arange(0, {side.block})"
        if any(each.whole or not each.gathers for each in problem.readings):
            yield f"near = tl.minimum(rows, {side.length} - 1)"
    if problem.terms(side):
        yield tile.streamed_rows(problem)
    first = True
    for each in problem.readings:
        yield from _weights(problem, each)
        if not each.hard:
            yield from _pull(problem, each, computed, "ds" if first else "more")
            if not first:
                yield "ds += more"
            first = False
        yield from _of_values(problem, each)
    if "scores" in problem.outputs:
        yield tile.score_places(problem)
        read = "tl.load(grad_scores + cells, mask=keep, other=0.0)"
        yield f"ds = {read}" if first else f"ds += {read}"
    if problem.has_slope:
        yield from _through(problem, slopes)


def _weights(problem: Resident, reading: Reading) -> Iterator[str]:
    """Yield statements for `p` as the normaliser leaves it."""
    if reading.hard:
        if reading.whole:
            yield f"chosen = tl.load(index + (b * heads + h) * {problem.streams.length} + near)"
            same = "slots[None, :] == chosen[:, None]"
        else:
            same = "rows[:, None] == chosen[None, :]"
        if not reading.gathers:
            same = f"(rows < {problem.streams.length})[:, None] & ({same})"
        yield f"p = tl.where({same}, 1.0, 0.0)"
    elif reading.whole:
        yield from tile.softmax_of_rows()
        yield f"p = p / {tile.NORMED}"
    else:
        yield f"p = tl.exp2(s - {reading.lse}_tile[None, :])"


def _pull(
    problem: Resident, reading: Reading, computed: tuple[Formula, ...], target: str
) -> Iterator[str]:
    """Yield statements for d loss / d score."""
    grad = f"grad_{reading.result}_tile"
    values = f"{reading.values}_tile"
    if reading.gathers:
        yield f"{values} = {tile.values_tile(problem, reading)}"
        yield f"dp = {product(values, f'tl.trans({grad})')}"
        if problem.averages:
            yield "dp = (dp - gamma[None, :]) * inverse[None, :]"
    else:
        yield f"{grad} = {rows_of(f'grad_{reading.result}', 'h', 'near', reading.width)}"
        yield f"dp = {product(grad, f'tl.trans({values})')}"
    if "w" in variables(computed):
        yield "w = p"
    yield from tile.share(problem)
    pulled = times("dp", tile.share_name(problem))
    if not reading.whole:
        yield f"{target} = p * ({pulled} - {reading.result}_delta[None, :])"
        return
    yield f"{target} = p * {_bracketed(pulled)}"
    yield f"delta = tl.sum({target}, 1)"
    if reading.result == "out" and "lse" in problem.outputs:
        yield f"delta -= tl.load(grad_lse + (b * heads + h) * {problem.streams.length} + near)"
    yield f"{target} -= p * delta[:, None]"


def _bracketed(text: str) -> str:
    return f"({text})" if " " in text else text


def _of_values(problem: Resident, reading: Reading) -> Iterator[str]:
    """Yield statements for the gradient of values."""
    grad = f"grad_{reading.result}_tile"
    factor = tile.share_name(problem)
    if factor:
        yield f"p = p * {factor}"
    if problem.averages:
        yield "p = p * inverse[None, :]"
    if reading.gathers:
        result = product(f"p.to({grad}.dtype)", grad)
        length = problem.streams.length
        yield f"of_values = {result}"
        yield stored(
            "of_values", f"grad_{reading.values}", "h", "rows", length, reading.width
        )  # fmt: skip
        return
    if reading.hard:
        yield f"{grad} = {rows_of(f'grad_{reading.result}', 'h', 'near', reading.width)}"
    into = f"grad_{reading.values}_tile"
    yield f"{into} = {product(f'tl.trans(p.to({grad}.dtype))', grad, into)}"


def _through(problem: Resident, slopes: Slopes) -> Iterator[str]:
    """Yield statements that pass `ds` and `dp` on to captured tensors and both operands."""
    stays, streams = problem.stays, problem.streams
    for name, each in slopes.items():
        yield from assigned(each.formula, name)
        if is_uneven(each.formula):
            yield only_kept(name)
    if any(each.base == "dp" for each in slopes.values()):
        yield only_kept("dp")
    yield from (_of_term(problem, term, streams) for term in problem.terms(streams))
    yield from (_of_term(problem, term, stays) for term in problem.terms(stays))
    slope = slopes["slope"].formula
    factor = literal(slope, "slope")
    if factor:
        yield f"ds = ds * {factor}"
    if "post_slope" in slopes:
        yield f"ds = ds + {times('dp', literal(slopes['post_slope'].formula, 'post_slope'))}"
    yield f"ds = ds.to({stays.tile}.dtype)"
    yield f"of_rows = {product('ds', stays.tile)}"
    yield stored("of_rows", f"grad_{streams.operand}", "h", "rows", streams.length, streams.width)
    into = f"grad_{stays.operand}_tile"
    yield f"{into} = {product('tl.trans(ds)', streams.tile, into)}"


def _of_term(problem: Resident, term: Term, side: Side) -> str:
    base = times(term.by_pair.base, literal(term.slope, f"{term.buffer}_slope"))
    if side is problem.stays:
        return f"{term.buffer}_sum += tl.sum({base}, 0)"
    return tile.stored_row(problem, term.buffer, f"tl.sum({base}, 1)")

"""The forward kernel: the rows of a program go by a tile of the side that stays."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.kernel import KernelText, kernel_text
from attnc.backends.triton.orientation import product
from attnc.backends.triton.pieces import padded, stored, times
from attnc.backends.triton.resident import tile
from attnc.backends.triton.resident.problem import Resident
from attnc.backends.triton.resident.readings import Reading
from attnc.backends.triton.rules import LN_2

Part = tuple[str, str, int]
"""Buffer of what programs sum, the variable that holds it, columns; 0 for one number a row."""


def parts(problem: Resident) -> list[Part]:
    """Return what programs sum for rows that stay, to be brought together afterwards."""
    found: list[Part] = []
    for each in problem.readings:
        if each.gathers and each.hard and not each.whole:
            found += [("bests", "best", 0), ("places", "chosen", 0)]
        elif each.gathers and each.whole:
            found.append(("sums", "acc", each.width))
            found += [("counts", "total", 0)] if problem.averages else []
        elif each.gathers:
            found += [("peaks", "peak", 0), ("totals", "total", 0), ("sums", "acc", each.width)]
    return found


def forward(problem: Resident) -> KernelText:
    """Return the kernel."""
    formulas = _formulas(problem)
    values = [each.values for each in problem.readings if not _is_late(each)]
    streamed = [each.result for each in problem.readings if not each.gathers]
    rows = [name for name in ("lse", "index") if _is_streamed(problem, name)]
    rows += ["scores"] if "scores" in problem.outputs else []
    summed = [name for name, _, _ in parts(problem)]
    operands = [name for name in problem.inputs if name in ("q", "k", *values)]
    after = problem.epilogue
    return kernel_text(
        problem.base,
        "forward",
        f"A run of {problem.streams.operand} against all {problem.stays.operand}.",
        inputs=operands,
        outputs=[*streamed, *problem.if_kept, *rows, *summed],
        contiguous=[*problem.if_kept, *rows, *summed],
        used=tile.sizes(problem, formulas) | (after.used if after else set()),
        body=_body(problem, formulas),
        constants=["KEEP"] if problem.if_kept else [],
    )


def _formulas(problem: Resident) -> tuple[Formula, ...]:
    stream = problem.stream
    return tuple(each for each in (stream.score, stream.keep, stream.share) if each is not None)


def _is_late(reading: Reading) -> bool:
    """Say whether values are fetched at the end, by index."""
    return reading.hard and reading.gathers and not reading.whole


def _is_streamed(problem: Resident, statistic: str) -> bool:
    return statistic in problem.results and problem.readings[0].whole


def _body(problem: Resident, formulas: tuple[Formula, ...]) -> Iterator[str]:
    yield from tile.program(problem)
    for each in problem.readings:
        if not each.gathers:
            yield f"{each.values}_tile = {tile.values_tile(problem, each)}"
    yield from (_fresh(problem, *each) for each in parts(problem))
    body = [*tile.tile_scores(problem, formulas)]
    if "scores" in problem.outputs:
        scores = "s" if problem.is_hard else f"s * {LN_2}"
        body.append(tile.score_places(problem))
        body.append(f"tl.store(scores + cells, {scores}, mask={tile.score_mask(problem)})")
    if any(_is_streamed(problem, name) for name in ("lse", "index")):
        body.append(tile.streamed_rows(problem))
    for each in problem.readings:
        body += [*_read(problem, each)]
    yield tile.walk(problem, body)
    held = parts(problem)
    yield from (tile.part(value, name, problem, width) for name, value, width in held if width)
    yield from tile.part_rows(problem, [(name, value) for name, value, width in held if not width])


def _fresh(problem: Resident, buffer: str, value: str, width: int) -> str:
    rows = problem.stays.block
    if width:
        return f"{value} = tl.zeros([{rows}, {padded(width)}], tl.float32)"
    if value == "chosen":
        return f"{value} = tl.full([{rows}], -1, tl.int32)"
    if value in ("peak", "best"):
        return f'{value} = tl.full([{rows}], float("-inf"), tl.float32)'
    return f"{value} = tl.zeros([{rows}], tl.float32)"


def _read(problem: Resident, reading: Reading) -> Iterator[str]:
    if reading.hard:
        yield from _best(problem, reading) if reading.whole else _running_best()
    elif reading.whole:
        yield from tile.softmax_of_rows()
        if reading.result == "out" and _is_streamed(problem, "lse"):
            yield tile.stored_row(problem, "lse", f"(top + tl.log2(norm)) * {LN_2}")
        if reading.gathers:
            yield f"p = p / {tile.NORMED}"
        yield from _summed(problem, reading)
    else:
        yield from _RUNNING
        yield from _gathered(problem, reading, "acc * shrink[:, None]")


def _best(problem: Resident, reading: Reading) -> Iterator[str]:
    yield from tile.best_slot(problem)
    yield tile.stored_row(problem, "index", "chosen")
    yield "p = tl.where(slots[None, :] == chosen[:, None], 1.0, 0.0)"
    yield from _summed(problem, reading)


def _running_best() -> Iterator[str]:
    yield "top = tl.max(s, 0)"
    yield "at_top = tl.where(s == top[None, :], rows[:, None], 2147483647)"
    yield "better = top > best  # of equals the first stays"
    yield "chosen = tl.where(better, tl.min(at_top, 0), chosen)"
    yield "best = tl.where(better, top, best)"


def _summed(problem: Resident, reading: Reading) -> Iterator[str]:
    """Weights are complete but for `norm`."""
    if reading.gathers:
        yield from _gathered(problem, reading, "acc")
        return
    yield from _shared(problem)
    values = f"{reading.values}_tile"
    result = product(f"p.to({values}.dtype)", values)
    yield f"result = {result}"
    if not reading.hard:
        yield f"result = result / {tile.NORMED}"
    if reading.result == "out":
        yield from _followed(problem, reading)
    yield stored(
        "result", reading.result, "h", "rows", problem.streams.length, reading.width
    )  # fmt: skip


def _followed(problem: Resident, reading: Reading) -> Iterator[str]:
    """What becomes of the result before it is stored; gradients may ask for it as it is now."""
    if problem.if_kept:
        arguments = ("normal", "h", "rows", problem.streams.length, reading.width, "out")
        kept = stored("result", *arguments)  # laid out as the result is
        yield f"if KEEP:\n{indent(kept, '    ')}"
    if problem.epilogue:
        yield from problem.epilogue.lines()


def _gathered(problem: Resident, reading: Reading, carried: str) -> Iterator[str]:
    yield from _shared(problem)
    if problem.averages:
        yield "total += tl.sum(p, 0)"
    values = f"{reading.values}_tile"
    yield f"{values} = {tile.values_tile(problem, reading)}"
    yield f"acc = {product(f'tl.trans(p.to({values}.dtype))', values, carried)}"


def _shared(problem: Resident) -> Iterator[str]:
    yield from tile.share(problem)
    factor = tile.share_name(problem)
    if factor:
        yield f"p = {times('p', factor)}"


_RUNNING = (
    "new_peak = tl.maximum(peak, tl.max(s, 0))",
    'shift = tl.where(new_peak == float("-inf"), 0.0, new_peak)  # no pair so far',
    "p = tl.exp2(s - shift[None, :])",
    "shrink = tl.exp2(peak - shift)",
    "peak = new_peak",
    "total = total * shrink + tl.sum(p, 0)",
)

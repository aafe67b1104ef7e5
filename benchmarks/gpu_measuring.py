"""Times and numbers of sides that take turns on a GPU, and how they are held against each other."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from attnc.compiler.comparison import FACTORS
from attnc.compiler.floors import RATES, Floor, floors
from attnc.compiler.targets import parse_target
from benchmarks.gpu_cases import Attention, Case, Function, Mode

Json = dict[str, object]
ROUNDS = 3
REPEATS = 5
"""Runs whose gradients are compared bit by bit."""


def tensors(result: object) -> list[Tensor]:
    """Return the tensors in what a model gives."""
    if isinstance(result, Tensor):
        return [result]
    items = [*result.values()] if isinstance(result, dict) else result
    assert isinstance(items, (tuple, list))
    return [each for item in items for each in tensors(item)]


def prepared(function: Function, given: Sequence[Tensor], mode: Mode) -> Callable[[], object]:
    """Return what is measured: a forward pass, a backward pass, or both."""
    if mode == "forward":

        def forward() -> object:
            with torch.no_grad():
                return function(*given)

        return forward
    floats = [each for each in given if each.is_floating_point()]
    if mode == "step":
        return lambda: gradients(tensors(function(*given)), floats)
    made = tensors(function(*given))
    return lambda: gradients(made, floats)


def gradients(made: Sequence[Tensor], floats: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the gradients of the sum of all results by each input."""
    ones = [torch.ones_like(each) for each in made]
    return torch.autograd.grad([*made], [*floats], ones, retain_graph=True)


def arguments(attention: Attention, dtype: torch.dtype, device: str, mode: Mode) -> list[Tensor]:
    """Return inputs; floats are leaves of gradients where there are any."""
    drawn = attention.draw(dtype, device)
    for each in drawn:
        each.requires_grad_(mode != "forward" and each.is_floating_point())
    return drawn


# Times ------------------------------------------------------------------------------------


def microseconds(runs: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median time of each side on the GPU; all take turns, with an empty L2 cache."""
    from triton.testing import do_bench

    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            taken[name].append(1000 * do_bench(run, return_mode="median"))
    return {name: statistics.median(times) for name, times in taken.items()}


def copied() -> Callable[[], object]:
    """Return a copy of a GiB, which reads and writes as much."""
    source = torch.empty(1 << 30, dtype=torch.int8, device="cuda")
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


COPIED = 2 << 30
"""Bytes that it moves."""


def figures(case: Case, times: Mapping[str, float], card: str) -> Json:
    """Return what the times of a case mean.

    Returns:
        `us`: microseconds of ours; `tflops`: products, by pairs that count; `of_copy`: bytes by
        second over those of a copy beside it; `of_floor`: the least time over ours; `speed`:
        theirs over ours; `per_flop`: our rate over that of all pairs; `of_blocks`: the time that
        tiles with a pair would take at the rate of all over ours.
    """
    ours = times["ours"]
    found = least(case, card)
    flops, moved = (sum(getattr(each.work, name) for each in found) for name in ("flops", "bytes"))
    result: Json = {
        "us": round(ours, 2),
        "tflops": round(flops / ours / 1e6, 2),
        "of_copy": round((moved / ours) / (COPIED / times["copy"]), 4),
        "speed": {name: round(times[name] / ours, 3) for name in case.others},
    }
    if card in RATES:
        result["of_floor"] = round(sum(each.microseconds for each in found) / ours, 4)
        result["bound"] = [each.bound for each in found]
    if case.plain is not None:
        whole = sum(each.work.flops for each in least(case, card, case.plain))
        result["per_flop"] = round((flops / ours) / (whole / times["plain"]), 3)
    if case.full.band is not None:
        result["of_blocks"] = round(times["plain"] * visited(case.full) / ours, 3)
    return result


def least(case: Case, card: str, attention: Attention | None = None) -> list[Floor]:
    """Return the floors of what is measured; for unknown cards those of a known one, for work."""
    target = parse_target(card if card in RATES else next(iter(RATES)))
    found = floors((attention or case.full).site, target, {})
    return [each for each in found if case.mode in ("step", each.step)]


TILE = (128, 64)
"""Queries and keys of the tiles by which blocks are counted."""


def visited(attention: Attention) -> float:
    """Return the share of tiles in which a band has a pair."""
    assert attention.band is not None
    before, after = attention.band
    (_, _, n, _), _ = attention.inputs["q"]
    rows, columns = TILE
    total = 0
    for first in range(0, n, rows):
        low = max(0, first - before) // columns
        high = min(n - 1, first + rows - 1 + after) // columns
        total += high - low + 1
    return total / (-(-n // rows) * -(-n // columns))


def same_every_time(function: Function, given: Sequence[Tensor]) -> bool:
    """Say whether the gradients of several runs are equal to the last bit."""
    step = prepared(function, given, "step")
    first, *others = (tensors(step()) for _ in range(REPEATS))
    return all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


# Numbers ----------------------------------------------------------------------------------


def numbers(
    function: Function, attention: Attention, dtype: torch.dtype, mode: Mode
) -> list[Tensor]:
    """Return results, and gradients where there are any, on the CPU as float64."""
    given = arguments(attention, torch.float32, "cpu", "forward")
    given = [each.to(dtype) if each.is_floating_point() else each for each in given]
    for each in given:
        each.requires_grad_(mode != "forward" and each.is_floating_point())
    made = tensors(function(*given))
    if mode != "forward":
        made += gradients(made, [each for each in given if each.is_floating_point()])
    return [each.detach().double() for each in made]


def beyond(
    found: Sequence[Tensor], eager: Sequence[Tensor], exact: Sequence[Tensor], dtype: torch.dtype
) -> list[str]:
    """Return where numbers are further from the truth than the rule of error allows."""
    own = [_error(x, true) for x, true in zip(eager, exact, strict=True)]
    usual = statistics.median(own)
    errors = [_error(x, true) for x, true in zip(found, exact, strict=True)]
    return [
        f"result {place}: {error:.2g}"
        for place, (error, each) in enumerate(zip(errors, own, strict=True))
        if not error <= FACTORS[dtype] * max(each, usual)
    ]


def _error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm().clamp_min(1e-30))

"""Errors between two tensors, the limits they are held to, and the report of a verification."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, isfinite, nan

import torch
from torch import Tensor

from attnc.compiler.weights import CheckReport

FLOAT64_LIMIT = 1e-9
"""Relative error that float64 may have where a spec states no other."""

FACTORS: Mapping[torch.dtype, float] = {
    torch.float32: 10.0, torch.float16: 1.5, torch.bfloat16: 1.5,
}  # fmt: skip
"""How much further from the truth than the reference in the same dtype a target may be."""


FEW = 16
"""Elements of which an error says little about the errors to expect."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a tensor is from the one it should be.

    Attributes:
        relative: Euclidean norm of the difference over that of the golden tensor.
        absolute: largest difference of two elements.
        problem: why there is no number, in words; empty where there is one.
    """

    relative: float
    absolute: float
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Attributes:
        run: which run; empty where there is but one.
        golden: names in the golden file.
        ours: name of an output, or a tap; empty where nothing of ours was compared.
        shape: of the golden tensor in our layout.
        limit: of the relative error.
        why: the reason that the spec gives for its limit.
    """

    run: str
    golden: tuple[str, ...]
    ours: str
    shape: tuple[int, ...]
    difference: Difference
    limit: float
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether the error is within the limit; NaN, where there is no error to tell, is not."""
        return self.difference.relative <= self.limit

    def to_json(self) -> dict[str, object]:
        """Return the row as plain data; a number that is not finite becomes none."""
        return {
            "run": self.run,
            "golden": ", ".join(self.golden),
            "ours": self.ours,
            "shape": list(self.shape),
            "relative": _finite(self.difference.relative),
            "absolute": _finite(self.difference.absolute),
            "limit": self.limit,
            "ok": self.ok,
            "problem": self.difference.problem,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A spec against a golden file.

    Attributes:
        rows: run by run in the order of execution, then outputs that no run gave.
        weights: how the weights fit, one report for each run.
        ignored: outputs not compared -> the reason.
    """

    model: str
    golden: str
    target: str
    dtype: str
    rows: tuple[Row, ...]
    weights: tuple[CheckReport, ...]
    ignored: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether something was compared, all of it is right, and every weight fits."""
        compared = [row for row in self.rows if row.ours]
        fits = all(report.ok for report in self.weights)
        return bool(compared) and fits and all(row.ok for row in self.rows)

    @property
    def first_divergence(self) -> Row | None:
        """The first comparison, in order of execution, that failed."""
        return next((row for row in self.rows if row.ours and not row.ok), None)

    def to_json(self) -> dict[str, object]:
        """Return the report as plain data."""
        first = self.first_divergence
        return {
            "ok": self.ok,
            "model": self.model,
            "golden": self.golden,
            "target": self.target,
            "dtype": self.dtype,
            "rows": [row.to_json() for row in self.rows],
            "first_divergence": ", ".join(first.golden) if first else None,
            "weights": [report.to_json() for report in self.weights],
            "ignored": dict(self.ignored),
        }


def difference(ours: Tensor, golden: Tensor) -> Difference:
    """Compare a tensor with the golden one, in float64.

    Infinities agree where they are the same on both sides. A golden tensor of one element may
    stand for a scalar, whatever its rank.
    """
    if ours.shape != golden.shape and not ours.numel() == golden.numel() == 1:
        return without(f"shape {list(ours.shape)}, expected {list(golden.shape)}")
    mine = ours.detach().cpu().to(torch.float64).reshape(-1)
    true = golden.to(torch.float64).reshape(-1)
    for name, tensor in (("ours", mine), ("the golden tensor", true)):
        if count := int(tensor.isnan().sum()):
            return without(f"{name} has NaN in {count} of {tensor.numel()} elements")
    same = mine.isinf() & (mine == true)
    gap = torch.where(same, 0.0, mine - true)
    norm = float(torch.where(true.isinf(), 0.0, true).norm())
    error = float(gap.norm())
    absolute = float(gap.abs().max()) if gap.numel() else 0.0
    return Difference(error / norm if norm else (inf if error else 0.0), absolute)


def without(problem: str) -> Difference:
    """Return a difference that is no number, for the reason given."""
    return Difference(nan, nan, problem)


def held_to(golden: Tensor, own: Difference | None, run: Iterable[Difference]) -> Difference | None:
    """Return the error of the reference that a comparison is held to.

    That is its error at the same place; but on a few elements it is down to luck, and may well be
    0: there it is the largest error of its whole run.
    """
    if own is None or not isfinite(own.relative):
        return own
    if golden.numel() >= FEW or not golden.is_floating_point():
        return own
    finite = (each for each in run if isfinite(each.relative))
    return max(finite, key=lambda each: each.relative)


def limit(
    golden: Tensor, dtype: torch.dtype, stated: float | None, baseline: Difference | None
) -> float:
    """Return the relative error that a comparison may have.

    float64: what the spec states, else `FLOAT64_LIMIT`; integers and truth values are exact.
    Other dtypes: a multiple of the reference's error in the same dtype, and not less than one
    unit in the last place, below which a float has nothing to say.

    Args:
        baseline: the error of the reference, `held_to`.
    """
    if dtype in FACTORS and baseline is not None:
        least = torch.finfo(dtype).eps if golden.is_floating_point() else 0.0
        multiple = FACTORS[dtype] * baseline.relative
        return max(multiple if isfinite(multiple) else 0.0, least, stated or 0.0)
    if stated is not None:
        return stated
    return FLOAT64_LIMIT if golden.is_floating_point() else 0.0


def _finite(number: float) -> float | None:
    return number if isfinite(number) else None

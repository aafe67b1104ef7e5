"""Reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from attnc.dsl.ops import reductions

if TYPE_CHECKING:
    from attnc.dsl.graph import Arg
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _over_axes(*dtypes: str, **options: tuple[Arg, ...]) -> Build:
    def build(d: Draw) -> Args:
        shape = d.shape(1, 3)
        axis = d.axes(len(shape)) if d.flag() else None
        more = {name: d.one_of(*choices) for name, choices in options.items()}
        x = d.tensor(*shape, dtypes=dtypes)
        return {"x": x, "axis": axis, "keepdim": d.flag(), **more}

    return build


def _logsumexp(d: Draw) -> Args:
    shape = d.shape(1, 3)
    return {"x": d.tensor(*shape), "axis": d.axes(len(shape)), "keepdim": d.flag()}


def _argmax(d: Draw) -> Args:
    shape = d.shape(1, 3)
    x = d.tensor(*shape, dtypes=d.REAL)
    return {"x": x, "axis": d.axis(len(shape)), "keepdim": d.flag()}


def _cumsum(d: Draw) -> Args:
    shape = d.shape(1, 3)
    return {"x": d.tensor(*shape, dtypes=d.NUMBER), "axis": d.axis(len(shape))}


def _logcumsumexp(d: Draw) -> Args:
    shape = d.shape(1, 3)
    return {"x": d.tensor(*shape), "axis": d.axis(len(shape))}


CASES: dict[str, Build] = {
    "mean": _over_axes("float", "complex"),
    "sum": _over_axes("float", "int", "complex"),
    "max": _over_axes("float", "int"),
    "min": _over_axes("float", "int"),
    "norm": _over_axes("float", order=(1.0, 2.0)),
    "var": _over_axes("float", correction=(0, 1)),
    "std": _over_axes("float", correction=(0, 1)),
    "logsumexp": _logsumexp,
    "argmax": _argmax,
    "argmin": _argmax,
    "cumsum": _cumsum,
    "logcumsumexp": _logcumsumexp,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in reductions.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])


X = torch.randn(3, 4, 5, dtype=torch.float64)
ROWS = X.permute(1, 0, 2).reshape(4, 15)
"""The elements that axes 0 and 2 of X have at each place of axis 1."""

DEFINITIONS = {
    "mean": ROWS.sum(1) / 15,
    "sum": ROWS.sum(1),
    "max": ROWS.max(1).values,
    "min": ROWS.min(1).values,
    "norm": (ROWS**2).sum(1).sqrt(),
    "var": ((ROWS - ROWS.mean(1, keepdim=True)) ** 2).sum(1) / 14,
    "std": (((ROWS - ROWS.mean(1, keepdim=True)) ** 2).sum(1) / 14).sqrt(),
    "logsumexp": ROWS.exp().sum(1).log(),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_reduction_is_as_defined(name: str, compute: Compute) -> None:
    (found,) = compute(name, x=X, axis=(0, -1))
    torch.testing.assert_close(found, DEFINITIONS[name])
    (kept,) = compute(name, x=X, axis=(0, -1), keepdim=True)
    torch.testing.assert_close(kept, DEFINITIONS[name].reshape(1, 4, 1))


def test_all_axes_are_reduced_where_none_is_named(compute: Compute) -> None:
    torch.testing.assert_close(compute("mean", x=X)[0], X.mean())
    assert compute("max", x=X, keepdim=True)[0].shape == (1, 1, 1)


def test_argmax_takes_the_first_of_equals(compute: Compute) -> None:
    assert compute("argmax", x=torch.tensor([1, 5, 5, 2]))[0] == 1

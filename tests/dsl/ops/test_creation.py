"""Tensors from sizes and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from attnc.dsl.ops import creation

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _iota(d: Draw) -> Args:
    return {"n": d.size()}


def _linspace(d: Draw) -> Args:
    return {"start": 0, "stop": 1.5, "count": d.size()}


def _constant(d: Draw) -> Args:
    return {"shape": d.shape()}


def _full(d: Draw) -> Args:
    return {**_constant(d), "value": d.one_of(1, 0), "kind": d.one_of("float", "int", "bool")}


def _cast(d: Draw) -> Args:
    x = d.tensor(*d.shape(), dtypes=("float", "int", "bool"))
    return {"x": x, "to": d.one_of("float", "int", "bool")}


def _detach(d: Draw) -> Args:
    return {"x": d.tensor(*d.shape(), dtypes=d.ANY)}


CASES: dict[str, Build] = {
    "iota": _iota,
    "linspace": _linspace,
    "full": _full,
    "zeros": _constant,
    "ones": _constant,
    "cast": _cast,
    "detach": _detach,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in creation.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])


def test_constants_hold_what_they_say(compute: Compute) -> None:
    assert compute("iota", n=4)[0].tolist() == [0, 1, 2, 3]
    assert compute("linspace", start=1, stop=2, count=3)[0].tolist() == [1, 1.5, 2]
    assert compute("full", shape=[2], value=7, kind="int")[0].tolist() == [7, 7]
    assert compute("zeros", shape=[2])[0].tolist() == [0, 0]
    assert compute("ones", shape=[2])[0].tolist() == [1, 1]


def test_cast_rounds_towards_zero(compute: Compute) -> None:
    x = torch.tensor([-1.5, 1.5], dtype=torch.float64)
    assert compute("cast", x=x, to="int")[0].tolist() == [-1, 1]

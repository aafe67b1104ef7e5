"""Arithmetic, comparison and logic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from attnc.dsl.ops import arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable

    from attnc.dsl.graph import Arg
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _arithmetic(*dtypes: str) -> Build:
    def build(d: Draw) -> Args:
        p, q = d.operands(2)
        tensor = d.tensor(*p, dtypes=dtypes)
        numbers: dict[str, tuple[Arg, ...]] = {
            "int": (2, d.size(), True),
            "float": (0.5, 2, d.size()),
            "complex": (0.5, 2),
        }
        other = d.one_of(d.tensor(*q, dtypes=dtypes), *numbers[tensor.type.dtype])
        return {"a": tensor, "b": other} if d.flag() else {"a": other, "b": tensor}

    return build


def _logic(d: Draw) -> Args:
    p, q = d.operands(2)
    return {"a": d.tensor(*p, dtypes=d.BOOL), "b": d.tensor(*q, dtypes=d.BOOL)}


def _extreme(d: Draw) -> Args:
    p, q = d.operands(2)
    return {"a": d.tensor(*p, dtypes=d.REAL), "b": d.tensor(*q, dtypes=d.REAL)}


def _negative(d: Draw) -> Args:
    return {"x": d.tensor(*d.shape(), dtypes=d.NUMBER)}


def _logical_not(d: Draw) -> Args:
    return {"x": d.tensor(*d.shape(), dtypes=d.BOOL)}


_NUMBER = _arithmetic("float", "int", "complex")
_REAL = _arithmetic("float", "int")
_COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


CASES: dict[str, Build] = {
    **dict.fromkeys(("add", "subtract", "multiply"), _NUMBER),
    "divide": _arithmetic("float", "complex"),
    **dict.fromkeys(("floor_divide", "remainder", "power"), _REAL),
    "negative": _negative,
    **dict.fromkeys(_COMPARISONS, _REAL),
    "logical_and": _logic,
    "logical_or": _logic,
    "logical_not": _logical_not,
    "maximum": _extreme,
    "minimum": _extreme,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in arithmetic.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])


NUMBERS = [-7, -2, 0, 2, 7]
MEANINGS: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "floor_divide": lambda a, b: a // b,
    "remainder": lambda a, b: a % b,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "maximum": max,
    "minimum": min,
}


@pytest.mark.parametrize("name", MEANINGS)
@pytest.mark.parametrize("b", [-3, 2, 5])
def test_operator_means_what_it_means_for_numbers(name: str, b: int, compute: Compute) -> None:
    other = torch.tensor(b) if name in ("maximum", "minimum") else b
    (found,) = compute(name, a=torch.tensor(NUMBERS), b=other)
    assert found.tolist() == [MEANINGS[name](a, b) for a in NUMBERS]

"""The shape and the order of elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from attnc.dsl.ops import layout

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Draw


def _reshape(d: Draw) -> Args:
    shape = [d.size() for _ in range(d.integer(2, 3))]
    target = d.one_of([*shape[1:], shape[0]], [shape[0] * shape[1], *shape[2:]])
    if d.flag():
        target[d.integer(0, len(target) - 1)] = -1
    return {"x": d.tensor(*shape, dtypes=d.ANY), "shape": tuple(target)}


def _transpose(d: Draw) -> Args:
    shape = d.shape(2, 4)
    x = d.tensor(*shape, dtypes=d.ANY)
    return {"x": x, "a": d.axis(len(shape)), "b": d.axis(len(shape))}


def _permute(d: Draw) -> Args:
    shape = d.shape(1, 4)
    axes = tuple(d.shuffled(list(range(len(shape)))))
    return {"x": d.tensor(*shape, dtypes=d.ANY), "axes": axes}


def _expand(d: Draw) -> Args:
    shape, wanted = [], []
    for size in d.shape(0, 3):
        kept = d.flag()
        shape.append(size if kept else 1)
        wanted.append(d.one_of(size, -1) if kept else size)
    return {"x": d.tensor(*shape, dtypes=d.ANY), "shape": (*d.shape(0, 2), *wanted)}


def _squeeze(d: Draw) -> Args:
    shape = list(d.shape(1, 4))
    axis = d.axis(len(shape))
    shape[axis] = 1
    return {"x": d.tensor(*shape, dtypes=d.ANY), "axis": axis}


def _unsqueeze(d: Draw) -> Args:
    shape = d.shape(0, 3)
    return {"x": d.tensor(*shape, dtypes=d.ANY), "axis": d.axis(len(shape) + 1)}


def _roll(d: Draw) -> Args:
    shape = d.shape(1, 3)
    axes = d.axes(len(shape))
    count = len(axes) if isinstance(axes, tuple) else 1
    shifts = tuple(d.one_of(d.size(), -1) for _ in range(count))
    return {
        "x": d.tensor(*shape, dtypes=d.ANY),
        "shifts": shifts if d.flag() else shifts[0],
        "axes": axes,
    }


def _flip(d: Draw) -> Args:
    shape = d.shape(1, 3)
    return {"x": d.tensor(*shape, dtypes=d.ANY), "axes": d.axes(len(shape))}


CASES: dict[str, Build] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "permute": _permute,
    "expand": _expand,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "roll": _roll,
    "flip": _flip,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in layout.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])

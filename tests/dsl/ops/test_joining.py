"""Tensors joined and parted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from attnc.dsl.ops import joining

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _concat(d: Draw) -> Args:
    shape = d.shape(1, 3)
    axis = d.axis(len(shape))
    parts = [list(shape) for _ in range(d.integer(1, 3))]
    for part in parts:
        part[axis] = d.size()
    return {"tensors": tuple(d.tensor(*part, dtypes=d.ANY) for part in parts), "axis": axis}


def _stack(d: Draw) -> Args:
    shape, dtype = d.shape(0, 3), d.one_of(*d.ANY)
    tensors = tuple(d.tensor(*shape, dtypes=(dtype,)) for _ in range(d.integer(1, 3)))
    return {"tensors": tensors, "axis": d.axis(len(shape) + 1)}


def _split(d: Draw) -> Args:
    if d.flag():
        args = _chunk(d)
        return {**args, "parts": args.pop("sections")}
    shape = list(d.shape(1, 3))
    axis, parts = d.axis(len(shape)), tuple(d.size() for _ in range(d.integer(1, 3)))
    shape[axis] = sum(parts)
    return {"x": d.tensor(*shape, dtypes=d.ANY), "parts": parts, "axis": axis}


def _chunk(d: Draw) -> Args:
    shape = list(d.shape(1, 3))
    axis, sections = d.axis(len(shape)), d.integer(1, 4)
    shape[axis] = d.size() * sections
    return {"x": d.tensor(*shape, dtypes=d.ANY), "sections": sections, "axis": axis}


def _unbind(d: Draw) -> Args:
    shape = list(d.shape(1, 3))
    axis = d.axis(len(shape))
    shape[axis] = d.integer(1, 4)
    return {"x": d.tensor(*shape, dtypes=d.ANY), "axis": axis}


CASES: dict[str, Build] = {
    "concat": _concat,
    "stack": _stack,
    "split": _split,
    "chunk": _chunk,
    "unbind": _unbind,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in joining.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])


def test_split_takes_a_number_of_parts_or_their_sizes(compute: Compute) -> None:
    x = torch.arange(6)
    assert [part.tolist() for part in compute("split", x=x, parts=3)] == [[0, 1], [2, 3], [4, 5]]
    assert [part.tolist() for part in compute("split", x=x, parts=[1, 5])] == [[0], [1, 2, 3, 4, 5]]
    assert [part.tolist() for part in compute("chunk", x=x, sections=1)] == [[0, 1, 2, 3, 4, 5]]

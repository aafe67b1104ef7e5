"""Selection by index, order and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from attnc.dsl.ops import indexing

if TYPE_CHECKING:
    from attnc.dsl.graph import Arg
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _gather(d: Draw) -> Args:
    shape = d.shape(1, 3)
    axis = d.axis(len(shape))
    x = [d.one_of(size, 1) for size in shape]
    index = [d.one_of(size, 1) for size in shape]
    index[axis] = d.size()
    return {
        "x": d.tensor(*x, dtypes=d.ANY),
        "index": d.tensor(*index, dtypes=d.INT),
        "axis": axis,
    }


def _take(d: Draw) -> Args:
    shape = d.shape(1, 3)
    return {
        "x": d.tensor(*shape, dtypes=d.ANY),
        "index": d.tensor(*d.shape(1, 2), dtypes=d.INT),
        "axis": d.axis(len(shape)),
    }


def _topk(d: Draw) -> Args:
    shape = list(d.shape(1, 3))
    axis = d.axis(len(shape))
    shape[axis] = d.size(3, 5)
    x = d.tensor(*shape, dtypes=d.REAL)
    return {
        "x": x,
        "k": d.size(1, 3),
        "axis": axis,
        "largest": d.flag(),
        "sorted": d.flag(),
    }


def _sort(d: Draw) -> Args:
    shape = d.shape(1, 3)
    return {
        "x": d.tensor(*shape, dtypes=d.REAL),
        "axis": d.axis(len(shape)),
        "descending": d.flag(),
        "stable": d.flag(),
    }


def _scatter(d: Draw) -> Args:
    shape = list(d.shape(1, 3))
    axis = d.axis(len(shape))
    shape[axis] = d.size(3, 5)
    values = list(shape)
    values[axis] = d.size(1, 3)
    index = [d.one_of(size, 1) for size in values]
    index[axis] = values[axis]
    x = d.tensor(*shape, dtypes=d.ANY)
    return {
        "x": x,
        "index": d.tensor(*index, dtypes=d.INT),
        "values": d.tensor(*values, dtypes=(x.type.dtype,)),
        "axis": axis,
    }


def _where(d: Draw) -> Args:
    c, p, q = d.operands(3)
    a = d.tensor(*p, dtypes=d.ANY)
    number = {"float": 0.5, "complex": 0.5, "int": 2, "bool": 1}[a.type.dtype]
    b: tuple[Arg, ...] = (d.tensor(*q, dtypes=d.ANY), number, d.size())
    return {"condition": d.tensor(*c, dtypes=d.BOOL), "a": a, "b": d.one_of(*b)}


def _masked_fill(d: Draw) -> Args:
    p, q = d.operands(2)
    x = d.tensor(*p, dtypes=d.ANY)
    values = (0, 1) if x.type.dtype in ("int", "bool") else (0, float("-inf"))
    return {"x": x, "mask": d.tensor(*q, dtypes=d.BOOL), "value": d.one_of(*values)}


def _one_hot(d: Draw) -> Args:
    return {"index": d.tensor(*d.shape(), dtypes=d.INT), "count": d.integer(1, 5)}


def _segment_sum(d: Draw) -> Args:
    rows = (*d.shape(0, 2), d.size())
    index = d.tensor(*rows, dtypes=d.INT)
    return {"x": d.tensor(*rows, d.size()), "index": index, "count": d.size()}


CASES: dict[str, Build] = {
    "gather": _gather,
    "take": _take,
    "topk": _topk,
    "sort": _sort,
    "argsort": _sort,
    "scatter": _scatter,
    "where": _where,
    "masked_fill": _masked_fill,
    "one_hot": _one_hot,
    "segment_sum": _segment_sum,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in indexing.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])


X = torch.randn(3, 4, 5, dtype=torch.float64)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_replaces_the_axis_by_those_of_the_index(axis: int, compute: Compute) -> None:
    index = torch.randint(0, 3, (2, 6))
    (found,) = compute("take", x=X, index=index, axis=axis)
    assert np.array_equal(found.numpy(), np.take(X.numpy(), index.numpy(), axis))


def test_gather_broadcasts_the_index(compute: Compute) -> None:
    index = torch.tensor([[0, 3], [1, 1], [2, 0]]).unsqueeze(-1)
    (found,) = compute("gather", x=X, index=index, axis=1)
    for b in range(3):
        assert torch.equal(found[b], X[b, index[b, :, 0]])


def test_scatter_puts_values_in_place(compute: Compute) -> None:
    index, values = torch.tensor([[[3], [0]]]).expand(3, 2, 1), torch.zeros(3, 2, 5).double()
    (found,) = compute("scatter", x=X, index=index, values=values, axis=1)
    assert not found[:, [0, 3]].any()
    assert torch.equal(found[:, 1:3], X[:, 1:3])


def test_segment_sum_adds_the_rows_of_a_segment(compute: Compute) -> None:
    index = torch.randint(0, 2, (3, 4))
    (found,) = compute("segment_sum", x=X, index=index, count=3)
    for b, segment in np.ndindex(3, 3):
        torch.testing.assert_close(found[b, segment], X[b, index[b] == segment].sum(0))


def test_order_is_stable(compute: Compute) -> None:
    x = torch.tensor([2, 1, 2, 1, 2])
    assert compute("argsort", x=x)[0].tolist() == [1, 3, 0, 2, 4]
    assert compute("argsort", x=x, descending=True)[0].tolist() == [0, 2, 4, 1, 3]
    assert [each.tolist() for each in compute("topk", x=torch.tensor([5, 9, 7]), k=2)] == [
        [9, 7],
        [1, 2],
    ]


def test_masks_choose(compute: Compute) -> None:
    mask = torch.tensor([True, False])
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert compute("where", condition=mask, a=x, b=0)[0].tolist() == [1, 0]
    assert compute("masked_fill", x=x, mask=mask, value=7)[0].tolist() == [7, 2]
    assert compute("one_hot", index=torch.tensor([2]), count=3)[0].tolist() == [[0, 0, 1]]

"""Products of matrices and tables of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from attnc.dsl.ops import linear_algebra

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _linear(d: Draw) -> Args:
    x = d.tensor(*d.shape(), d.integer(1, 5))
    return {"x": x, "out": d.integer(1, 5), "bias": d.flag()}


def _matmul(d: Draw) -> Args:
    k = d.size()
    p, q = d.operands(2)
    dtypes = (d.one_of(*d.FIELD),)
    return {
        "a": d.tensor(*p, d.size(), k, dtypes=dtypes),
        "b": d.tensor(*q, k, d.size(), dtypes=dtypes),
    }


def _einsum(d: Draw) -> Args:
    labels = list("abcde")
    sizes = {label: d.size(2, 5) for label in labels}
    factors = [d.shuffled(labels)[: d.integer(1, 3)] for _ in range(d.integer(1, 3))]
    present = sorted({label for factor in factors for label in factor})
    result = d.shuffled(present)[: d.integer(0, len(present))]
    dtypes = (d.one_of(*d.FIELD),)
    shapes = [[sizes[label] for label in factor] for factor in factors]
    return {
        "equation": f"{', '.join(' '.join(factor) for factor in factors)} -> {' '.join(result)}",
        "tensors": tuple(d.tensor(*shape, dtypes=dtypes) for shape in shapes),
    }


def _embedding(d: Draw) -> Args:
    count = d.integer(1, 9)
    return {
        "ids": d.tensor(*d.shape(), dtypes=d.INT),
        "count": count,
        "dim": d.integer(1, 5),
        "padding": d.one_of(None, count - 1),
    }


CASES: dict[str, Build] = {
    "linear": _linear,
    "matmul": _matmul,
    "einsum": _einsum,
    "embedding": _embedding,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in linear_algebra.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])


def test_einsum_means_what_torch_means(compute: Compute) -> None:
    a, b = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    (found,) = compute("einsum", equation="b i d, b j d -> b i j", tensors=(a.double(), b.double()))
    torch.testing.assert_close(found, a.double() @ b.double().transpose(1, 2))

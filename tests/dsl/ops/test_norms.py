"""Normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from attnc.dsl.ops import norms

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _layer_norm(d: Draw) -> Args:
    shape = [*d.shape(0, 3), 1]
    axis = d.axis(len(shape))
    shape[axis] = d.integer(1, 5)
    weight = d.flag()
    return {
        "x": d.tensor(*shape),
        "eps": d.one_of(1e-5, 1e-6),
        "weight": weight,
        "bias": weight and d.flag(),
        "axis": axis,
    }


def _rms_norm(d: Draw) -> Args:
    args = _layer_norm(d)
    del args["bias"]
    return {**args, "eps": d.one_of(None, 1e-6)}


def _channels(d: Draw, fewest: int) -> Args:
    affine = d.flag()
    sides = [d.size(2, 4) for _ in range(d.integer(fewest, 3))]
    return {
        "x": d.tensor(d.size(2, 3), 2 * d.integer(1, 3), *sides),
        "eps": d.one_of(1e-5, 1e-6),
        "weight": affine,
        "bias": affine,
    }


def _batch_norm(d: Draw) -> Args:
    return {**_channels(d, 0), "momentum": d.one_of(0.1, 0.01)}


def _group_norm(d: Draw) -> Args:
    return {**_channels(d, 0), "groups": d.integer(1, 2)}


def _instance_norm(d: Draw) -> Args:
    return _channels(d, 1)


def _l2_normalize(d: Draw) -> Args:
    shape = d.shape(1, 4)
    return {"x": d.tensor(*shape), "axis": d.axis(len(shape)), "eps": d.one_of(1e-12, 1e-6)}


CASES: dict[str, Build] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "l2_normalize": _l2_normalize,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in norms.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])


X = torch.randn(2, 3, 4, 5, dtype=torch.float64)


def _scaled(x: Tensor, axis: int, eps: float) -> Tensor:
    return x / (x.pow(2).mean(axis, keepdim=True) + eps).sqrt()


@pytest.mark.parametrize("axis", [-1, 1, -2])
def test_layer_norm_works_along_any_axis(axis: int, compute: Compute) -> None:
    (found,) = compute("layer_norm", x=X, axis=axis, eps=0.1)
    torch.testing.assert_close(found, _scaled(X - X.mean(axis, keepdim=True), axis, 0.1))


@pytest.mark.parametrize("axis", [-1, 1, -2])
def test_rms_norm_works_along_any_axis(axis: int, compute: Compute) -> None:
    (found,) = compute("rms_norm", x=X, axis=axis, eps=0.1)
    torch.testing.assert_close(found, _scaled(X, axis, 0.1))


def test_l2_normalize_bounds_the_norm_from_below(compute: Compute) -> None:
    (found,) = compute("l2_normalize", x=X, axis=1, eps=2.0)
    torch.testing.assert_close(found, X / X.pow(2).sum(1, keepdim=True).sqrt().clamp(min=2.0))

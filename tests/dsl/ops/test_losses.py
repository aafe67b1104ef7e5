"""Losses and similarities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F

from attnc.dsl.ops import losses

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw

_REDUCTIONS = ("mean", "sum", "none")


def _cross_entropy(d: Draw) -> Args:
    b, c, s, classes = d.size(), d.size(), d.shape(0, 2), d.flag()
    return {
        "x": d.tensor(b, c, *s),
        "target": d.tensor(b, *s, dtypes=d.INT) if classes else d.tensor(b, c, *s),
        "weight": d.one_of(None, d.tensor(c)),
        "ignore": d.one_of(-100, 0) if classes else -100,
        "reduction": d.one_of(*_REDUCTIONS),
        "smoothing": d.one_of(0.0, 0.1),
    }


def _loss(d: Draw) -> Args:
    x = d.tensor(*d.shape())
    return {"x": x, "target": d.tensor(*x.shape), "reduction": d.one_of(*_REDUCTIONS)}


def _bce(d: Draw) -> Args:
    x = d.tensor(*d.shape())
    return {
        "x": x,
        "target": d.tensor(*x.shape),
        "weight": d.one_of(None, x),
        "pos_weight": d.one_of(None, x),
        "reduction": d.one_of(*_REDUCTIONS),
    }


def _kl_div(d: Draw) -> Args:
    x = d.tensor(*d.shape(1, 3))
    return {
        "x": x,
        "target": d.tensor(*x.shape),
        "reduction": d.one_of("batchmean", *_REDUCTIONS),
        "log_target": d.flag(),
    }


def _cosine(d: Draw) -> Args:
    shape = d.shape(1, 3)
    a, b = (d.tensor(*(d.one_of(size, 1) for size in shape)) for _ in range(2))
    return {"a": a, "b": b, "axis": d.axis(len(shape)), "eps": d.one_of(1e-8, 1e-3)}


CASES: dict[str, Build] = {
    "cross_entropy": _cross_entropy,
    "mse_loss": _loss,
    "l1_loss": _loss,
    "bce_with_logits": _bce,
    "kl_div": _kl_div,
    "cosine_similarity": _cosine,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in losses.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])


X = torch.randn(3, 4, dtype=torch.float64)
Y = torch.rand(3, 4, dtype=torch.float64)


def test_cross_entropy_spreads_a_share_of_the_target(compute: Compute) -> None:
    target = torch.tensor([0, 3, 1])
    share = 0.9 * F.one_hot(target, 4).double() + 0.1 / 4
    expected = -(share * X.log_softmax(1)).sum(1).mean()
    (found,) = compute("cross_entropy", x=X, target=target, smoothing=0.1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(compute("cross_entropy", x=X, target=share)[0], expected)


def test_losses_are_as_defined(compute: Compute) -> None:
    sigmoid = 1 / (1 + (-X).exp())
    bce = -(Y * sigmoid.log() + (1 - Y) * (1 - sigmoid).log())
    expected = {
        "mse_loss": ((X - Y) ** 2).mean(),
        "l1_loss": (X - Y).abs().mean(),
        "bce_with_logits": bce.mean(),
        "kl_div": (Y * (Y.log() - X)).mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(compute(name, x=X, target=Y)[0], value)


def test_cosine_similarity_is_as_defined(compute: Compute) -> None:
    expected = (X * Y).sum(1) / ((X**2).sum(1) * (Y**2).sum(1)).sqrt()
    torch.testing.assert_close(compute("cosine_similarity", a=X, b=Y)[0], expected)

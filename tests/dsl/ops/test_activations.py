"""Functions of one element and of one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from attnc.dsl.ops import activations

if TYPE_CHECKING:
    from attnc.dsl.graph import Arg
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _function(*dtypes: str, **options: tuple[Arg, ...]) -> Build:
    def build(d: Draw) -> Args:
        more = {name: d.one_of(*choices) for name, choices in options.items()}
        return {"x": d.tensor(*d.shape(), dtypes=dtypes), **more}

    return build


def _along_axis(d: Draw) -> Args:
    shape = d.shape(1, 4)
    return {"x": d.tensor(*shape), "axis": d.axis(len(shape))}


_FLOAT = _function("float")
_REAL = _function("float", "int")
_FIELD = _function("float", "complex")


CASES: dict[str, Build] = {
    "identity": _function("float", "int", "bool", "complex"),
    **dict.fromkeys(("gelu", "gelu_tanh", "quick_gelu", "silu", "sigmoid", "tanh"), _FLOAT),
    **dict.fromkeys(("exp", "log", "log2", "sqrt", "sin", "cos"), _FIELD),
    **dict.fromkeys(("relu", "abs", "sign"), _REAL),
    "floor": _FLOAT,
    "leaky_relu": _function("float", slope=(0.01, 0.2)),
    "elu": _function("float", alpha=(1.0, 0.5)),
    "softplus": _function("float", beta=(1.0, 2.0), threshold=(20.0, 10.0)),
    "clamp": _function("float", "int", min=(0, -1), max=(None, 2)),
    "softmax": _along_axis,
    "log_softmax": _along_axis,
    "dropout": _function("float", p=(0.0, 0.5)),
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in activations.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])


X = torch.linspace(-3, 3, 13, dtype=torch.float64)
DEFINITIONS = {
    "gelu": X * (1 + torch.erf(X / 2**0.5)) / 2,
    "gelu_tanh": X * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (X + 0.044715 * X**3))) / 2,
    "quick_gelu": X / (1 + torch.exp(-1.702 * X)),
    "silu": X / (1 + torch.exp(-X)),
    "softplus": torch.log1p(torch.exp(X)),
    "leaky_relu": torch.where(X < 0, 0.01 * X, X),
    "elu": torch.where(X < 0, torch.exp(X) - 1, X),
    "softmax": torch.exp(X) / torch.exp(X).sum(),
    "log_softmax": X - torch.exp(X).sum().log(),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_function_is_as_defined(name: str, compute: Compute) -> None:
    (found,) = compute(name, x=X)
    torch.testing.assert_close(found, DEFINITIONS[name])


def test_clamp_takes_one_bound_or_both(compute: Compute) -> None:
    assert compute("clamp", x=X, min=1.0)[0].min() == 1
    assert compute("clamp", x=X, max=1.0)[0].max() == 1
    assert compute("clamp", x=X, min=-1.0, max=1.0)[0].abs().max() == 1

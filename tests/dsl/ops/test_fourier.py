"""Fourier transforms and complex numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from attnc.dsl.ops import fourier

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _transform(*dtypes: str) -> Build:
    def build(d: Draw) -> Args:
        shape = list(d.shape(1, 3))
        axis = d.axis(len(shape))
        shape[axis] = d.size(2, 5)
        return {
            "x": d.tensor(*shape, dtypes=dtypes),
            "axis": axis,
            "n": d.one_of(None, d.size(2, 6)),
            "norm": d.one_of("backward", "ortho", "forward"),
        }

    return build


def _part(d: Draw) -> Args:
    return {"x": d.tensor(*d.shape(), dtypes=("complex",))}


def _complex(d: Draw) -> Args:
    real = d.tensor(*d.shape())
    return {"real": real, "imag": d.tensor(*real.shape)}


CASES: dict[str, Build] = {
    "fft": _transform("float", "complex"),
    "ifft": _transform("float", "complex"),
    "rfft": _transform("float"),
    "irfft": _transform("float", "complex"),
    "real": _part,
    "imag": _part,
    "complex": _complex,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in fourier.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])


X = torch.randn(3, 8, dtype=torch.float64)


def test_transforms_invert_each_other(compute: Compute) -> None:
    (spectrum,) = compute("fft", x=X)
    torch.testing.assert_close(compute("real", x=compute("ifft", x=spectrum)[0])[0], X)
    (half,) = compute("rfft", x=X)
    torch.testing.assert_close(half, spectrum[:, :5])
    torch.testing.assert_close(compute("irfft", x=half)[0], X)


def test_complex_numbers_come_apart_again(compute: Compute) -> None:
    (z,) = compute("complex", real=X, imag=2 * X)
    assert torch.equal(compute("real", x=z)[0], X)
    assert torch.equal(compute("imag", x=z)[0], 2 * X)

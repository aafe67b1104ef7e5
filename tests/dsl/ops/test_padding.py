"""Borders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from attnc.dsl.ops import padding

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _pad(d: Draw) -> Args:
    mode = d.one_of("constant", "reflect", "replicate", "circular")
    padded = d.integer(1, 3)
    shape = [d.size(3, 5) for _ in range(padded + d.integer(1, 2))]
    low, dtypes = (-1, d.ANY) if mode == "constant" else (0, ("float",))
    amounts = tuple(d.integer(low, 2) for _ in range(2 * padded))
    x = d.tensor(*shape, dtypes=dtypes)
    return {"x": x, "amounts": amounts, "value": d.one_of(0, 1), "mode": mode}


CASES: dict[str, Build] = {"pad": _pad}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in padding.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])


@pytest.mark.parametrize(
    ("mode", "known_as"),
    [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")],
)
def test_pad_begins_with_the_last_axis(mode: str, known_as: str, compute: Compute) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    (found,) = compute("pad", x=x, amounts=[1, 2, 0, 3], mode=mode)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 3), (1, 2)), mode=known_as)  # type: ignore[call-overload]
    assert np.array_equal(found.numpy(), expected)


def test_negative_amounts_crop(compute: Compute) -> None:
    x = torch.arange(5)
    assert compute("pad", x=x, amounts=[-1, 2], value=7)[0].tolist() == [1, 2, 3, 4, 7, 7]

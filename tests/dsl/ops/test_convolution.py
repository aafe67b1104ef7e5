"""Convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from attnc.dsl.ops import convolution

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Draw


def _conv(rank: int) -> Build:
    def build(d: Draw) -> Args:
        groups, same = d.integer(1, 2), d.flag()
        sides = [d.size(7, 9) for _ in range(rank)]
        return {
            "x": d.tensor(d.size(), groups * d.integer(1, 3), *sides),
            "out": groups * d.integer(1, 3),
            "kernel": d.window(rank, 1, 3),
            "stride": 1 if same else d.window(rank, 1, 3),
            "padding": "same" if same else d.window(rank, 0, 2),
            "dilation": d.window(rank, 1, 3),
            "groups": groups,
            "bias": d.flag(),
            "padding_mode": d.one_of("zeros", "reflect"),
        }

    return build


def _conv_transpose(rank: int) -> Build:
    def build(d: Draw) -> Args:
        groups, stride = d.integer(1, 2), d.integer(1, 3)
        sides = [d.size(3, 6) for _ in range(rank)]
        return {
            "x": d.tensor(d.size(), groups * d.integer(1, 3), *sides),
            "out": groups * d.integer(1, 3),
            "kernel": d.window(rank, 2, 3),
            "stride": stride,
            "padding": d.window(rank, 0, 1),
            "output_padding": d.integer(0, stride - 1),
            "groups": groups,
            "bias": d.flag(),
            "dilation": d.window(rank, 1, 2),
        }

    return build


def _depthwise(d: Draw) -> Args:
    same = d.flag()
    return {
        "x": d.tensor(d.size(), d.integer(1, 3), d.size(5, 9), d.size(5, 9)),
        "kernel": d.window(2, 1, 3),
        "stride": 1 if same else d.window(2, 1, 3),
        "padding": "same" if same else d.window(2, 0, 2),
        "dilation": d.window(2, 1, 2),
        "bias": d.flag(),
    }


def _unfold(d: Draw) -> Args:
    return {
        "x": d.tensor(d.size(), d.size(), d.size(7, 9), d.size(7, 9)),
        "kernel": d.window(2, 1, 3),
        "stride": d.window(2, 1, 3),
        "padding": d.window(2, 0, 2),
        "dilation": d.window(2, 1, 3),
    }


CASES: dict[str, Build] = {
    **{f"conv{rank}d": _conv(rank) for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _conv_transpose(rank) for rank in (1, 2, 3)},
    "depthwise": _depthwise,
    "unfold": _unfold,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in convolution.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])

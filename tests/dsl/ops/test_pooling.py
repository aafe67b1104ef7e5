"""Pooling, resizing and pixel shuffles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from attnc.dsl.dims import substitute
from attnc.dsl.ops import pooling

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Draw


def _pool(kind: str, rank: int) -> Build:
    def build(d: Draw) -> Args:
        sizes = [d.size(8, 12) for _ in range(rank)]
        ceil_mode = d.flag()
        if ceil_mode:
            sizes = [substitute(size, d.values) for size in sizes]
        more = {"count_include_pad": d.flag()} if kind == "avg" else {"dilation": d.integer(1, 2)}
        return {
            "x": d.tensor(d.size(), d.size(), *sizes),
            "kernel": d.window(rank, 2, 4),
            "stride": d.one_of(None, d.window(rank, 1, 3)),
            "padding": d.integer(0, 1),
            "ceil_mode": ceil_mode,
            **more,
        }

    return build


def _adaptive(rank: int) -> Build:
    def build(d: Draw) -> Args:
        x = d.tensor(d.size(), d.size(), *(d.size() for _ in range(rank)))
        sizes = tuple(d.size() for _ in range(rank))
        return {"x": x, "size": sizes if d.flag() else sizes[0]}

    return build


_MODES = [
    ("nearest", 1), ("nearest-exact", 2), ("area", 3), ("linear", 1), ("bilinear", 2),
    ("bicubic", 2), ("trilinear", 3),
]  # fmt: skip


def _resize(d: Draw) -> Args:
    mode, rank = d.one_of(*_MODES)
    return {
        **_adaptive(rank)(d),
        "mode": mode,
        "align_corners": "linear" in mode and d.flag(),
        "antialias": mode in ("bilinear", "bicubic") and d.flag(),
    }


def _grid_sample(d: Draw) -> Args:
    b, y, x = d.size(), d.size(), d.size()
    return {
        "x": d.tensor(b, d.size(), d.size(), d.size()),
        "grid": d.tensor(b, y, x, 2),
        "mode": d.one_of("bilinear", "nearest", "bicubic"),
        "padding_mode": d.one_of("zeros", "border", "reflection"),
        "align_corners": d.flag(),
    }


def _pixels(d: Draw) -> Args:
    r = d.integer(1, 3)
    shape = (*d.shape(0, 2), d.size() * r * r, d.size() * r, d.size() * r)
    return {"x": d.tensor(*shape, dtypes=d.ANY), "factor": r}


CASES: dict[str, Build] = {
    **{f"avg_pool{rank}d": _pool("avg", rank) for rank in (1, 2, 3)},
    **{f"max_pool{rank}d": _pool("max", rank) for rank in (1, 2, 3)},
    **{f"adaptive_avg_pool{rank}d": _adaptive(rank) for rank in (1, 2, 3)},
    "resize": _resize,
    "grid_sample": _grid_sample,
    "pixel_shuffle": _pixels,
    "pixel_unshuffle": _pixels,
}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in pooling.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_defaults_are_those_of_torch(name: str, defaults_are_those_of_torch: Check) -> None:
    defaults_are_those_of_torch(name, CASES[name])

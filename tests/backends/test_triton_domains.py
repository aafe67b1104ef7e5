"""Generated kernels over domains that are walked by block, against float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import torch

from attnc.backends.triton.problem import digest
from attnc.compiler.kernel import Site

if TYPE_CHECKING:
    from tests.backends.conftest import Harness

torch.set_num_threads(1)


@dataclass(frozen=True)
class Case:
    """An attention over a grid, as a spec writes it, and a tile of it.

    Attributes:
        arguments: of `attend(q, k, v, ...)`.
        tensors: captured tensors.
        n: queries; `m` keys.
        tile: rows of q and of k in a tile.
        groups: heads of k and v.
    """

    arguments: str
    tensors: Mapping[str, str] = field(default_factory=dict)
    n: int = 56
    m: int = 56
    b: int = 1
    tile: tuple[int, int] = (32, 32)
    groups: int = 2
    dim: int = 16

    def site(self, harness: Harness) -> Site:
        """Return the site."""
        shapes = {"q": (2, self.n), "k": (self.groups, self.m), "v": (self.groups, self.m)}
        given = {name: f"[b, {heads}, {n}, {self.dim}]" for name, (heads, n) in shapes.items()}
        return harness.site(f"attend(q, k, v, {self.arguments})", {**given, **self.tensors})


TABLE = "score = qk * 0.25 + table[h, iy - jy + 3, ix - jx + 3]"
TURNED = (
    "score = qk * 0.25 + table[h, (iy - 2) % 8 - (jy - 2) % 8 + 3, (ix - 1) % 7 - (jx - 1) % 7 + 3]"
)
GRID = "grid = [8, 7], domain = "
OF_4 = {"table": "[2, 7, 7]"}

WINDOWS: dict[str, Case] = {
    "two windows in a tile": Case(f"{GRID}windows([4, 4]), {TABLE}", OF_4, b=2),
    "a window in a tile": Case(f"{GRID}windows([4, 7])", tile=(32, 32)),
    "a window in tiles": Case(f"{GRID}windows([8, 7])", tile=(32, 16)),
    "many windows in a tile": Case(f"{GRID}windows([1, 3])"),
    "one column": Case(f"{GRID}windows([4, 1])"),
    "shifted": Case(f"{GRID}windows(4, shift = [2, 1]), {TABLE}", OF_4, b=2),
    "shifted by the turn": Case(f"{GRID}windows(4, shift = [2, 1]), {TURNED}", OF_4),
    "wrapped": Case(f"{GRID}windows([4, 3], shift = [2, 1], wrap = true), {TURNED}", OF_4),
    "dilated": Case(
        f"{GRID}windows([2, 3], dilation = [2, 3]), "
        "score = qk * 0.25 + table[h, (iy - jy) // 2 + 1, (ix - jx) // 3 + 2]",
        {"table": "[2, 3, 5]"},
    ),
    "by slot": Case(f"{GRID}windows(4), score = qk + table[h, query_slot, slot]",
                    {"table": "[2, 16, 16]"}),
    "stripes": Case(f"{GRID}per_heads(stripes(1, 2), stripes(0, 2))"),
    "stripes of a square": Case("grid = [7, 8], domain = per_heads(stripes(0, 7), stripes(1, 8))"),
    "in space": Case("grid = [2, 4, 7], domain = windows([2, 2, 3], shift = [0, 1, 0])"),
    "in a row": Case("domain = windows(9, shift = 4), score = qk - abs(i - j) * slope[h]",
                     {"slope": "[2]"}),
    "masked": Case(f"{GRID}windows(4, shift = 2), mask = pad[b, j], outputs = [lse]",
                   {"pad": "[b, 56] bool"}, b=2),
    "by query and by key": Case(
        f"{GRID}windows(4), score = qk * gain[b, i] + offset[h, j]",
        {"gain": "[b, 56]", "offset": "[2, 56]"}, b=2,
    ),
    "bias of all pairs": Case(f"{GRID}windows(4), score = qk + bias[h, i, j]",
                              {"bias": "[2, 56, 56]"}),
    "shared keys": Case(f"{GRID}windows(4), {TABLE}", OF_4, groups=1),
}  # fmt: skip

NEAR = "score = qk * 0.25 + table[h, jy - iy + 2, jx - ix + 2]"
OF_5 = {"table": "[2, 5, 5]"}
GRID_9 = "grid = [9, 10], domain = "
GRID_5 = "grid = [5, 9], domain = "

BOXES: dict[str, Case] = {
    "neighbourhood": Case(f"{GRID_9}neighborhood(3)", n=90, m=90, tile=(64, 64)),
    "with a table": Case(f"{GRID_9}neighborhood(5), {NEAR}", OF_5, n=90, m=90, tile=(64, 64)),
    "by slot": Case(f"{GRID_5}neighborhood(3), score = qk + table[h, slot]", {"table": "[2, 9]"},
                    n=45, m=45, tile=(64, 64)),
    "even kernel": Case(f"{GRID_5}neighborhood([4, 3])", n=45, m=45, tile=(64, 64)),
    "dilated": Case(f"{GRID_5}neighborhood(3, dilation = [2, 1]), score = qk - abs(ix - jx)",
                    n=45, m=45, tile=(32, 64)),
    "clamped": Case(f"{GRID_5}neighborhood(3, edge = clamp)", n=45, m=45, tile=(64, 64)),
    "clamped, dilated": Case(f"{GRID_5}neighborhood(3, edge = clamp, dilation = 3)", n=45, m=45),
    "clamped, with a table": Case(
        f"{GRID_5}neighborhood(3, edge = clamp), {NEAR}", OF_5, n=45, m=45, tile=(64, 64), b=2),
    "by query and slot": Case(
        f"{GRID}neighborhood(3), post = w + places[b, h, i, slot], score = qk + table[h, slot]",
        {"places": "[b, 2, 56, 9]", "table": "[2, 9]"}, tile=(64, 64), b=2),
    "clamped to all": Case(f"{GRID}neighborhood(7, edge = clamp)", tile=(64, 64)),
    "wide, clamped": Case("grid = [60], domain = neighborhood(27, edge = clamp)", n=60, m=60),
    "in space": Case("grid = [3, 5, 6], domain = neighborhood(3)", n=90, m=90, tile=(64, 64)),
    "in a row": Case("domain = neighborhood(9)", n=150, m=150, tile=(64, 64)),
    "padded keys": Case("grid = [6, 7], key_grid = [8, 9], domain = neighborhood(3)",
                        n=42, m=72, tile=(64, 64)),
    "overlapping": Case(f"{GRID}overlapping(4, 6), score = qk * 0.25 + table[h, jy - iy + 4, "
                        "jx - ix + 4]", {"table": "[2, 10, 10]"}),
    "overlapping, padded": Case(
        "grid = [8, 6], key_grid = [10, 8], domain = overlapping([4, 3], [6, 5])", n=48, m=80,
    ),
    "masked, with lse": Case(
        f"{GRID}neighborhood(3), mask = pad[b, j], outputs = [lse]", {"pad": "[b, 56] bool"},
        tile=(64, 64), b=2,
    ),
    "shared keys": Case(f"{GRID}neighborhood(3)", groups=1, tile=(64, 64)),
    "by heads": Case(f"{GRID}per_heads(neighborhood(3), neighborhood(5))", tile=(64, 64)),
}  # fmt: skip

GRID_8 = "grid = [6, 8], domain = "
RUNS: dict[str, Case] = {
    "runs": Case("domain = blocks([7, 20, 3, 26]), score = qk * 0.3 + table[h, i - j + 25]",
                 {"table": "[2, 51]"}),
    "short runs in a tile": Case("domain = blocks([14, 14, 10, 14, 4])"),
    "other keys": Case(
        "domain = blocks([20, 36], [5, 25]), score = qk + table[h, query_slot, slot]",
        {"table": "[2, 36, 25]"}, m=30,
    ),
    "bias": Case("domain = blocks([20, 36], [5, 25]), score = qk + bias[h, i, j]",
                 {"bias": "[2, 56, 30]"}, m=30),
}  # fmt: skip
ROUTES: dict[str, Case] = {
    "regions": Case(f"{GRID_8}routed(r, regions = [3, 4])", {"r": "[b, 12, 4] int"},
                    n=48, m=48, b=2),
    "by head, masked": Case(f"{GRID_8}routed(r, regions = [3, 4]), mask = j <= i, outputs = [lse]",
                            {"r": "[b, 2, 12, 3] int"}, n=48, m=48),
    "other keys": Case("grid = [6, 8], key_grid = [3, 4], domain = routed(r, regions = [3, 4])",
                       {"r": "[b, 12, 5] int"}, n=48, m=12, groups=1, tile=(16, 16)),
    "in a row": Case("domain = routed(r, regions = 6), score = qk - heat[h] * abs(i - j)",
                     {"r": "[b, 6, 2] int", "heat": "[2]"}, n=60, m=60, tile=(16, 32)),
}  # fmt: skip
BESIDE: dict[str, str] = {
    "neighbourhood and all": "[source(k, v, grid = [9, 10], domain = neighborhood(3)), "
    "source(k2, v2, score = qk * 0.5 + gate[h, j])]",
    "windows and causal": "[source(k, v, grid = [9, 10], domain = windows(4)), "
    "source(k2, v2, domain = causal(-50))]",
    "two windows": "[source(k, v, grid = [9, 10], domain = windows(4)), "
    "source(k, v, grid = [9, 10], domain = windows(4), mask = j < i)]",
    "two kinds of windows": "[source(k, v, grid = [9, 10], domain = windows(4)), "
    "source(k, v, grid = [9, 10], domain = windows(3))]",
}


@pytest.mark.parametrize("join", ["softmax", "sum"])
@pytest.mark.parametrize("name", BESIDE)
def test_sources_beside_each_other(name: str, join: str, harness: Harness) -> None:
    near = "[b, 2, 90, 16]"
    inputs = {"q": near, "k": near, "v": near}
    if "k2" in BESIDE[name]:
        inputs |= {"k2": "[b, 2, m, 16]", "v2": "[b, 2, m, 16]"}
    if "gate" in BESIDE[name]:
        inputs["gate"] = "[2, m]"
    site = harness.site(f"attend(q, {BESIDE[name]}, join = {join})", inputs)
    assert digest(site).streams[0].blocks
    entry = harness.interpreted(site, (64, 64))
    given = harness.inputs(site, {"b": 1, "m": 30}, torch.float32)
    harness.check(entry, site, torch.float32, given)


def check(case: Case, harness: Harness, dtype: torch.dtype) -> None:
    site = case.site(harness)
    assert all(stream.blocks for stream in digest(site).streams)
    entry = harness.interpreted(site, case.tile)
    harness.check(entry, site, dtype, harness.inputs(site, {"b": case.b}, dtype))


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str, harness: Harness) -> None:
    check(WINDOWS[name], harness, torch.float32)


@pytest.mark.parametrize("name", RUNS)
def test_runs(name: str, harness: Harness) -> None:
    check(RUNS[name], harness, torch.float32)


@pytest.mark.parametrize("name", ROUTES)
def test_routes(name: str, harness: Harness) -> None:
    """Rows of an index may name a region twice, and none may name some region."""
    check(ROUTES[name], harness, torch.float32)


def test_gradients_of_routed_keys_are_the_same_in_every_run(harness: Harness) -> None:
    site = ROUTES["other keys"].site(harness)
    entry = harness.interpreted(site, (16, 16))
    given = harness.inputs(site, {"b": 1}, torch.float32)
    first, second = (harness.run(entry, given, torch.float32) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize("name", BOXES)
def test_boxes(name: str, harness: Harness) -> None:
    check(BOXES[name], harness, torch.float32)


@pytest.mark.parametrize("name", ["clamped", "overlapping"])
def test_boxes_in_half_precision(name: str, harness: Harness) -> None:
    check(BOXES[name], harness, torch.float16)


@pytest.mark.parametrize("name", ["shifted", "stripes"])
def test_windows_in_half_precision(name: str, harness: Harness) -> None:
    check(WINDOWS[name], harness, torch.float16)

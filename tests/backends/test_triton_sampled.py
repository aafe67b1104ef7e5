"""Generated kernels of gathered rows, for queries with a box of keys around a centre each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from attnc.backends.reference import ReferenceBackend, function
from attnc.backends.triton import TritonBackend
from attnc.compiler.kernel import No, Site, Target, Yes

if TYPE_CHECKING:
    from tests.backends.conftest import Harness

torch.set_num_threads(1)

TARGET = Target("cuda", "90")
TILE = (8, 16)
L1 = "score = -l1(q, k) * scale"


@dataclass(frozen=True)
class Case:
    """An attention on a grid as a spec writes it.

    Attributes:
        arguments: of `attend(q, k, v, ...)`, with centres `c` or, by head, `ch`.
        grid: of the queries; `keys` of the keys, the same unless stated.
        groups: heads of k and v.
        width: of a head.
    """

    arguments: str
    grid: tuple[int, ...] = (3, 5)
    keys: tuple[int, ...] = ()
    groups: int = 2
    width: int = 8

    def site(self, harness: Harness) -> Site:
        """Return the site."""
        keys = self.keys or self.grid
        n, m = (torch.Size(grid).numel() for grid in (self.grid, keys))
        shapes = {
            "q": f"[b, 2, {n}, {self.width}]",
            **dict.fromkeys("kv", f"[b, {self.groups}, {m}, {self.width}]"),
            "c": f"[b, {n}, {len(self.grid)}]",
            "ch": f"[b, 2, {n}, {len(self.grid)}]",
            "t": "[2, 16]",
            "gate": f"[b, {m}]",
        }
        call = f"attend(q, k, v, grid = {[*self.grid]}, key_grid = {[*keys]}, {self.arguments})"
        used = {name: of for name, of in shapes.items() if re.search(rf"\b{name}\b", call)}
        return harness.site(call, used)


MIXED = f"{L1}, normalize = bilinear"
CASES = {
    "softmax": Case("domain = sampled(c, 1), outputs = [lse]"),
    "by head, with a sink": Case("domain = sampled(ch, 1), normalize = softmax(keys, sink = 0.5)"),
    "fractions": Case("domain = sampled(c, 1), score = qk * fy + t[h, slot] * (1 - fx)"),
    "masked": Case(f"domain = sampled(ch, 1), {L1}, mask = jx != 2 and slot < 12"),
    "sigmoid": Case("domain = sampled(ch, [0, 1]), normalize = sigmoid, outputs = [slot_weights]"),
    "mixed": Case(f"domain = sampled(ch, 1), {MIXED}, outputs = [slot_weights]"),
    "mixed, of shared keys": Case(f"domain = sampled(c, 1), {MIXED}", keys=(4, 4), groups=1),
    "mixed, without a radius": Case(f"domain = sampled(ch, 0), {MIXED}", (2, 2, 3)),
    "mixed, in a row": Case("domain = sampled(c, 2), normalize = bilinear", (11,), width=20),
    "mixed and gated": Case(
        f"domain = sampled(c, 1), {MIXED}, mask = jy != 1, outputs = [slot_weights], "
        "post = w * t[h, slot] + 0.1 * gate[b, j]"
    ),
}
HALF = ["fractions", "mixed"]


def inputs(site: Site, harness: Harness, dtype: torch.dtype) -> list[Tensor]:
    """Return arguments with centres all over the map, some of them outside."""
    given = harness.inputs(site, {"b": 1}, dtype)
    return [
        ((x * 1.5).to(dtype).double() + 1.0 if x.shape[-1] < 4 else x)
        if x.is_floating_point() else x
        for x in given
    ]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_float32(name: str, harness: Harness) -> None:
    site, dtype = CASES[name].site(harness), torch.float32
    harness.check_interpreted(site, TILE, dtype, inputs(site, harness, dtype))


@pytest.mark.parametrize("name", HALF)
def test_float16(name: str, harness: Harness) -> None:
    site, dtype = CASES[name].site(harness), torch.float16
    harness.check_interpreted(site, TILE, dtype, inputs(site, harness, dtype))


def test_every_run_gives_the_same(harness: Harness) -> None:
    site = CASES["mixed"].site(harness)
    entry, given = harness.interpreted(site, TILE), inputs(site, harness, torch.float32)
    first, again = (harness.run(entry, given, torch.float32) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


def test_launchers_give_what_operators_announce(harness: Harness) -> None:
    """Shapes, dtypes and strides, for the backward pass as well."""
    site = Case(
        "domain = sampled(c, 0), normalize = bilinear, outputs = [slot_weights]", (2,)
    ).site(harness)
    harness.interpreted(site, TILE)
    names = vars(harness.module(site))
    given = [x.float() for x in inputs(site, harness, torch.float32)]
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(names["attend_op"]._opoverload, tuple(given), test_utils=checks)
    grads = names["attend_op"](*given)
    backward = names["attend_backward_op"]._opoverload
    for wanted in ([False, False], [True, False]):
        torch.library.opcheck(backward, (*grads, *given, wanted), test_utils=checks)


def test_the_cpu_has_the_reference_s_results_and_gradients(harness: Harness) -> None:
    site = CASES["mixed and gated"].site(harness)
    kernel = TritonBackend(ReferenceBackend()).build(site, TARGET)
    given = inputs(site, harness, torch.float64)
    ours, theirs = (
        harness.run(entry, given, torch.float64)
        for entry in (vars(harness.load(site, kernel))["attend"], function(site))
    )
    assert all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Case("domain = sampled(c, 1), outputs = [slot_weights]"),
         "slot_weights by softmax are known after the last slot only"),
        (Case("domain = sampled(c, 4), normalize = bilinear"),
         "corners share a tile of the whole box, at most 64 slots; it has 100"),
        (Case("domain = sampled(c, 1), normalize = bilinear, post = w ** 2"), "not linear in w"),
        (Case("domain = sampled(c, 1), normalize = bilinear, outputs = [weights]"),
         "weights are asked for"),
    ],
)  # fmt: skip
def test_it_says_why_it_cannot(case: Case, reason: str, harness: Harness) -> None:
    answer = TritonBackend().can(case.site(harness), TARGET)
    assert isinstance(answer, No)
    assert any(reason in each for each in answer.reasons), answer.reasons


def test_the_plan_says_what_it_does(harness: Harness) -> None:
    answer = TritonBackend().can(CASES["mixed"].site(harness), TARGET)
    assert isinstance(answer, Yes)
    assert "the centre learns through their fractions" in answer.reasons[0]
    assert "the rows of its own 16 keys" in answer.reasons[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_on_the_gpu(name: str, dtype: torch.dtype, harness: Harness) -> None:
    site = CASES[name].site(harness)
    given = [x.cuda() for x in inputs(site, harness, dtype)]
    harness.check(vars(harness.module(site))["attend"], site, dtype, given)

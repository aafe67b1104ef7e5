"""Linear attention by sums of k^T v in Triton's interpreter, against float64 by the rule of error.

Lengths are no multiples of a chunk; long ones are walked in several parts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import torch

import attnc
from attnc.backends.triton import TritonBackend
from attnc.backends.triton.configs import CAPABILITIES
from attnc.backends.triton.linear.configs import KINDS, SAFE, TILES
from attnc.backends.triton.linear.template import is_linear, takes
from attnc.compiler.kernel import Site, Target, Yes
from attnc.compiler.plan import SitePlan

if TYPE_CHECKING:
    from tests.backends.conftest import Harness

torch.set_num_threads(1)

TARGET = Target("cuda", "90")


@dataclass(frozen=True)
class Case:
    """An `attend(...)` and the sizes to run it at.

    Attributes:
        call: its arguments after q, k, v.
        tensors: captured tensors.
        dims: widths of q and v.
        n, m: numbers of queries and keys.
        groups: heads of k and v, of 2 heads of q.
        b: of the batch.
        tile: rows of a chunk and columns of what a program writes.
    """

    call: str
    tensors: Mapping[str, str] = field(default_factory=dict)
    dims: tuple[int, int] = (16, 16)
    n: int = 50
    m: int | None = None
    groups: int = 2
    b: int = 1
    tile: tuple[int, int] = (32, 32)

    def site(self) -> Site:
        """Return the site, its lengths symbolic."""
        from tests.backends.conftest import Harness

        m = "n" if self.m is None else "m"
        d, e = self.dims
        streams = {
            "q": f"[b, 2, n, {d}]", "k": f"[b, {self.groups}, {m}, {d}]",
            "v": f"[b, {self.groups}, {m}, {e}]",
        }  # fmt: skip
        return Harness.site(f"attend(q, k, v, {self.call})", {**streams, **self.tensors})

    @property
    def sizes(self) -> dict[str, int]:
        """Values of the symbols."""
        return {"b": self.b, "n": self.n, "m": self.m or self.n}


FADING = "domain=causal, score=qk * exp(-heat[h] * (i - j))"
CASES = {
    "causal": Case("domain=causal, normalize=none, scale=1"),
    "fading, its rate learned": Case(f"{FADING}, normalize=none", {"heat": "[2]"}),
    "powers": Case(
        "domain=causal, normalize=none, score=qk * scale * (1 - 0.5 ** (3 + h)) ** (i - j)"
    ),
    "causal ratio, its scale learned": Case(
        "domain=causal, normalize=ratio(floor=0.5), score=qk * heat[h]", {"heat": "[2]"}
    ),
    "ratio in parts, its rate learned": Case(
        f"{FADING.replace('[h]', '[b, h]')}, normalize=ratio(eps=1e-3, floor=0.5)",
        {"heat": "[b, 2]"}, (16, 24), n=134, tile=(16, 16),
    ),
    "wide keys, its rate learned": Case(
        f"{FADING}, normalize=ratio(eps=1e-3)", {"heat": "[2]"}, (80, 16), n=40, tile=(16, 16)
    ),
    "all": Case("normalize=none, score=qk * 0.25", dims=(16, 24), n=37, m=75),
    "all ratio, masked, shared keys": Case(
        "normalize=ratio(floor=0.5), score=qk * 0.25, mask=keep[b, j]", {"keep": "[b, m] bool"},
        (24, 16), n=37, m=75, groups=1, b=2,
    ),
}  # fmt: skip
HALF = ("fading, its rate learned", "all ratio, masked, shared keys")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, torch.float32) for name in CASES] + [(name, torch.float16) for name in HALF],
)
def test_results_and_gradients(name: str, dtype: torch.dtype, harness: Harness) -> None:
    case = CASES[name]
    site = case.site()
    assert takes(site)
    entry = harness.interpreted(site, case.tile)
    harness.check(entry, site, dtype, harness.inputs(site, case.sizes, dtype))


def test_repeats_are_the_same_bits(harness: Harness) -> None:
    case = CASES["all ratio, masked, shared keys"]
    site = case.site()
    entry = harness.interpreted(site, case.tile)
    given = harness.inputs(site, case.sizes, torch.float32)
    one, other = (harness.run(entry, given, torch.float32) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_sums_may_leave_the_range_of_float16(harness: Harness) -> None:
    case = Case("normalize=ratio, scale=1", n=40)
    site = case.site()
    entry = harness.interpreted(site, case.tile)
    q, k, v = (
        torch.full((1, 2, 40, 16), value, dtype=torch.float16) for value in (0.25, 40.0, 60.0)
    )
    assert float((k.mT.float() @ v.float()).max()) > torch.finfo(torch.float16).max
    out = entry(q, k, v)
    assert isinstance(out, torch.Tensor) and torch.equal(out, v)


def test_operators_pass_torch_s_own_checks(harness: Harness) -> None:
    from attnc.backends.reference import ReferenceBackend

    site = CASES["fading, its rate learned"].site()
    names = vars(harness.load(site, TritonBackend(ReferenceBackend()).build(site, TARGET)))
    exact = harness.inputs(site, {"b": 1, "n": 9}, torch.float32)
    given = [x.float().requires_grad_() for x in exact]
    rate = -given[-1].detach().expand(1, 2).clone().requires_grad_()
    torch.library.opcheck(names["attend_core_op"]._opoverload, (*given[:3], rate))
    harness.check(names["attend"], site, torch.float32, exact)


# Choice ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Case("domain=causal, normalize=none, score=qk * heat[h] ** (i - j)", {"heat": "[2]"}),
         "the base of its decay is not known to be positive"),
        (Case("domain=causal, normalize=none, mask=i - j < 9"), "differs between queries"),
        (Case("normalize=none, score=qk * exp(0.1 * (i - j))"),
         "a decay without an order of time does not split into factors"),
    ],
)  # fmt: skip
def test_pairs_are_computed_where_sums_do_not_serve(case: Case, reason: str) -> None:
    answer = TritonBackend().can(case.site(), TARGET)
    assert isinstance(answer, Yes)
    assert any(reason in each for each in answer.reasons)
    assert "_forward_step" in TritonBackend().build(case.site(), TARGET).source


@pytest.mark.parametrize(
    "call", ["normalize=none, score=qk * qk", "scale=1", "normalize=none, score=qk + 1"]
)
def test_other_scores_are_none_of_its_business(call: str) -> None:
    assert not is_linear(Case(call).site())


LIBRARY = """model m {
 input x: [b, n, 64]
 input q: [b, 4, n, 16]
 input slope: [4]
 a = lightning_attention(q, q, q, slope) @a
 c = retention(x, heads=4) @c
 d = linear_attention(x, x, heads=4) @d
 e = linear_attention(x, x, heads=4, pattern="causal self") @e
 f = cosformer_attention(x, x, heads=4) @f
 g = random_feature_attention(x, x, heads=4, features=16) @g
 output y = a
 output z = c + d + e + f + g
}"""


def test_the_library_s_linear_attentions_are_computed_by_sums() -> None:
    plan = attnc.plan(attnc.loads(LIBRARY, "m.attn"), target="cuda:90")
    assert len(plan.sites) == 6
    assert all(map(_by_sums, plan.sites))


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("lightning_tnl", "lightning_attention"),
        ("lightning_tnl_attention", "lightning_attention"),
        ("cab_cosformer", "cosformer_attention"),
        ("cab_performer", "random_feature_attention"),
    ],
)
def test_the_zoo_s_linear_attentions_are_computed_by_sums(name: str, block: str) -> None:
    plan = attnc.plan(attnc.load(f"zoo:{name}"), target="cuda:90")
    sites = [each for each in plan.sites if each.site.name.startswith(block)]
    assert sites and all(map(_by_sums, sites))


def _by_sums(plan: SitePlan) -> bool:
    chosen = next(each for each in plan.verdicts if each.chosen)
    return chosen.backend == "triton" and chosen.reasons[0].startswith("O(n)")


# Machine code ---------------------------------------------------------------------------------

SCRIPT = """
import json, sys
from attnc.backends.triton.crosscompile import cross_compile, over_budget
from attnc.backends.triton.examples import fading
from attnc.compiler.targets import parse_target

target = parse_target(sys.argv[1])
made = cross_compile(fading(64), target)
print(json.dumps({name: over_budget(found, target) for name, found in made.items()}))
"""


@pytest.mark.parametrize("target", ["cuda:90", "hip:gfx942"])
def test_kernels_are_within_budget(target: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, target],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert {*made} == {
        "key_sums", "forward", "queries", "query_sums", "keys", "values", "rates",
    }  # fmt: skip
    assert not any(made.values()), made


@pytest.mark.parametrize("target", CAPABILITIES)
def test_the_table_covers_every_head_dim(target: str) -> None:
    for table in (TILES[target], SAFE):
        assert [*table] == [32, 64, 128, 256]
        for tiles in table.values():
            assert [*tiles] == [*KINDS]
            # tl.dot takes 16 at least
            assert all({tile.queries, tile.keys} <= {16, 32, 64, 128} for tile in tiles.values())

"""Keys gathered for each query get the plan of a routed domain, and its numbers."""

from __future__ import annotations

import pytest
import torch

import attnc
from attnc.api import Compilation
from attnc.compiler.kernel import Site

torch.set_num_threads(1)

HEAD = """model m() {
  input q: [b, 2, 128, 4]
  input k: [b, 2, 512, 4]
  input v: [b, 2, 512, 3]
  gain = exp(param([2], "zeros") @gain)
  affinity = matmul(q, transpose(k))
"""
ONE = "  index = topk(mean(affinity, axis=1), 5).index\n"
EACH = "  index = topk(affinity, 5).index\n"
ROUTED = "  output o = attend(q, k, v, score=qk * gain[h], domain=routed(index))\n}"
GATHERED = """  at = rearrange(index, "b n s -> b 1 n s 1")
  ks = gather(rearrange(k, "b h m d -> b h 1 m d"), at, axis=3)
  vs = gather(rearrange(v, "b h m d -> b h 1 m d"), at, axis=-2)
  o = attend(
    rearrange(q, "b h n d -> (b n) h 1 d"), rearrange(ks, "b h n s d -> (b n) h s d"),
    rearrange(vs, "b h n s d -> (b n) h s d"), score=qk * gain[h]
  )
  output o = rearrange(o, "(b n) h 1 d -> b h n d", n=128)
}"""
OF_HEADS = GATHERED.replace('"b n s -> b 1 n s 1"', '"b h n s -> b h n s 1"')
BY_HAND = {"one index": (ONE + GATHERED, ONE + ROUTED), "by head": (EACH + OF_HEADS, EACH + ROUTED)}


def sites(body: str, target: str = "cpu") -> list[Site]:
    plan = Compilation(attnc.check(attnc.loads(HEAD + body)), target).plan
    return [each.site for each in plan.sites]


@pytest.mark.parametrize("case", BY_HAND)
def test_the_plan_is_that_of_the_routed_domain(case: str) -> None:
    by_hand, primitive = BY_HAND[case]
    assert sites(by_hand) == sites(primitive)


@pytest.mark.parametrize("case", BY_HAND)
def test_the_numbers_are_those_of_gathered_keys(case: str) -> None:
    torch.manual_seed(0)
    given = [
        torch.randn(2, 2, tokens, width).double()
        for tokens, width in ((128, 4), (512, 4), (512, 3))
    ]
    found, expected = (
        attnc.compile(attnc.loads(HEAD + BY_HAND[case][0]), target=target).double()(*given)
        for target in ("cpu", "reference")
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "body",
    [
        # A key that may stand twice, the place of a key among those gathered, two indices.
        ONE + "  index = index // 2\n" + GATHERED,
        ONE + GATHERED.replace("qk * gain[h]", "qk * gain[h] + j"),
        ONE + "  other = topk(mean(-affinity, axis=1), 5).index\n"
        + '  too = rearrange(other, "b n s -> b 1 n s 1")\n'
        + GATHERED.replace("at, axis=-2", "too, axis=-2"),
    ],
)  # fmt: skip
def test_other_gathers_stay(body: str) -> None:
    assert "RoutedKeys" not in repr(sites(body))

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
EARLY_HEAD = """model m() {
  input x: [b, 512, 24]
  index = topk(matmul(x, transpose(x)), 5).index
"""
TAIL = """  q = rearrange(linear(x, 24) @q, {})
  o = rearrange(attend(q, k, v{}), {} -> b n (h e)"{})
  output o = o
}}"""
EARLY = """  near = layer_norm(gather(unsqueeze(x, 1), unsqueeze(index, -1), axis=2)) @norm
  k, v = unbind(rearrange(linear(near, 48) @kv, "b n s (p h e) -> p (b n) h s e", p=2, h=2))
""" + TAIL.format('"b n (h e) -> (b n) h 1 e", h=2', "", '"(b n) h 1 e', ", n=512")
LATE = """  near = layer_norm(x) @norm
  k, v = unbind(rearrange(linear(near, 48) @kv, "b m (p h e) -> p b h m e", p=2, h=2))
""" + TAIL.format('"b n (h e) -> b h n e", h=2', ", domain=routed(index)", '"b h n e', "")


def sites(body: str, target: str = "cpu", head: str = HEAD) -> list[Site]:
    plan = Compilation(attnc.check(attnc.loads(head + body)), target).plan
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


def test_keys_may_be_gathered_before_they_are_projected() -> None:
    assert sites(EARLY, head=EARLY_HEAD) == sites(LATE, head=EARLY_HEAD)
    torch.manual_seed(0)
    x = torch.randn(2, 512, 24).double()
    made = [
        attnc.compile(attnc.loads(EARLY_HEAD + EARLY), target=target).double()
        for target in ("cpu", "reference")
    ]
    made[1].load_state_dict(made[0].state_dict())
    torch.testing.assert_close(made[0](x), made[1](x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "body",
    [
        # Another reader of what is projected, and fewer tokens gathered than there are.
        EARLY.replace("output o = o", "output o = o + mean(near)"),
        EARLY.replace("index, -1)", "index[:, :1], -1)").replace("n=512", "n=1")
        .replace("linear(x, 24)", "linear(x[:, :1], 24)"),
    ],
)  # fmt: skip
def test_other_early_gathers_stay(body: str) -> None:
    assert "RoutedKeys" not in repr(sites(body, head=EARLY_HEAD))

"""Two streams that read each other by one score get the plan of both, and its numbers."""

from __future__ import annotations

import pytest
import torch

import attnc
from attnc.api import Compilation
from attnc.compiler.kernel import Site

torch.set_num_threads(1)

SIZES = {"b": 2, "n": 64, "m": 1024}
HEAD = """model m() {
  input q: [b, 2, 64, 16]
  input k: [b, 2, m, 16]
  input v: [b, 2, m, 16]
  input u: [b, 2, 64, 16]
"""
TAIL = "\n  output o = o\n  output back = back\n}"
PRIMITIVE = "  o, back = attend(q, k, v, vq=u, normalize=softmax(keys, queries))"
REVERSED = "  back, o = attend(k, q, u, vq=v, normalize=softmax(keys, queries))"
BY_HAND = {
    "one after the other": "  o = attend(q, k, v)\n  back = attend(k, q, u)",
    "the many first": "  back = attend(k, q, u)\n  o = attend(q, k, v)",
    "values made between": "  o = attend(q, k, v)\n  back = attend(k, q, silu(u))",
    "one map": "  o, s = attend(q, k, v, outputs=[scores])\n"
    "  back = attend(scores=transpose(s), v=u)",
}


def sites(body: str, target: str) -> list[Site]:
    spec = attnc.loads(HEAD + body + TAIL)
    return [each.site for each in Compilation(attnc.check(spec), target, SIZES).plan.sites]


@pytest.mark.parametrize("case", BY_HAND)
def test_the_plan_is_that_of_both_normalisers(case: str) -> None:
    primitive = REVERSED if case == "the many first" else PRIMITIVE
    assert sites(BY_HAND[case], "cuda:90") == sites(primitive, "cuda:90")


@pytest.mark.parametrize("case", BY_HAND)
def test_the_numbers_are_those_of_two_attentions(case: str) -> None:
    torch.manual_seed(0)
    shapes = ((2, 2, 64, 16), (2, 2, 100, 16), (2, 2, 100, 16), (2, 2, 64, 16))
    given = [torch.randn(shape).double() for shape in shapes]
    spec = attnc.loads(HEAD + BY_HAND[case] + TAIL)
    found, expected = (
        attnc.compile(spec, target=target).double()(*given) for target in ("cuda:90", "reference")
    )
    for name in ("o", "back"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "body",
    [
        "  o = attend(q, k, v)\n  back = attend(k, q, u + o)",
        "  o = attend(q, k, v)\n  back = attend(k, q, u, scale=0.5)",
        "  o = attend(q, k, v)\n  back = attend(k, q * 2, u)",
        "  o = attend(q, k, v)\n  back = attend(k, q, u, domain=causal)",
        "  o = attend(q, k, v)\n  back = attend(k, q, u + mean(silu(o)))",
    ],
)
def test_attentions_of_two_scores_stay_two(body: str) -> None:
    assert len(sites(body, "cuda:90")) == 2


def test_two_stay_two_where_torch_fuses_each() -> None:
    assert len(sites(BY_HAND["one after the other"], "cpu")) == 2


def test_two_become_one_on_a_cpu_where_neither_is_fused() -> None:
    """A bias of all pairs takes both out of torch's own attention; tiles serve both at once."""
    nearer = (
        "  o = attend(q, k, v, score=qk * 0.25 - 0.1 * abs(i - j))\n"
        "  back = attend(k, q, u, score=qk * 0.25 - 0.1 * abs(j - i))"
    )
    assert len(sites(nearer, "cpu")) == 1

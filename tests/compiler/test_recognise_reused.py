"""A map of scores or weights that a second attention alone reads is not stored."""

from __future__ import annotations

import re

import pytest
import torch

import attnc
from attnc.api import Compilation
from attnc.compiler.kernel import Site

torch.set_num_threads(1)

SIZES = {"b": 2, "n": 300, "m": 260}
PORTS = "q: [b, 2, n, 4], k: [b, 2, m, 4], v: [b, 2, m, 3]"
SHAPES = {
    "q": "[b, 2, n, 4]", "k": "[b, 2, m, 4]", "v": "[b, 2, m, 3]", "u": "[b, 2, n, 5]",
    "bias": "[2, n, m]",
}  # fmt: skip


def model(body: str, blocks: str = "") -> str:
    """Return a model with the inputs that its body reads."""
    used = [name for name in SHAPES if re.search(rf"\b{name}\b(?!:)", body)]
    inputs = "\n".join(f"  input {name}: {SHAPES[name]}" for name in used)
    return f"model m() {{\n{inputs}\n{blocks}  {body}\n}}"


BY_HAND = {
    "scores": (
        model("o, s = attend(q, k, v, outputs=[scores])\n"
              "  output y = o\n  output z = attend(scores=transpose(s), v=u + mean(o))"),
        model("o = attend(q, k, v)\n  output y = o\n  output z = attend(k, q, u + mean(o))"),
    ),
    "scores read as they are": (
        model("o, s = attend(q, k, v, outputs=[scores])\n"
              "  output y = o\n  output z = attend(scores=s, v=v + mean(o))"),
        model("o = attend(q, k, v)\n"
              "  output y = o\n  output z = attend(q, k, v + mean(o))"),
    ),
    "weights": (
        model("o, w = attend(q, k, v, outputs=[weights])\n"
              "  output y = o\n  output z = attend(weights=transpose(w), v=u)"),
        model("o = attend(q, k, v)\n"
              "  output y = o\n  output z = attend(k, q, u, normalize=softmax(queries))"),
    ),
    "scores with a bias": (
        model("o, s = attend(q, k, v, score=qk + bias[h, i, j], outputs=[scores])\n"
              "  output y = o\n  output z = attend(scores=transpose(s), v=u)"),
        model("o = attend(q, k, v, score=qk + bias[h, i, j])\n"
              "  output y = o\n  output z = attend(k, q, u, score=qk + bias[h, j, i])"),
    ),
    "in blocks": (
        model("o, s = first(q, k, v)\n  output y = o\n  output z = second(s, u)", f"""
  block first({PORTS}) -> [b, 2, n, 3], [b, 2, n, m] {{
    o, s = attend(silu(q), k, v, outputs=[scores])
    return o, s
  }}
  block second(s: [b, h, n, m], u: [b, h, n, d]) -> [b, h, m, d] {{
    return attend(scores=transpose(s), v=u)
  }}
"""),
        model("o = attend(silu(q), k, v)\n  output y = o\n  output z = attend(k, silu(q), u)"),
    ),
}  # fmt: skip


def sites(text: str, target: str) -> list[Site]:
    plan = Compilation(attnc.check(attnc.loads(text)), target, SIZES).plan
    return [each.site for each in plan.sites]


def unnamed(found: list[Site]) -> list[tuple[object, ...]]:
    return [(each.attention, each.q, each.sources, each.tensors) for each in found]


@pytest.mark.parametrize("case", BY_HAND)
@pytest.mark.parametrize("target", ["cpu", "cuda:90"])
def test_the_second_attention_computes_the_product_again(case: str, target: str) -> None:
    by_hand, primitive = (sites(each, target) for each in BY_HAND[case])
    assert unnamed(by_hand) == unnamed(primitive)
    assert all("scores" not in each.attention.outputs for each in by_hand)


@pytest.mark.parametrize("case", BY_HAND)
def test_the_numbers_are_those_of_the_stored_map(case: str) -> None:
    by_hand, _ = BY_HAND[case]
    torch.manual_seed(0)
    types = attnc.check(attnc.loads(by_hand)).inputs.values()
    given = [
        torch.randn([SIZES.get(str(size), 0) or int(str(size)) for size in each.shape]).double()
        for each in types
    ]
    for operand in given:
        operand.requires_grad_()
    results = []
    for target in ("cpu", "reference"):
        found = attnc.compile(attnc.loads(by_hand), target=target).double()(*given)
        y, z = found["y"], found["z"]
        loss = (y**2).sum() + (z**3).sum()
        results.append([y, z, *torch.autograd.grad(loss, given)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "body",
    [
        "o, s = attend(q, k, v, outputs=[scores])\n"
        "  output y = attend(scores=transpose(s), v=u) + mean(s)",
        "o, s = attend(q, k, v, domain=causal, outputs=[scores])\n"
        "  output y = attend(scores=transpose(s), v=u)",
        "o, w = attend(q, k, v, post=w * 2, outputs=[weights])\n"
        "  output y = attend(weights=transpose(w), v=u)",
        "o, w = attend(q, k, v, normalize=softmax(keys, sink=0), outputs=[weights])\n"
        "  output y = attend(weights=transpose(w), v=u)",
        "o, s = attend(q, k, v, outputs=[scores])\n"
        "  y, t = attend(scores=transpose(s), v=u, outputs=[weights])\n"
        "  output y = y\n  output t = t",
    ],
)
def test_other_maps_stay(body: str) -> None:
    found = sites(model(body + "\n  output first = o"), "cuda:90")
    assert [each.attention.given for each in found] == [False, True]


def test_maps_of_few_pairs_stay() -> None:
    text, _ = BY_HAND["weights"]
    few = {"b": 2, "n": 8, "m": 6}
    for name, size in few.items():
        text = re.sub(rf"(?<=[\[ ]){name}(?=[,\]])", str(size), text)
    plan = Compilation(attnc.check(attnc.loads(text)), "cpu").plan
    assert [each.site.attention.given for each in plan.sites] == [False, True]


@pytest.mark.parametrize("target", ["cpu", "tiled", "cuda:90"])
def test_lookupvit_stores_no_scores(target: str) -> None:
    plan = Compilation(attnc.check("zoo:lookupvit"), target).plan
    by_name = {each.site.name: each for each in plan.sites}
    for name in ("gathering", "infusion"):
        assert by_name[name].site.attention.outputs == ("out",)
        assert not by_name[name].site.attention.given
        assert by_name[name].chosen != "reference"

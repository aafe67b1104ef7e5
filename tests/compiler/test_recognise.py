"""Attentions composed by hand get the plan of the primitive, and its numbers."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

import attnc
from attnc.api import Compilation
from attnc.compiler.kernel import Site

torch.set_num_threads(1)

SHAPES = {
    "q": "[b, 2, n, 4]", "k": "[b, 2, m, 4]", "v": "[b, 2, m, 3]", "bias": "[2, n, m]",
    "keep": "[b, 1, 1, m] bool", "k2": "[b, 2, p, 4]", "v2": "[b, 2, p, 3]", "t": "[b, n, 4]",
    "c": "[b, m, 4]", "u": "[b, m, 3]", "gain": "[2, 1, 1]",
}  # fmt: skip
SIZES = {"b": 2, "n": 5, "m": 7, "p": 3}

BY_HAND = {
    "plain": (
        "matmul(softmax(matmul(q, transpose(k)) * 0.5), v)",
        "attend(q, k, v)",
    ),
    "scaled first": (
        "matmul(softmax(matmul(q * 0.5, transpose(k))), v)",
        "attend(q, k, v)",
    ),
    "divided": (
        "matmul(softmax(matmul(q, transpose(k, 2, 3)) / 2, axis=-1), v)",
        "attend(q, k, v)",
    ),
    "keys turned by another way": (
        'matmul(softmax(matmul(q, rearrange(k, "b h m e -> b h e m")) / 2), v)',
        "attend(q, k, v)",
    ),
    "bias": (
        "matmul(softmax(0.5 * matmul(q, transpose(k)) + bias), v)",
        "attend(q, k, v, score = 0.5 * qk + bias[h, i, j])",
    ),
    "gain and bias": (
        "matmul(softmax(bias - gain * matmul(q, transpose(k))), v)",
        "attend(q, k, v, score = bias[h, i, j] - gain[h, 0, 0] * qk)",
    ),
    "filled": (
        "matmul(softmax(masked_fill(matmul(q, transpose(k)) * 0.5, keep, -1e9)), v)",
        "attend(q, k, v, score = where(keep[b, 0, 0, j], -1e9, qk * 0.5))",
    ),
    "low score": (
        "matmul(softmax(where(keep, matmul(q, transpose(k)) * 0.5, -1e9)), v)",
        "attend(q, k, v, score = where(keep[b, 0, 0, j], qk * 0.5, -1e9))",
    ),
    "over queries": (
        "matmul(softmax(matmul(q, transpose(k)) * 0.5, axis=-2), v)",
        "attend(q, k, v, normalize = softmax(queries))",
    ),
}


def spec(expression: str) -> str:
    inputs = [name for name in SHAPES if re.search(rf"\b{name}\b", expression)]
    lines = "\n".join(f"  input {name}: {SHAPES[name]}" for name in inputs)
    return f"model m() {{\n{lines}\n  o = {expression}\n  output y = o\n}}"


def sites(expression: str, target: str) -> list[Site]:
    plan = Compilation(attnc.check(attnc.loads(spec(expression))), target, SIZES).plan
    return [each.site for each in plan.sites]


def operands(expression: str) -> list[Tensor]:
    torch.manual_seed(0)
    made = []
    for type_ in attnc.check(attnc.loads(spec(expression))).inputs.values():
        shape = [SIZES.get(str(size), size) for size in type_.shape]
        tensor = torch.randn([int(str(size)) for size in shape]).double()
        made.append(tensor > -1 if type_.dtype == "bool" else tensor)
    return made


@pytest.mark.parametrize("case", BY_HAND)
@pytest.mark.parametrize("target", ["cpu", "cuda:90"])
def test_the_plan_is_that_of_the_primitive(case: str, target: str) -> None:
    by_hand, primitive = (sites(each, target) for each in BY_HAND[case])
    assert len(by_hand) == 1
    found, meant = by_hand[0], primitive[0]
    assert found.attention.sources[0].score == meant.attention.sources[0].score
    assert found == meant


@pytest.mark.parametrize("case", BY_HAND)
def test_the_numbers_are_those_of_the_products(case: str) -> None:
    by_hand, _ = BY_HAND[case]
    given = operands(by_hand)
    names = [*attnc.check(attnc.loads(spec(by_hand))).inputs]
    known = dict(zip(names, given, strict=True))
    found = attnc.compile(attnc.loads(spec(by_hand))).double()(*given)
    scores = known["q"] @ known["k"].transpose(-2, -1) * 0.5
    if case == "bias":
        scores = scores + known["bias"]
    if case == "gain and bias":
        scores = known["bias"] - known["gain"] * scores * 2
    if "keep" in known:
        hidden = known["keep"] if case == "filled" else ~known["keep"]
        scores = scores.masked_fill(hidden, -1e9)
    weights = scores.softmax(-2 if case == "over queries" else -1)
    torch.testing.assert_close(found, weights @ known["v"], rtol=1e-12, atol=1e-12)


def test_a_single_head_without_its_axis() -> None:
    text = "matmul(softmax(matmul(t, transpose(c)) * 0.5), u)"
    (site,) = sites(text, "cpu")
    assert str(site.q) == "[b, 1, n, 4]"
    t, c, u = operands(text)
    found = attnc.compile(attnc.loads(spec(text))).double()(t, c, u)
    torch.testing.assert_close(found, (t @ c.mT / 2).softmax(-1) @ u)


@pytest.mark.parametrize(
    "expression",
    [
        "matmul(softmax(matmul(q, transpose(k)), axis=1), v)",
        "matmul(log_softmax(matmul(q, transpose(k))), v)",
        "matmul(softmax(exp(matmul(q, transpose(k)))), v)",
        "matmul(softmax(bias), v)",
    ],
)
def test_what_is_no_attention_stays(expression: str) -> None:
    assert sites(expression, "cpu") == []


def test_weights_that_are_read_elsewhere_stay() -> None:
    text = spec("matmul(softmax(matmul(q, transpose(k))), v)").replace(
        "o = matmul(softmax(matmul(q, transpose(k))), v)",
        "w = softmax(matmul(q, transpose(k)))\n  o = matmul(w, v)\n  output maps = w",
    )
    plan = Compilation(attnc.check(attnc.loads(text)), "cpu", SIZES).plan
    assert plan.sites == ()


def test_each_distinct_block_is_recognised_once_and_keeps_its_weights() -> None:
    text = """model m(depth = 3, d = 8) {
      input x: [b, n, d]
      block layer(x: [b, n, d]) -> [b, n, d] {
        q, k, v = split(linear(x, 3 * d) @qkv, 3, axis=-1)
        return x + linear(matmul(softmax(matmul(q, transpose(k)) / sqrt(d)), v), d) @proj
      }
      repeat depth { x = layer(x) @layers }
      output y = x
    }"""
    plan = Compilation(attnc.check(attnc.loads(text))).plan
    model = attnc.compile(attnc.loads(text)).double()
    assert [(each.calls, each.chosen) for each in plan.sites] == [(3, "sdpa")]
    x = torch.randn(2, 5, 8).double()
    expected = x
    for at in range(3):
        qkv, proj = (model.get_submodule(f"layers.{at}.{name}") for name in ("qkv", "proj"))
        q, k, v = qkv(expected).chunk(3, -1)
        expected = expected + proj((q @ k.mT / 8**0.5).softmax(-1) @ v)
    torch.testing.assert_close(model(x), expected)


JOINED = "attend(q, concat(k, k2, axis=2), concat(v, v2, axis=-2))"
SOURCES = "attend(q, [source(k, v), source(k2, v2)])"


def test_joined_keys_are_sources_where_kernels_stream_them() -> None:
    assert sites(JOINED, "cuda:90") == sites(SOURCES, "cuda:90")
    assert len(sites(JOINED, "cpu")[0].sources) == 1
    q, k, v, k2, v2 = operands(JOINED)
    model = attnc.compile(attnc.loads(spec(JOINED)), target="cuda:90").double()
    keys, values = torch.cat((k, k2), 2), torch.cat((v, v2), 2)
    torch.testing.assert_close(model(q, k, v, k2, v2), (q @ keys.mT / 2).softmax(-1) @ values)


def test_joined_keys_whose_place_counts_stay_joined() -> None:
    text = JOINED.removesuffix(")") + ", domain = causal)"
    assert len(sites(text, "cuda:90")[0].sources) == 1

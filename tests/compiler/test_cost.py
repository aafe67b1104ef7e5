from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from attnc.backends.reference import function
from attnc.compiler import cost
from attnc.compiler.cost import Flops, activation_bytes, flops, macs, model_flops, site_flops
from attnc.compiler.kernel import Site
from attnc.compiler.lower import lower
from attnc.compiler.materialise import materialise
from attnc.compiler.pairs import Pairs, pairs
from attnc.dsl import scorelang
from attnc.dsl.attention import (
    All,
    Attention,
    Band,
    Causal,
    Constant,
    Coordinate,
    Domain,
    Dot,
    Load,
    Source,
    Where,
)
from attnc.dsl.diagnostics import UsageError
from attnc.dsl.dims import symbol
from attnc.dsl.graph import Graph

if TYPE_CHECKING:
    from tests.compiler.conftest import Block

torch.set_num_threads(1)
add = partial(scorelang.make, "add")
QUERY, KEY = Coordinate("i"), Coordinate("j")


def convnet(block: type[Block], depth: int = 2, domain: Domain | None = None) -> Graph:
    """Convolution, attention with two streams, matmul, linear, several times over."""
    inner = block("layer", x=("b", 8, "h", "w"))
    x = inner.op("conv2d", inner["x"], 8, 3, padding=1, groups=2, module="conv")
    q = inner.op("rearrange", x, "b (n e) h w -> b n (h w) e", n=2)
    (o,) = inner.attend(q, q, q, domain=domain)
    mixed = inner.op("matmul", inner.op("matmul", o, inner.op("transpose", o)), o)
    tokens = inner.op("rearrange", mixed, "b n t e -> b t (n e)")
    tokens = inner.op("gelu", inner.op("linear", tokens, 8, module="fc"))
    square = inner.op("rearrange", tokens, "b (h w) c -> b c h w", h=symbol("h"))
    body = inner.done(inner.op("add", square, inner["x"]))
    b = block("model", x=("b", 8, "h", "w"))
    y = b["x"]
    for number in range(depth):
        (y,) = b.call(body, y, path=f"layers.{number}")
    return b.graph(y=y)


def test_flops_are_those_that_torch_counts(block: type[Block]) -> None:
    graph = convnet(block)
    module = materialise(lower(graph, function))
    sizes = {"b": 2, "h": 3, "w": 5}
    with FlopCounterMode(display=False) as counter:
        module(torch.randn(2, 8, 3, 5))
    assert flops(graph, sizes) == counter.get_total_flops()
    assert macs(graph, sizes) * 2 == counter.get_total_flops()


def test_attention_counts_the_pairs_of_its_domain(block: type[Block]) -> None:
    sizes = {"b": 2, "h": 3, "w": 5}
    dense, causal = flops(convnet(block), sizes), flops(convnet(block, domain=Causal()), sizes)
    per_pair = 2 * 2 * (2 * 2 * (4 + 4))
    assert dense - causal == per_pair * (15 * 15 - 15 * 16 // 2)


def test_flops_are_a_formula(block: type[Block]) -> None:
    b = block("m", x=("b", 4, "n", 8))
    (o,) = b.attend(b["x"], b["x"], b["x"], domain=Causal())
    formula = model_flops(b.graph(y=b.op("linear", o, 8, module="fc")))
    assert str(formula) == "512*b*n + (128*b)*pairs(n*n where j <= i)"
    assert formula.at({"b": 1, "n": 2}) == 1024 + 128 * 3


def test_training_only_nodes_count_when_asked(block: type[Block]) -> None:
    graph = convnet(block, depth=1)
    for node in graph.body.nodes:
        object.__setattr__(node, "train", True)
    sizes = {"b": 1, "h": 2, "w": 2}
    assert flops(graph, sizes) == 0 < flops(graph, sizes, training=True)


def test_every_size_needs_a_value(block: type[Block]) -> None:
    with pytest.raises(UsageError, match="E403: h, w have no value here"):
        flops(convnet(block), {"b": 1})


def test_bodies_are_counted_once(block: type[Block], monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Site] = []

    def counting(site: Site, every_pair: bool) -> Flops:
        counted.append(site)
        return site_flops(site, every_pair)

    monkeypatch.setattr(cost, "site_flops", counting)
    sizes = {"b": 1, "h": 2, "w": 2}
    many, one = model_flops(convnet(block, depth=500)), model_flops(convnet(block, depth=1))
    assert len(counted) == 2
    assert many.at(sizes) == 500 * one.at(sizes)


def test_activation_bytes_are_those_of_results_that_are_no_views(block: type[Block]) -> None:
    b = block("m", x=("b", 4, 8))
    x = b.op("transpose", b.op("linear", b["x"], 6, module="fc"))
    graph = b.graph(y=b.op("greater", b.op("relu", x), 0.0))
    assert activation_bytes(graph, {"b": 3}) == 3 * 24 * (4 + 4 + 1)
    assert activation_bytes(graph, {"b": 3}, float_bytes=2) == 3 * 24 * (2 + 2 + 1)


# Pairs --------------------------------------------------------------------------------------


def test_pairs_of_bands_are_counted_exactly() -> None:
    random = Random(0)
    for _ in range(400):
        n, m = random.randint(1, 9), random.randint(1, 9)
        left, right = (random.choice([None, *range(-11, 12)]) for _ in range(2))
        counted = sum(
            (left is None or j >= i - left) and (right is None or j <= i + right)
            for i in range(n)
            for j in range(m)
        )
        assert Pairs(n, m, left, right).count({}) == counted


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Source(All(), Dot()), "n*m"),
        (Source(Causal(symbol("m") - symbol("n")), Dot()), "pairs(n*m where j <= i + (m - n))"),
        (Source(Band(3, 2), Dot()), "pairs(n*m where i - 3 <= j and j <= i + 2)"),
        (Source(Where(scorelang.make("le", KEY, QUERY)), Dot()), "pairs(n*m where j <= i)"),
        (Source(All(), Dot(), scorelang.make("lt", KEY, QUERY)), "pairs(n*m where j <= i - 1)"),
        (Source(Causal(), Dot(), Load("mask", (KEY,), "bool")), "pairs(n*m where j <= i)"),
        (Source(Where(Load("mask", (QUERY, KEY), "bool")), Dot()), "n*m"),
        (Source(Causal(), Dot(), scorelang.make("le", QUERY, add(KEY, Constant(4)))),
         "pairs(n*m where i - 4 <= j and j <= i)"),
    ],
)  # fmt: skip
def test_pairs_of_sources(source: Source, expected: str) -> None:
    assert str(pairs(source, symbol("n"), symbol("m"))) == expected


def test_sources_add_up(block: type[Block]) -> None:
    b = block("m", q=("b", 1, 2, 4), k=("b", 1, 3, 4), l=("b", 1, 5, 4))
    attention = Attention((Source(All(), Dot()), Source(Band(0, 0), Dot())))
    (o,) = b.attend(b["q"], b["k"], b["k"], b["l"], b["l"], attention=attention)
    assert flops(b.graph(y=o), {"b": 1}) == 2 * 8 * (2 * 3 + 2)

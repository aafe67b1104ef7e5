"""Generated kernels of gathered rows, for queries with a list of keys each, against float64."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from attnc.backends.triton import TritonBackend
from attnc.backends.triton.gathered.choice import has_lists
from attnc.compiler.kernel import No, Site, Target

if TYPE_CHECKING:
    from tests.backends.conftest import Harness

torch.set_num_threads(1)

TARGET = Target("cuda", "90")
TILE = (16, 4)
INPUTS = {
    "q": "[b, 2, n, 16]", "k": "[b, 2, m, 16]", "v": "[b, 2, m, 16]",
    "q1": "[b, 2, n, 12]", "k1": "[b, 1, m, 12]", "v1": "[b, 1, m, 20]",
    "k2": "[b, 2, p, 16]", "v2": "[b, 2, p, 16]",
    "q3": "[b, 2, 20, 16]", "k3": "[b, 2, 20, 16]", "v3": "[b, 2, 20, 16]",
    "q4": "[b, 2, n, 130]", "k4": "[b, 2, m, 130]", "near": "[b, 20, 3] int",
    "corner": "[2, 3, 5]", "regions": "[b, 5, 2] int",
    "r": "[b, n, 6] int", "by_head": "[b, 2, n, 5] int", "nothing": "[b, n, 0] int",
    "any": "[b, n, c] int",
    "sink": "[2]", "heat": "[2]", "gain": "[b, n]", "gate": "[b, 2, m]", "spread": "[2, n, m]",
    "table": "[2, 40]", "keep": "[b, n, m] bool", "pad": "[b, m] bool",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """An attention as a spec writes it.

    Attributes:
        arguments: of `attend(...)` behind the streams.
        index: of the keys of each query.
        streams: q, k and v, or the sources behind q.
    """

    arguments: str = ""
    index: str = "r"
    streams: str = "q, k, v"

    def site(self, harness: Harness) -> Site:
        """Return the site."""
        domain = "" if "[" in self.streams else f"domain = routed({self.index})"
        call = f"attend({', '.join(filter(None, (self.streams, domain, self.arguments)))})"
        named = call.replace("l1(q, k)", "")
        used = (name for name in INPUTS if re.search(rf"\b{name}\b(?! =|\()", named))
        return harness.site(call, {name: INPUTS[name] for name in used})


CASES = {
    "by query": Case(),
    "by head, masked": Case("mask = pad[b, j], outputs = [lse]", "by_head"),
    "causal": Case("mask = j + 2 <= i", "by_head"),
    "shared keys": Case("", "by_head", "q1, k1, v1"),
    "shared keys and lists": Case("score = qk * heat[h]", "r", "q1, k1, v1"),
    "no keys": Case("outputs = [lse]", "nothing"),
    "by pair, query and key": Case(
        "score = qk * 0.25 * gain[b, i] + spread[h, i, j] + gate[b, h, j]"
    ),
    "table": Case("score = qk * 0.25 + table[h, i - j + 12]", "by_head"),
    "softcap": Case("score = tanh(qk * 0.1) * 5"),
    "distance": Case("score = -l1(q, k) * 0.2"),
    "distance and product": Case("score = qk * 0.2 - heat[h] * l1(q, k)", "by_head", "q1, k1, v1"),
    "learned distance": Case("score = -heat[h] * l1(q, k)", "by_head"),
    "sums of learned distances": Case("join = sum", streams="q, [source(k, v, domain = routed(r), "
        "weight = gain[b, 0], score = -heat[h] * l1(q, k)), source(k2, v2, domain = routed(r))]"),
    "no product": Case("score = spread[h, i, j], post = w * qk"),
    "constant": Case("score = 1.0", streams="q1, k1, v1"),
    "sink": Case("normalize = softmax(keys, sink = sink[h]), outputs = [lse]"),
    "sigmoid": Case("normalize = sigmoid, score = qk * 0.3 + spread[h, i, j]", "by_head"),
    "relu squared": Case("normalize = relu(power = 2)"),
    "none": Case("normalize = none, score = qk * exp(-heat[h] * 0.1 * j)"),
    "ratio": Case("normalize = ratio(eps = 0.1), score = exp(qk * 0.1)"),
    "floor": Case("normalize = ratio(floor = 2.0), score = sigmoid(qk), mask = pad[b, j]"),
    "gate": Case("post = w * gate[b, h, j]", "by_head"),
    "add": Case("post = w * 0.5 + spread[h, i, j], outputs = [lse]"),
    "drop": Case("post = where(keep[b, i, j], w, 0.0) * 1.25"),
    "two sources": Case(streams="q, [source(k, v, domain = routed(r)), "
                        "source(k2, v2, domain = routed(by_head), score = qk * 0.5)]"),
    "a sum": Case("join = sum", streams="q, [source(k, v, domain = routed(r), weight = heat[h]), "
                  "source(k2, v2, domain = routed(r))]"),
    "any number of keys": Case("score = qk + gate[b, h, j]", "any"),
    "beside all of others": Case(streams="q, [source(k, v, domain = routed(r)), source(k2, v2)]"),
    "beside shared keys": Case(
        "outputs = [lse]", streams="q1, [source(k1, v1, domain = causal), "
        "source(k1, v1, domain = routed(by_head), score = qk * heat[h])]",
    ),
    "beside tables": Case(streams="q, [source(k, v, domain = routed(r), "
        "score = qk * gain[b, i] + gate[b, h, j], mask = pad[b, j]), "
        "source(k, v, score = qk + spread[h, i, j], mask = pad[b, j], post = w * gate[b, h, j])]"),
    "beside a table, sigmoid": Case(
        "normalize = sigmoid", streams="q, [source(k2, v2, domain = band(3, 2)), "
        "source(k, v, domain = routed(any), score = qk + table[h, i - j + 12])]"),
    "beside windows": Case(streams="q3, [source(k3, v3, domain = neighborhood(3, grid=[4, 5]), "
        "score = qk + corner[h, iy - jy + 1, ix - jx + 2]), "
        "source(k3, v3, domain = routed(near))]"),
    "beside regions": Case(streams="q3, [source(k3, v3, domain = routed(near)), source(k3, v3, "
        "domain = routed(regions, regions=[1, 5], grid=[4, 5]))]"),
    "a sum with all": Case("join = sum", streams="q, [source(k, v, weight = heat[h]), "
        "source(k2, v2, domain = routed(r), weight = heat[h])]"),
}  # fmt: skip
HALF = [
    "by head, masked", "distance", "distance and product", "learned distance", "add", "table",
    "beside tables",
]  # fmt: skip


def inputs(site: Site, harness: Harness, dtype: torch.dtype) -> list[Tensor]:
    """Return arguments; masks of the first element of a batch leave nothing."""
    masked = any(type_.dtype == "bool" for type_ in site.tensors)
    sizes = {"b": 1 + masked, "n": 19, "m": 11, "p": 6, "c": 7}
    return harness.inputs(site, sizes, dtype)


@pytest.mark.parametrize("name", CASES)
def test_float32(name: str, harness: Harness) -> None:
    site, dtype = CASES[name].site(harness), torch.float32
    harness.check_interpreted(site, TILE, dtype, inputs(site, harness, dtype))


@pytest.mark.parametrize("name", HALF)
def test_float16(name: str, harness: Harness) -> None:
    site, dtype = CASES[name].site(harness), torch.float16
    harness.check_interpreted(site, TILE, dtype, inputs(site, harness, dtype))


def test_any_strides_and_tiles_and_every_run_give_the_same(harness: Harness) -> None:
    site = Case("score = qk + gate[b, h, j]").site(harness)
    entry = harness.interpreted(site, TILE)
    given = inputs(site, harness, torch.float32)
    first = harness.run(entry, given, torch.float32)
    q, k, v, r, gate = given
    turned = [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in (q, k, v)]
    lists = r.flip(-1).transpose(0, 1).contiguous().transpose(0, 1)
    again = harness.run(entry, [*turned, lists, gate], torch.float32)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


@pytest.mark.parametrize("name", ["by query", "by pair, query and key"])
def test_pairs_are_sorted_only_for_gradients_of_keys(name: str, harness: Harness) -> None:
    site = CASES[name].site(harness)
    entry, given = harness.interpreted(site, TILE), inputs(site, harness, torch.float32)
    q, k, v, *others = (x.float() if x.is_floating_point() else x for x in given)
    learned = [x for x in (q, *others) if x.is_floating_point()]

    def gradients(*wanted: Tensor) -> tuple[Tensor, ...]:
        for x in (*learned, k, v):
            x.requires_grad_(any(x is each for each in wanted))
        out = entry(q, k, v, *others)
        assert isinstance(out, Tensor)
        return torch.autograd.grad(out.square().sum(), wanted)

    every = gradients(*learned, k, v)
    sorting = vars(sys.modules[entry.__module__])
    harness.monkeypatch.delitem(sorting, "places_naming")
    for x, y in zip(gradients(*learned), every, strict=False):
        assert torch.equal(x, y)


@pytest.mark.parametrize("number", [-1, 11])
def test_a_number_that_no_key_has_is_an_error(number: int, harness: Harness) -> None:
    """As in the reference, which marks keys in a table."""
    site = CASES["by query"].site(harness)
    entry = harness.interpreted(site, TILE)
    given = inputs(site, harness, torch.float32)
    given[3][0, 5, 2] = number
    with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
        entry(*given)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Case("post = w * exp(-l1(q, k))"), "a post expression reads l1(q, k)"),
        (Case("normalize = softmax(queries)"), "softmax(queries) compares more than the keys"),
        (Case("outputs = [weights]"), "weights are asked for"),
        (Case("outputs = [received]"), "does not give received"),
        (Case(streams="q, [source(k, v, domain = routed(r)), "
                      "source(k2, v2, score = -l1(q, k))]"),
         "multiplied by tile; it reads l1(q, k)"),
        (Case(streams="q4, [source(k4, k4, domain = routed(r)), source(k4, k4)]"),
         "lists beside tiles of keys fit head dims up to 128; here is 130"),
        (Case(streams="q, [source(k, v, domain = per_heads(routed(r), all))]"),
         "domains differ between heads"),
    ],
)  # fmt: skip
def test_it_says_why_it_cannot(case: Case, reason: str, harness: Harness) -> None:
    site = case.site(harness)
    answer = TritonBackend().can(site, TARGET)
    assert has_lists(site) and isinstance(answer, No)
    assert any(reason in each for each in answer.reasons), answer.reasons


def test_the_plan_says_what_it_does(harness: Harness) -> None:
    reasons = TritonBackend().can(CASES["by query"].site(harness), TARGET).reasons
    assert "the rows of its own 6 keys" in reasons[0]
    assert "no atomics" in reasons[1]
    reasons = TritonBackend().can(CASES["beside all of others"].site(harness), TARGET).reasons
    assert "multiplied by tile in the same pass" in reasons[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_on_the_gpu(name: str, dtype: torch.dtype, harness: Harness) -> None:
    site = CASES[name].site(harness)
    given = [x.cuda() for x in inputs(site, harness, dtype)]
    harness.check(vars(harness.module(site))["attend"], site, dtype, given)

"""Generated kernels for every normaliser of a query's keys, and for post expressions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch

from attnc.backends.triton import TritonBackend
from attnc.compiler.kernel import No, Target

if TYPE_CHECKING:
    from attnc.compiler.kernel import Site
    from tests.backends.conftest import Harness

torch.set_num_threads(1)

INPUTS = {
    "q": "[b, 2, n, 16]",
    "k": "[b, 2, m, 16]",
    "v": "[b, 2, m, 16]",
    "k2": "[b, 2, p, 16]",
    "v2": "[b, 2, p, 16]",
    "k1": "[b, 1, m, 16]",
    "v1": "[b, 1, m, 16]",
    "wide": "[b, 2, n, 160]",
    "sink": "[2]",
    "heat": "[2]",
    "gain": "[b, n]",
    "gate": "[b, 2, m]",
    "spread": "[2, n, m]",
    "table": "[2, 7, 7]",
    "keep": "[b, n, m] bool",
    "pad": "[b, m] bool",
}
SIZES = {"b": 2, "n": 40, "m": 50, "p": 20}

CASES = {
    "sink": "attend(q, k, v, normalize = softmax(keys, sink = sink[h]), outputs = [lse])",
    "sink of nothing": "attend(q, k, v, normalize = softmax(keys, sink = 0.0), mask = pad[b, j])",
    "sink of two": "attend(q, [source(k, v), source(k2, v2)], normalize = softmax(keys, sink = "
    "sink[h] * heat[h]))",
    "sinks of a sum": "attend(q, [source(k, v, weight = tanh(heat[h])), source(k2, v2)], "
    "join = sum, normalize = softmax(keys, sink = sink[h]))",
    "sigmoid": "attend(q, k, v, normalize = sigmoid, score = qk * 0.3 + heat[h] + spread[h, i, j])",
    "sigmoid, causal": "attend(q, k, v, normalize = sigmoid, domain = causal)",
    "relu": "attend(q, k, v, normalize = relu, score = qk * 0.3 + heat[h], mask = pad[b, j])",
    "relu squared": "attend(q, k, v, normalize = relu(power = 2), score = qk * 0.3)",
    "relu, raised": "attend(q, k, v, normalize = relu(power = 1.5), score = qk * 0.3)",
    "none": "attend(q, k, v, normalize = none, score = qk * exp(-heat[h] * (i - j)), "
    "domain = causal)",
    "none of two": "attend(q, [source(k, v), source(k2, v2, weight = heat[h])], join = sum, "
    "normalize = none)",
    "ratio": "attend(q, k, v, normalize = ratio(eps = 0.1), score = exp(qk * 0.1 * gain[b, i]))",
    "ratio of nothing": "attend(q, k, v, normalize = ratio, score = sigmoid(qk), mask = pad[b, j])",
    "ratio with a floor": "attend(q, k, v, normalize = ratio(floor = 30.0), score = relu(qk))",
    "ratio of a sum": "attend(q, [source(k, v, weight = heat[h], score = sigmoid(qk)), "
    "source(k2, v2, score = exp(qk * 0.1))], join = sum, normalize = ratio)",
    "gate": "attend(q, k, v, post = w * gate[b, h, j])",
    "gate by pair": "attend(q, k, v, post = w * spread[h, i, j], domain = causal)",
    "gate by product": "attend(q, k, v, post = w * sigmoid(qk * heat[h]), domain = band(9, 7))",
    "drop": "attend(q, k, v, post = where(keep[b, i, j], w, 0.0) * 1.25)",
    "add": "attend(q, k, v, post = w + spread[h, i, j], outputs = [lse])",
    "add a product": "attend(q, k, v, post = w * 0.5 - 0.1 * qk * heat[h], domain = causal)",
    "replace": "attend(q, k, v, post = gate[b, h, j])",
    "add to one of two": "attend(q, [source(k, v, post = w + spread[h, i, j]), source(k2, v2)])",
    "any post": "attend(q, k, v, normalize = sigmoid, post = w ** 2 + gate[b, h, j])",
    "post of a ratio": "attend(q, k, v, normalize = ratio, score = sigmoid(qk), "
    "post = w * gate[b, h, j] + 0.01)",
    "squared": "attend(q, k, v, post = w ** 2 * gate[b, h, j], domain = causal, outputs = [lse])",
    "squared of two": "attend(q, [source(k, v, post = w * (heat[h] - w) + qk * 0.1), source(k2, "
    "v2)], normalize = softmax(keys, sink = sink[h]))",
    "squared, shared keys": "attend(q, k1, v1, post = w ** 2 * heat[h])",
    "root by block": "attend(q, k, v, grid = [8, 5], domain = windows(4), score = qk * 0.2, "
    "post = sqrt(w + table[h, iy - jy + 3, ix - jx + 3] ** 2 + 0.1))",
    "renormalised": "attend(q, k, v, normalize = sigmoid, post = where(keep[b, i, j], w ** 2, "
    "0.0), renormalize = true)",
    "post by block": "attend(q, k, v, grid = [8, 5], domain = windows(4), "
    "post = w * table[h, iy - jy + 3, ix - jx + 3] + 0.1 * gate[b, h, j])",
}


def site_of(call: str, harness: Harness) -> Site:
    used = {name: of for name, of in INPUTS.items() if re.search(rf"\b{name}\b(?! =)", call)}
    if "grid" in call:
        used = {name: re.sub(r"\b[nm]\b", "40", of) for name, of in used.items()}
    return harness.site(call, used)


def check(name: str, harness: Harness, dtype: torch.dtype) -> None:
    site = site_of(CASES[name], harness)
    entry = harness.interpreted(site, (32, 32))
    harness.check(entry, site, dtype, harness.inputs(site, SIZES, dtype))


@pytest.mark.parametrize("name", CASES)
def test_float32(name: str, harness: Harness) -> None:
    check(name, harness, torch.float32)


@pytest.mark.parametrize("name", ["sink", "ratio", "add", "squared"])
def test_float16(name: str, harness: Harness) -> None:
    check(name, harness, torch.float16)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("attend(q, k, v, normalize = ratio, post = w ** 2)", "not linear in w"),
        ("attend(wide, wide, wide, post = w ** 2)", "up to 128"),
        ("attend(q, k, v, normalize = argmax(keys))", "argmax(keys)"),
        (
            "attend(q, [source(k, v, post = w + 1.0), source(k2, v2)], join = sum)",
            "adds to the weights of sources that are summed",
        ),
    ],
)
def test_it_says_why_it_cannot(call: str, reason: str, harness: Harness) -> None:
    answer = TritonBackend().can(site_of(call, harness), Target("cuda", "90"))
    assert isinstance(answer, No)
    assert any(reason in each for each in answer.reasons), answer.reasons

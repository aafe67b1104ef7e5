"""Attentions that take two walks, in Triton's interpreter, against float64 by the rule of error."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

import attnc
from attnc.backends.reference import ReferenceBackend, function
from attnc.backends.triton import TritonBackend
from attnc.backends.triton.templates import by_passes, by_turning
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.kernel import No, Site, Target, Yes

if TYPE_CHECKING:
    from tests.backends.conftest import Entry, Harness

torch.set_num_threads(1)

TARGET = Target("cuda", "90")
INPUTS = {
    "q": "[b, 2, n, 16]",
    "k": "[b, 2, m, 16]",
    "v": "[b, 2, m, 24]",
    "u": "[b, 2, n, 40]",
    "k2": "[b, 2, p, 16]",
    "v2": "[b, 2, p, 24]",
    "k1": "[b, 1, m, 16]",
    "v1": "[b, 1, m, 24]",
    "heat": "[2]",
    "gate": "[b, 2, m]",
    "gain": "[b, n]",
    "spread": "[2, n, m]",
    "forbid": "[n, m]",
    "known": "[2]",
    "keep": "[b, n, m] bool",
    "pad": "[b, n] bool",
}
SIZES = {"b": 2, "n": 40, "m": 50, "p": 20}

OVER_QUERIES = {
    "over queries": "attend(q, k, v, normalize = softmax(queries), score = qk * scale * heat[h] + "
    "spread[h, i, j], mask = keep[b, i, j], outputs = [lse])",
    "over queries of a band": "attend(q, k, v, normalize = softmax(queries), domain = band(9, 2), "
    "post = w * gate[b, h, j] + 0.1 * gain[b, i])",
    "over queries, squared": "attend(q, k, v, normalize = softmax(queries), mask = keep[b, i, j], "
    "post = w ** 2 * heat[h])",
    "slots": "attend(q, k, v, normalize = softmax(queries), mask = pad[b, i], renormalize = true)",
    "duplex": "attend(q, k, v, vq = u, normalize = softmax(keys, queries), score = qk * scale * "
    "heat[h] + spread[h, i, j], mask = keep[b, i, j], outputs = [lse])",
}
OVER_KEYS = {
    "received": "attend(q, k, v, mask = keep[b, i, j], outputs = [received])",
    "received, causal": "attend(q, k, v, domain = causal, score = qk * 0.2 + forbid[i, j], "
    "normalize = softmax(keys, sink = heat[h]), outputs = [received])",
    "gated, renormalised": "attend(q, k, v, score = qk * known[h], mask = keep[b, i, j], "
    "post = w * sigmoid(gate[b, h, j]), renormalize = true, outputs = [lse])",
    "of two": "attend(q, [source(k, v, post = w * gate[b, h, j] ** 2), source(k2, v2)], "
    "renormalize = true)",
    "shared keys": "attend(q, k1, v1, post = w + 0.1, renormalize = true)",
}
CASES = {**OVER_QUERIES, **OVER_KEYS}


def site_of(name: str, harness: Harness) -> Site:
    call = CASES.get(name, name)
    used = {name: of for name, of in INPUTS.items() if re.search(rf"\b{name}\b(?! =)", call)}
    return harness.site(call, used)


def check(name: str, harness: Harness, dtype: torch.dtype) -> None:
    site = site_of(name, harness)
    assert by_passes(site) or by_turning(site)
    entry = harness.interpreted(site, (64, 64))
    harness.check(entry, site, dtype, harness.inputs(site, SIZES, dtype))


@pytest.mark.parametrize("name", CASES)
def test_float32(name: str, harness: Harness) -> None:
    check(name, harness, torch.float32)


@pytest.mark.parametrize(
    "name",
    [
        "over queries",
        "over queries of a band",
        "slots",
        "duplex",
        "received",
        "gated, renormalised",
    ],
)
def test_float16(name: str, harness: Harness) -> None:
    check(name, harness, torch.float16)


def test_tiles_may_be_smaller_than_either_side(harness: Harness) -> None:
    site = site_of("over queries", harness)
    entry = harness.interpreted(site, (32, 32))
    given = harness.inputs(site, SIZES, torch.float32)
    harness.check(entry, site, torch.float32, given)
    first, second = (harness.run(entry, given, torch.float32) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


def test_forbidden_pairs_may_have_any_score(harness: Harness) -> None:
    """Those far over the lse of what is allowed would be infinite weights."""
    site = site_of("over queries", harness)
    q, k, v, heat, spread, keep = harness.inputs(site, SIZES, torch.float32)
    loud = spread.masked_fill(~keep[1], 1e4)
    given = [q[1:], k[1:], v[1:], heat, loud, keep[1:]]
    for entry in (harness.interpreted(site, (64, 64)), _on_the_cpu(site, harness)):
        for x in harness.run(entry, given, torch.float32):
            assert x.masked_fill(x.isneginf(), 0.0).isfinite().all()
        harness.check(entry, site, torch.float32, given)


@pytest.mark.parametrize("name", CASES)
def test_the_cpu_has_the_reference(name: str, harness: Harness) -> None:
    site = site_of(name, harness)
    entry = _on_the_cpu(site, harness)
    given = harness.inputs(site, SIZES, torch.float32)
    exact, ours = (harness.run(each, given, torch.float64) for each in (function(site), entry))
    for x, y in zip(exact, ours, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)


def _on_the_cpu(site: Site, harness: Harness) -> Entry:
    kernel = TritonBackend(ReferenceBackend()).build(site, TARGET)
    entry: Entry = vars(harness.load(site, kernel))["attend"]
    return entry


@pytest.mark.parametrize("name", ["over queries", "slots", "duplex", "received"])
def test_formatters_and_linters_have_nothing_to_say(name: str, harness: Harness) -> None:
    site = site_of(name, harness)
    text = KernelFile({site: TritonBackend(ReferenceBackend()).build(site, TARGET)}).text
    for command in (["format", "--check", "--diff"], ["check", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length=88"]
        done = subprocess.run([*ruff, "-"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


# Choice ---------------------------------------------------------------------------------------


def test_it_says_what_the_passes_are_for(harness: Harness) -> None:
    answer = TritonBackend().can(site_of("slots", harness), TARGET)
    assert isinstance(answer, Yes)
    assert answer.reasons[0] == "two passes: lse of every key over the queries; weights from " \
        "their scores, over their sum"  # fmt: skip


def test_tokens_that_depend_on_each_other_are_computed_so() -> None:
    (plan,) = attnc.plan(attnc.load("zoo:dependencyvit"), target="cuda:90").sites
    assert by_turning(plan.site)
    assert [each.backend for each in plan.verdicts if each.chosen] == ["triton"]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("attend(q, k1, v1, normalize = softmax(queries))", "softmax(queries) compares more"),
        ("attend(q, k, v, post = w * gate[b, h, j], renormalize = i == 0)", "by their sum again"),
        ("attend(q, k, v, post = w * gate[b, h, j], outputs = [received])", "give received"),
        (
            "attend(q, k, v, post = w * gate[b, h, j], renormalize = true, outputs = [weights])",
            "weights are asked for",
        ),
        ("attend(q, k, v, normalize = softmax(queries), outputs = [received])", "give received"),
        (
            "attend(q, k, v, vq = u, normalize = softmax(keys, queries), outputs = [weights])",
            "weights are asked for",
        ),
        ("attend(q, k, v, normalize = argmax(queries))", "argmax(queries) compares more"),
    ],
)
def test_it_says_why_not(call: str, reason: str, harness: Harness) -> None:
    answer = TritonBackend().can(site_of(call, harness), TARGET)
    assert isinstance(answer, No)
    assert any(reason in each for each in answer.reasons), answer.reasons


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_on_the_gpu(name: str, dtype: torch.dtype, harness: Harness) -> None:
    site = site_of(name, harness)
    sizes = {"b": 2, "n": 700, "m": 650, "p": 300}
    given = [x.cuda() for x in harness.inputs(site, sizes, dtype)]
    harness.check(vars(harness.module(site))["attend"], site, dtype, given)

"""Generated kernels that keep one side in a tile and stream the other once."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from attnc.backends.reference import ReferenceBackend
from attnc.backends.triton import TritonBackend
from attnc.backends.triton.examples import duplex
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.kernel import No, Site, Target, Yes

if TYPE_CHECKING:
    from tests.backends.conftest import Harness, Load

torch.set_num_threads(1)

TARGET = Target("cuda", "90")
INPUTS = {
    "x": "[b, 2, n, 24]",  # the long side: queries, keys and values, values of queries
    "xv": "[b, 2, n, 16]",
    "xu": "[b, 2, n, 40]",
    "z": "[b, 2, 17, 24]",
    "zv": "[b, 2, 17, 16]",
    "zu": "[b, 2, 17, 40]",
    "full": "[b, 2, 32, 24]",
    "fullv": "[b, 2, 32, 16]",
    "few": "[b, 4, 3, 24]",
    "one": "[b, 4, 1, 24]",
    "heat": "[2]",
    "heat4": "[4]",
    "near": "[4, 3]",
    "first": "[b, 3, n] bool",
    "gain": "[b, n]",
    "offset": "[2, n]",
    "shift": "[2, 17]",
    "gate": "[b, 2, n]",
    "table": "[2, n, 17]",
    "keep": "[b, n, 17] bool",
    "seen": "[b, 17, n] bool",
    "pad": "[b, n] bool",
}
SIZES = {"b": 2, "n": 75}

WRITES = {
    "write": "attend(x, z, zv, score = qk * 0.2 + shift[h, j] * gain[b, i], "
    "mask = keep[b, i, j], outputs = [lse])",
    "write to a full tile": "attend(x, full, fullv, score = qk * heat[h], mask = pad[b, i])",
    "write, gated": "attend(x, z, zv, post = w * sigmoid(qk * heat[h]) * gain[b, i])",
    "write, causal": "attend(x, z, zv, domain = where(i // 4 >= j))",
}
READS = {
    "read": "attend(z, x, xv, score = tanh(qk * 0.2) * 3 + offset[h, j], mask = seen[b, i, j], "
    "outputs = [lse])",
    "read, gated": "attend(z, x, xv, post = w * gate[b, h, j] * 0.5)",
}
DUPLEX = {
    "duplex": "attend(x, z, zv, vq = xu, normalize = softmax(keys, queries), "
    "score = qk * 0.2 + shift[h, j] * gain[b, i], mask = keep[b, i, j], outputs = [lse])",
    "duplex, queries stay": "attend(z, x, xv, vq = zu, normalize = softmax(keys, queries), "
    "score = qk * heat[h], mask = seen[b, i, j], outputs = [lse])",
}
REVERSED = {
    "reversed": "attend(z, x, xv, normalize = softmax(queries), score = qk * heat[h] + "
    "offset[h, j], mask = seen[b, i, j], outputs = [lse])",
    "reversed, gated": "attend(z, x, xv, normalize = softmax(queries), post = w * gate[b, h, j])",
    "slots": "attend(z, x, xv, normalize = softmax(queries), mask = seen[b, i, j], "
    "renormalize = true)",
    "slots, gated": "attend(z, x, xv, normalize = softmax(queries), "
    "post = w * sigmoid(gate[b, h, j]), renormalize = true)",
}
HARD = {
    "best key": "attend(x, z, zv, normalize = argmax(keys), mask = keep[b, i, j], "
    "outputs = [index])",
    "best key of many": "attend(z, x, xv, normalize = argmax(keys), mask = seen[b, i, j], "
    "outputs = [index])",
    "best key and scores": "attend(z, x, xv, normalize = argmax(keys), "
    "score = qk * 0.2 + offset[h, j], outputs = [scores])",
    "best query": "attend(z, x, xv, normalize = argmax(queries), mask = seen[b, i, j], "
    "outputs = [index])",
    "means of the best": "attend(z, x, xv, normalize = argmax(queries), mask = seen[b, i, j], "
    "renormalize = true, outputs = [scores])",
}
SHARED = {
    "shared keys": "attend(few, x, xv, score = tanh(qk * heat4[h]) + offset[0, j] + "
    "near[h, i], mask = first[b, i, j], post = w * gate[b, 1, j], outputs = [lse])",
    "shared keys of one query": "attend(one, x, xv, domain = where(h * 20 <= j), outputs = [lse])",
    "best of shared keys": "attend(few, x, xv, normalize = argmax(keys), outputs = [index])",
}
CASES = {**WRITES, **READS, **DUPLEX, **REVERSED, **HARD, **SHARED}


def site_of(call: str, harness: type[Harness] | Harness) -> Site:
    used = {name: of for name, of in INPUTS.items() if re.search(rf"\b{name}\b(?! =)", call)}
    return harness.site(call, used)


def check(name: str, harness: Harness, dtype: torch.dtype) -> None:
    site = site_of(CASES[name], harness)
    entry = harness.interpreted(site, (32, 32))
    harness.check(entry, site, dtype, harness.inputs(site, SIZES, dtype))


@pytest.mark.parametrize("name", CASES)
def test_float32(name: str, harness: Harness) -> None:
    """Of 75 tokens in tiles of 32 every head has three programs, whose parts are merged."""
    check(name, harness, torch.float32)


@pytest.mark.parametrize(
    "name", ["write", "read", "duplex", "duplex, queries stay", "slots", "shared keys"]
)
def test_float16(name: str, harness: Harness) -> None:
    check(name, harness, torch.float16)


@pytest.mark.parametrize("name", ["duplex", "slots, gated", "means of the best"])
def test_every_run_gives_the_same_bits(name: str, harness: Harness) -> None:
    site = site_of(CASES[name], harness)
    entry = harness.interpreted(site, (32, 32))
    given = harness.inputs(site, SIZES, torch.float32)
    first, second = (harness.run(entry, given, torch.float32) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ["best key", "best key of many", "best query"])
def test_of_equal_scores_the_first_is_taken(name: str, harness: Harness) -> None:
    site = site_of(CASES[name], harness)
    q, k, v, keep = harness.inputs(site, SIZES, torch.float32)
    entry = harness.interpreted(site, (32, 32))
    out, index = entry(*(x.float() for x in (q * 0, k, v)), keep)
    over = 2 if "query" in name else 3
    allowed = keep[:, None].expand(-1, 2, -1, -1)
    first = torch.where(allowed.any(over), allowed.int().argmax(over), -1)
    assert torch.equal(index, first)
    assert out.isfinite().all()


def test_no_token_gives_nothing(harness: Harness) -> None:
    site = site_of(CASES["duplex"], harness)
    entry = harness.interpreted(site, (32, 32))
    given = harness.inputs(site, {"b": 2, "n": 0}, torch.float32)
    out, back, lse = harness.run(entry, given, torch.float32)[:3]
    assert (*out.shape, *lse.shape) == (2, 2, 0, 16, 2, 2, 0)
    assert torch.equal(back, torch.zeros(2, 2, 17, 40, dtype=torch.float64))


def test_a_gradient_of_lse_may_have_any_strides(harness: Harness) -> None:
    """That of a sum is one number, seen at every place."""
    site = site_of(CASES["read"], harness)
    entry = harness.interpreted(site, (32, 32))
    q, k, *others = (
        x.float() if x.is_floating_point() else x
        for x in harness.inputs(site, SIZES, torch.float32)
    )
    summed, weighed = q.clone().requires_grad_(), q.clone().requires_grad_()
    lse = entry(summed, k, *others)[1]
    torch.autograd.backward(lse.masked_fill(lse.isneginf(), 0.0).sum())
    lse = entry(weighed, k, *others)[1]
    torch.autograd.backward((lse.masked_fill(lse.isneginf(), 0.0) * torch.ones_like(lse)).sum())
    assert summed.grad is not None and weighed.grad is not None
    assert torch.equal(summed.grad, weighed.grad)


@pytest.mark.parametrize("name", ["duplex", "best key", "means of the best"])
def test_the_cpu_has_the_reference(name: str, harness: Harness, load_kernels: Load) -> None:
    site = site_of(CASES[name], harness)
    kernel = TritonBackend(ReferenceBackend()).build(site, TARGET)
    entry = vars(load_kernels(site, kernel))[site.name]
    given = harness.inputs(site, SIZES, torch.float32)
    harness.check(entry, site, torch.float32, given)


def test_a_choice_alone_passes_no_gradient(harness: Harness, load_kernels: Load) -> None:
    """Neither on the CPU, where autograd has none, nor by the kernel."""
    site = site_of(CASES["best key"], harness)
    plain = TritonBackend(ReferenceBackend()).build(site, TARGET)
    q, k, v, keep = harness.inputs(site, SIZES, torch.float32)
    entries = (vars(load_kernels(site, plain))[site.name], harness.interpreted(site, (32, 32)))
    for entry in entries:
        asks = q.float().requires_grad_()
        out, _ = entry(asks, k.float(), v.float(), keep)
        torch.autograd.backward(out.sum())
        assert asks.grad is None or not asks.grad.any()


@pytest.mark.parametrize("name", ["duplex", "best key and scores"])
def test_the_operator_passes_torch_s_own_checks(
    name: str, harness: Harness, load_kernels: Load
) -> None:
    site = site_of(CASES[name], harness)
    kernel = TritonBackend(ReferenceBackend()).build(site, TARGET)
    operator = vars(load_kernels(site, kernel))["attend_op"]
    given = [
        x.float().requires_grad_() if x.is_floating_point() else x
        for x in harness.inputs(site, SIZES, torch.float32)
    ]
    torch.library.opcheck(operator._opoverload, tuple(given))


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton is not in its interpreter")
@pytest.mark.parametrize("name", ["duplex", "slots", "best key and scores", "means of the best"])
def test_launchers_give_what_operators_announce(name: str, harness: Harness) -> None:
    site = site_of(CASES[name], harness)
    harness.interpreted(site, (32, 32))
    operator = vars(harness.module(site))["attend_op"]
    given = harness.inputs(site, SIZES, torch.float32)
    checks = ("test_schema", "test_faketensor")
    arguments = tuple(x.float() if x.is_floating_point() else x for x in given)
    torch.library.opcheck(operator._opoverload, arguments, test_utils=checks)


@pytest.mark.parametrize(
    "name",
    ["write", "read", "duplex", "slots, gated", "best key of many", "means of the best",
     "shared keys"],
)  # fmt: skip
def test_formatters_and_linters_have_nothing_to_say(name: str, harness: Harness) -> None:
    site = site_of(CASES[name], harness)
    kernel = TritonBackend(ReferenceBackend()).build(site, TARGET)
    text = KernelFile({site: kernel}).text
    for command in (["format", "--check", "--diff"], ["check", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length=88"]
        done = subprocess.run([*ruff, "-"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_it_says_what_it_gains() -> None:
    answer = TritonBackend().can(duplex(64, 32), TARGET)
    assert isinstance(answer, Yes)
    assert answer.reasons[0] == "31 keys stay in a tile; the queries are read once, split over " \
        "programs"  # fmt: skip
    assert "both results come from one product of scores" in answer.reasons


def test_heads_that_share_keys_read_them_once(harness: Harness) -> None:
    site = site_of(CASES["shared keys"], harness)
    answer = TritonBackend().can(site, TARGET)
    assert isinstance(answer, Yes)
    assert answer.reasons[:2] == (
        "6 queries stay in a tile; the keys are read once, split over programs",
        "2 heads that share keys are rows of one tile",
    )
    k = "load_rows(k, b, h, near, k_strides"
    assert TritonBackend().build(site, TARGET).source.count(k) == 2  # forward and gradients


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("attend(x, z, zv, normalize = argmax(queries))", "needs queries that stay in a tile"),
        ("attend(x, x, xv, normalize = argmax(keys))", "queries or keys that stay in a tile"),
        ("attend(x, z, zv, normalize = argmax(keys), post = w * heat[h])", "post does more"),
        ("attend(z, x, xv, normalize = softmax(queries), renormalize = i == 0)", "of some rows"),
        ("attend(x, z, zv, normalize = argmax(keys), renormalize = true)", "another side"),
        ("attend(z, x, xv, normalize = softmax(queries), outputs = [received])", "received"),
    ],
)  # fmt: skip
def test_it_says_why_it_cannot(call: str, reason: str, harness: Harness) -> None:
    answer = TritonBackend().can(site_of(call, harness), TARGET)
    assert isinstance(answer, No)
    assert any(reason in each for each in answer.reasons), answer.reasons


@pytest.mark.parametrize(
    ("call", "stays"),
    [
        ("attend(x, z, zv)", True),
        ("attend(z, x, xv)", True),
        ("attend(x, x, xv)", False),
        ("attend(few, x, xv)", True),
        ("attend(few, x, xv, join = sum, weight = heat[0])", False),
        ("attend(z, full, fullv)", False),
        ("attend(x, z, zv, score = qk + table[h, i, j])", False),
        ("attend(x, z, zv, normalize = softmax(keys, sink = 0.0))", False),
    ],
)
def test_a_plain_softmax_streams_what_is_long_beside_what_stays(
    call: str, stays: bool, harness: Harness
) -> None:
    answer = TritonBackend().can(site_of(call, harness), TARGET)
    assert isinstance(answer, Yes)
    assert ("stay in a tile" in answer.reasons[0]) is stays


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("length", [75, 5000])
@pytest.mark.parametrize("name", CASES)
def test_on_the_gpu(name: str, length: int, dtype: torch.dtype, harness: Harness) -> None:
    site = site_of(CASES[name], harness)
    given = [x.cuda() for x in harness.inputs(site, {"b": 2, "n": length}, dtype)]
    harness.check(vars(harness.module(site))[site.name], site, dtype, given)

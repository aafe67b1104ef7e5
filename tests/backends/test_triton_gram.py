"""Few wide rows, such as channels, in Triton's interpreter, against float64 by the rule."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

import attnc
from attnc.backends.reference import ReferenceBackend, function
from attnc.backends.triton import TritonBackend
from attnc.backends.triton.configs import CAPABILITIES
from attnc.backends.triton.templates import by_rows
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.kernel import Kernel, No, Target

if TYPE_CHECKING:
    from attnc.compiler.kernel import Site
    from tests.backends.conftest import Harness, Load

torch.set_num_threads(1)

TARGET = Target("cuda", "90")
INPUTS = {
    "q": "[b, 2, 24, n]",
    "k": "[b, 2, 40, n]",
    "v": "[b, 2, 40, p]",
    "u": "[b, 2, 24, n]",
    "k1": "[b, 1, 40, n]",
    "v1": "[b, 1, 40, p]",
    "heat": "[2]",
    "gate": "[b, 2, 40]",
    "spread": "[2, 24, 40]",
    "keep": "[b, 24, 40] bool",
}
SIZES = {"b": 2, "n": 150, "p": 70}

SCRIPT = """
import json, sys
from attnc.backends.triton.crosscompile import cross_compile, over_budget
from attnc.backends.triton.examples import channels
from attnc.compiler.targets import parse_target

target = parse_target(sys.argv[1])
made = cross_compile(channels(32), target)
print(json.dumps({name: over_budget(found, target) for name, found in made.items()}))
"""

CASES = {
    "channels": "attend(q, k, v, scale = 0.1)",
    "learned heat": "attend(q, k, v, score = qk * scale * heat[h] + spread[h, i, j], scale = 0.1, "
    "mask = keep[b, i, j], outputs = [lse])",
    "post": "attend(q, k, v, scale = 0.1, post = w ** 2 * gate[b, h, j], renormalize = true)",
    "slots": "attend(q, k, v, scale = 0.1, normalize = softmax(queries), mask = keep[b, i, j])",
    "duplex": "attend(q, k, v, vq = u, scale = 0.1, normalize = softmax(keys, queries))",
    "none": "attend(q, k, v, normalize = none, scale = 0.01)",
    "weights": "attend(q, k, v, scale = 0.1, normalize = softmax(keys, sink = heat[h]), "
    "outputs = [weights])",
    "best": "attend(q, k, v, normalize = argmax(keys), scale = 1, mask = keep[b, i, j], "
    "outputs = [index])",
    "shared keys": "attend(q, k1, v1, scale = 0.1, domain = causal)",
}


def site_of(name: str, harness: type[Harness] | Harness) -> Site:
    call = CASES.get(name, name)
    used = {name: of for name, of in INPUTS.items() if re.search(rf"\b{name}\b(?! =)", call)}
    return harness.site(call, used)


@pytest.mark.parametrize("name", CASES)
def test_float32(name: str, harness: Harness) -> None:
    """24 and 40 rows are two tiles of 32; 150 columns are summed in three runs."""
    site = site_of(name, harness)
    assert by_rows(site)
    entry = harness.interpreted(site, (32, 64))
    harness.check(entry, site, torch.float32, harness.inputs(site, SIZES, torch.float32))


@pytest.mark.parametrize("name", ["channels", "learned heat", "duplex", "none"])
def test_float16(name: str, harness: Harness) -> None:
    site = site_of(name, harness)
    entry = harness.interpreted(site, (32, 32))
    harness.check(entry, site, torch.float16, harness.inputs(site, SIZES, torch.float16))


def test_channels_may_lie_side_by_side(harness: Harness) -> None:
    """As a projection of tokens gives them; the result lies so, too, and is the same."""
    site = site_of("channels", harness)
    entry = harness.interpreted(site, (32, 32))
    given = [x.float() for x in harness.inputs(site, SIZES, torch.float32)]
    turned = [x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1) for x in given]
    one, other = entry(*given), entry(*turned)
    assert isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    assert torch.equal(one, other)
    assert one.transpose(1, 2).is_contiguous() and other.permute(0, 3, 1, 2).is_contiguous()


def test_every_run_gives_the_same_bits(harness: Harness) -> None:
    site = site_of("learned heat", harness)
    entry = harness.interpreted(site, (32, 32))
    given = harness.inputs(site, SIZES, torch.float32)
    first, second = (harness.run(entry, given, torch.float32) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


def test_scores_may_leave_the_range_of_float16(harness: Harness) -> None:
    site = site_of("attend(q, k, v, normalize = none, scale = 1)", harness)
    entry = harness.interpreted(site, (32, 32))
    q, k, v = (
        torch.full((1, 2, rows, 150), value, dtype=torch.float16)
        for rows, value in ((24, 40.0), (40, 40.0), (40, 2.0**-12))
    )
    out = entry(q, k, v)
    exact = function(site)(*(x.double() for x in (q, k, v)))
    assert isinstance(out, torch.Tensor) and isinstance(exact, torch.Tensor)
    assert float(exact.max()) < torch.finfo(torch.float16).max < 40 * 40 * 150
    torch.testing.assert_close(out.double(), exact, rtol=1e-3, atol=0)


def test_no_column_gives_nothing(harness: Harness) -> None:
    """Scores of nothing are 0."""
    site = site_of("channels", harness)
    entry = harness.interpreted(site, (32, 32))
    given = harness.inputs(site, {"b": 2, "n": 0, "p": 5}, torch.float32)
    harness.check(entry, site, torch.float32, given)


@pytest.mark.parametrize("name", CASES)
def test_the_cpu_has_the_reference(name: str, harness: Harness, load_kernels: Load) -> None:
    site = site_of(name, harness)
    entry = vars(load_kernels(site, TritonBackend(ReferenceBackend()).build(site, TARGET)))[
        "attend"
    ]
    given = harness.inputs(site, SIZES, torch.float32)
    harness.check(entry, site, torch.float32, given)
    exact, ours = (harness.run(each, given, torch.float64) for each in (function(site), entry))
    for x, y in zip(exact, ours, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


def test_gradients_have_gradients(harness: Harness, load_kernels: Load) -> None:
    site = harness.site(
        "attend(q, k, v, score = tanh(qk), scale = 1)", dict.fromkeys("qkv", "[b, 1, 3, n]")
    )
    entry = vars(load_kernels(site, TritonBackend(ReferenceBackend()).build(site, TARGET)))[
        "attend"
    ]
    given = [x.requires_grad_() for x in harness.inputs(site, {"b": 1, "n": 4}, torch.float32)]
    assert torch.autograd.gradcheck(entry, given)
    assert torch.autograd.gradgradcheck(entry, given)


def test_operators_pass_torch_s_own_checks(harness: Harness, load_kernels: Load) -> None:
    site = site_of("channels", harness)
    kernel = TritonBackend(ReferenceBackend()).build(site, TARGET)
    load_kernels(site, kernel)
    operators = operators_of(kernel)
    q, k, v = (x.float().requires_grad_() for x in harness.inputs(site, SIZES, torch.float32))
    weights = torch.rand(2, 2, 24, 40, requires_grad=True)
    torch.library.opcheck(operators.row_products.default, (q, k))
    torch.library.opcheck(operators.weighted_rows.default, (weights, v))


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton is not in its interpreter")
def test_launchers_give_what_operators_announce(harness: Harness) -> None:
    site = site_of("channels", harness)
    harness.interpreted(site, (32, 32))
    operators = operators_of(TritonBackend().build(site, TARGET))
    q, k, v = (x.float() for x in harness.inputs(site, SIZES, torch.float32))
    side_by_side = v.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(operators.row_products.default, (q, k), test_utils=checks)
    given = (torch.rand(2, 2, 24, 40), side_by_side)
    torch.library.opcheck(operators.weighted_rows.default, given, test_utils=checks)


def operators_of(kernel: Kernel) -> torch._ops._OpNamespace:
    """Return the operators of a kernel by name: an equal file loaded later redefines them."""
    namespace = re.search(r"attnc_\w+", kernel.source)
    assert namespace is not None
    found: torch._ops._OpNamespace = getattr(torch.ops, namespace[0])
    return found


def test_formatters_and_linters_have_nothing_to_say(harness: Harness) -> None:
    site = site_of("learned heat", harness)
    text = KernelFile({site: TritonBackend(ReferenceBackend()).build(site, TARGET)}).text
    for command in (["format", "--check", "--diff"], ["check", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length=88"]
        done = subprocess.run([*ruff, "-"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


# Choice ---------------------------------------------------------------------------------------


def test_channel_attention_is_computed_so() -> None:
    model = attnc.loads(
        "model m {\n input x: [b, n, 64]\n output y = channel_attention(x, heads=2)\n}", "m.attn"
    )
    (plan,) = attnc.plan(model, target="cuda:90").sites
    assert by_rows(plan.site)
    assert [each.backend for each in plan.verdicts if each.chosen] == ["triton"]


@pytest.mark.parametrize(
    ("score", "shapes", "reason"),
    [
        ("qk", ("[b, 1, m, n]", "[b, 1, m, n]"), "256 at most, a number at compile time"),
        ("qk", ("[b, 1, 200, n]", "[b, 1, 200, 32]"), "scores of all pairs are not few"),
        ("-l1(q, k)", ("[b, 1, 20, n]", "[b, 1, 20, n]"), "l1(q, k)"),
    ],
)
def test_it_says_why_not(
    score: str, shapes: tuple[str, str], reason: str, harness: Harness
) -> None:
    inputs = {"q": shapes[0], "k": shapes[0], "v": shapes[1]}
    site = harness.site(f"attend(q, k, v, scale = 1, score = {score})", inputs)
    assert not by_rows(site)
    answer = TritonBackend().can(site, TARGET)
    assert isinstance(answer, No)
    assert any(reason in each for each in answer.reasons), answer.reasons


@pytest.mark.parametrize("target", CAPABILITIES)
def test_kernels_are_within_budget(target: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, target],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert {*made} == {"row_products_kernel", "weighted_rows_kernel"}
    assert not any(made.values()), made


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("length", [150, 20000])
@pytest.mark.parametrize("name", CASES)
def test_on_the_gpu(name: str, length: int, dtype: torch.dtype, harness: Harness) -> None:
    site = site_of(name, harness)
    given = [x.cuda() for x in harness.inputs(site, {"b": 2, "n": length, "p": 70}, dtype)]
    harness.check(vars(harness.module(site))["attend"], site, dtype, given)

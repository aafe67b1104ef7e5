"""What becomes of a result before it is stored, in the interpreter, by the rule of error."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from attnc.backends.reference import ReferenceBackend, function
from attnc.backends.tiled import TiledBackend
from attnc.backends.triton import TritonBackend
from attnc.compiler.kernel import Backend, No, Site, Target
from attnc.dsl.attention import Constant, Coordinate, Load, Result, ScoreTree
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import make

if TYPE_CHECKING:
    from tests.backends.conftest import Harness
    from tests.backends.conftest import Load as LoadKernels

torch.set_num_threads(1)

OUT = Result()
LEPE, GATE = (Load(name, tuple(map(Coordinate, "bhic"))) for name in ("lepe", "gate"))
SWISH = make("mul", GATE, make("sigmoid", GATE))
EPILOGUES: dict[str, ScoreTree] = {
    "added": make("add", OUT, LEPE),
    "taken off": make("sub", make("mul", LEPE, Constant(2.0)), OUT),
    "gated": make("mul", OUT, make("sigmoid", GATE)),
    "added, then gated": make("mul", make("add", OUT, LEPE), SWISH),
    "divided": make("div", OUT, make("add", make("tanh", GATE), Constant(2.0))),
}
TARGET = Target("cuda", "90")
SIZES = {"b": 2, "n": 50, "m": 37, "p": 20}
PLAIN = "attend(q, k, v)"
INPUTS = {"q": "[b, 4, n, 24]", "k": "[b, 2, m, 24]", "v": "[b, 2, m, 40]"}
CALLS = {
    "a key head for two": (PLAIN, INPUTS),
    "causal, with lse": (
        "attend(q, k, v, domain=causal, outputs=[lse])",
        dict.fromkeys("qkv", "[b, 2, n, 16]"),
    ),
    "two sources": (
        "attend(q, [source(k, v), source(k2, v2)])",
        {**INPUTS, "k2": "[b, 4, p, 24]", "v2": "[b, 4, p, 40]"},
    ),
    "windows and a bias": (
        "attend(q, k, v, grid=[6, 10], domain=windows([3, 5], shift=1), "
        "score=qk * scale + bias[h, query_slot, slot])",
        {**dict.fromkeys("qkv", "[b, 2, 60, 16]"), "bias": "[2, 15, 15]"},
    ),
}  # fmt: skip


def with_epilogue(site: Site, tree: ScoreTree) -> Site:
    """Return a site whose result is changed."""
    names = [name for name in ("lepe", "gate") if f"'{name}'" in repr(tree)]
    b, h, n, _ = site.q.shape
    beside = TensorType((b, h, n, site.sources[0][1].shape[3]))
    attention = replace(site.attention, epilogue=tree, tensors=(*site.attention.tensors, *names))
    return replace(site, attention=attention, tensors=(*site.tensors, *[beside] * len(names)))


def checked(harness: Harness, call: str, tree: ScoreTree, dtype: torch.dtype) -> None:
    site = with_epilogue(harness.site(*CALLS[call]), tree)
    given = harness.inputs(site, SIZES, dtype)
    harness.check(harness.interpreted(site, (32, 32)), site, dtype, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("name", EPILOGUES)
def test_epilogues(name: str, dtype: torch.dtype, harness: Harness) -> None:
    checked(harness, "a key head for two", EPILOGUES[name], dtype)


def test_without_gradients_the_result_before_is_not_kept(harness: Harness) -> None:
    site = with_epilogue(harness.site(*CALLS["causal, with lse"]), EPILOGUES["gated"])
    entry = harness.interpreted(site, (32, 32))
    given = [x.float() for x in harness.inputs(site, SIZES, torch.float32)]
    launch = vars(harness.module(site))["attend_launch"]
    assert [launch(*given, keep)[-1].numel() for keep in (False, True)] == [0, given[0].numel()]
    with torch.no_grad():
        inferred = entry(*given)
    for x, y in zip(inferred, entry(*given), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("fallback", [ReferenceBackend(), TiledBackend()], ids=["eager", "tiled"])
def test_the_cpu_has_the_same_numbers(
    fallback: Backend, harness: Harness, load_kernels: LoadKernels
) -> None:
    site = with_epilogue(harness.site(*CALLS["causal, with lse"]), EPILOGUES["added, then gated"])
    names = vars(load_kernels(site, TritonBackend(fallback).build(site, TARGET)))
    given = harness.inputs(site, SIZES, torch.float32)
    ours, exact = (
        harness.run(entry, given, torch.float64) for entry in (names["attend"], function(site))
    )
    for x, y in zip(ours, exact, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)
    arguments = [x.float().requires_grad_() for x in given]
    torch.library.opcheck(names["attend_op"]._opoverload, (*arguments, True))


def test_sums_of_sources_and_other_normalisers_leave_it_to_torch(harness: Harness) -> None:
    calls = (
        "attend(q, [source(k, v), source(k, v)], join=sum)",
        "attend(q, k, v, post=w * 2)",
        "attend(q, k, v, normalize=sigmoid)",
    )
    for call in calls:
        site = with_epilogue(harness.site(call, INPUTS), EPILOGUES["added"])
        answer = TritonBackend().can(site, TARGET)
        assert isinstance(answer, No)
        assert any("stands apart" in reason for reason in answer.reasons)


@pytest.mark.parametrize(
    ("name", "width", "fits"),
    [("added, then gated", 64, True), ("gated", 72, False), ("added", 128, True),
     ("added", 136, False), ("added, then gated", 128, False)],
)  # fmt: skip
def test_wide_results_have_room_for_less(
    name: str, width: int, fits: bool, harness: Harness
) -> None:
    inputs = {**INPUTS, "v": f"[b, 2, m, {width}]"}
    answer = TritonBackend().can(
        with_epilogue(harness.site(PLAIN, inputs), EPILOGUES[name]), TARGET
    )
    assert isinstance(answer, No) != fits
    assert fits or "spill registers" in answer.reasons[0]


@pytest.mark.parametrize("call", [call for call in CALLS if call != "a key head for two"])
def test_attentions(call: str, harness: Harness) -> None:
    checked(harness, call, EPILOGUES["added, then gated"], torch.float32)

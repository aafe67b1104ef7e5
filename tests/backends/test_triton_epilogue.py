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
from attnc.dsl.scorelang import loads, make, rename, text

if TYPE_CHECKING:
    from tests.backends.conftest import Harness
    from tests.backends.conftest import Load as LoadKernels

torch.set_num_threads(1)

OUT = Result()


def beside(name: str, axes: str = "bhic") -> Load:
    """Return the element of a tensor with some of the axes of the result."""
    return Load(name, tuple(map(Coordinate, axes)))


LEPE, GATE = map(beside, ("lepe", "gate"))
SWISH = make("mul", GATE, make("sigmoid", GATE))
EPILOGUES: dict[str, ScoreTree] = {
    "added": make("add", OUT, LEPE),
    "taken off": make("sub", make("mul", LEPE, Constant(2.0)), OUT),
    "gated": make("mul", OUT, make("sigmoid", GATE)),
    "added, then gated": make("mul", make("add", OUT, LEPE), SWISH),
    "divided": make("div", OUT, make("add", make("tanh", GATE), Constant(2.0))),
}
NARROW: dict[str, ScoreTree] = {
    "rows, and channels added": make(
        "mul", make("add", OUT, beside("shift", "c")), make("sigmoid", beside("gate", "bhi"))
    ),
    "rows of all heads, and channels": make(
        "mul", make("div", OUT, make("sub", beside("near", "bi"), Constant(-1.0))),
        beside("scale", "c"),
    ),
    "channels of a head, and places added": make(
        "add", make("mul", OUT, beside("scale", "hc")), beside("places", "hic")
    ),
    "a number, and tokens of all heads": make(
        "mul", make("mul", OUT, beside("heat", "")), beside("gate", "bic")
    ),
    "heads, and what is added to each": make(
        "sub", make("mul", beside("heat", "h"), beside("shift", "bc")), OUT
    ),
}  # fmt: skip
ALL = {**EPILOGUES, **NARROW}
TARGET = Target("cuda", "90")
SIZES = {"b": 2, "n": 50, "m": 37, "p": 20}
PLAIN = "attend(q, k, v)"
INPUTS = {"q": "[b, 4, n, 24]", "k": "[b, 2, m, 24]", "v": "[b, 2, m, 40]"}
FIRST = "a key head for two"
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
    "a sum of two": (
        "attend(q, [source(k, v), source(k2, v2, weight=heat[h])], join=sum)",
        {**INPUTS, "k2": "[b, 4, p, 24]", "v2": "[b, 4, p, 40]", "heat": "[4]"},
    ),
    "part of a sum": (
        "attend(q, [source(k, v, weight=heat[b], post=w * strong[h, j], mask=near[b, j] > 0.5)], "
        "join=sum)",
        {**dict.fromkeys("qkv", "[b, 2, n, 16]"), "strong": "[2, n]", "heat": "[b]",
         "near": "[b, n]"},
    ),
    "sigmoid": ("attend(q, k, v, normalize=sigmoid)", INPUTS),
    "keys that stay in a tile": (
        "attend(q, k, v, score=qk * heat[h], mask=near[b, j] > 0.3, outputs=[lse])",
        {"q": "[b, 2, 300, 24]", "k": "[b, 2, 20, 24]", "v": "[b, 2, 20, 40]", "heat": "[2]",
         "near": "[b, 20]"},
    ),
    "lists of keys": (
        "attend(q, k, v, domain=routed(r), score=-l1(q, k) * heat[h])",
        {**INPUTS, "heat": "[4]", "r": "[b, n, 7] int"},
    ),
    "a wide sum": (
        "attend(q, [source(k, v), source(k, v, weight=heat[b])], join=sum)",
        {**INPUTS, "v": "[b, 2, m, 72]", "heat": "[b]"},
    ),
    "wide": (PLAIN, {**INPUTS, "v": "[b, 2, m, 72]"}),
    "windows and a bias": (
        "attend(q, k, v, grid=[6, 10], domain=windows([3, 5], shift=1), "
        "score=qk * scale + bias[h, query_slot, slot])",
        {**dict.fromkeys("qkv", "[b, 2, 60, 16]"), "bias": "[2, 15, 15]"},
    ),
}  # fmt: skip


def with_epilogue(site: Site, tree: ScoreTree) -> Site:
    """Return a site whose result is changed."""
    sizes = dict(zip("bhic", (*site.q.shape[:3], site.sources[0][1].shape[3]), strict=True))
    types = {
        f"{name}_beside": TensorType(tuple(sizes[text(each)] for each in load.indices))
        for name, (load,) in loads(tree).items()
    }
    tree = rename(tree, {name: f"{name}_beside" for name in loads(tree)})
    attention = replace(site.attention, epilogue=tree, tensors=(*site.attention.tensors, *types))
    return replace(site, attention=attention, tensors=(*site.tensors, *types.values()))


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


@pytest.mark.parametrize(
    ("name", "call"),
    [
        *((name, "a sum of two") for name in NARROW),
        ("channels of a head, and places added", "a key head for two"),
        ("rows, and channels added", "a key head for two"),
        ("channels of a head, and places added", "windows and a bias"),
        ("rows of all heads, and channels", "windows and a bias"),
        ("channels of a head, and places added", "a wide sum"),
        ("rows of all heads, and channels", "wide"),
        ("rows, and channels added", "keys that stay in a tile"),
        ("channels of a head, and places added", "keys that stay in a tile"),
        ("rows of all heads, and channels", "lists of keys"),
    ],
)
def test_tensors_with_some_axes(name: str, call: str, harness: Harness) -> None:
    checked(harness, call, NARROW[name], torch.float32)


def test_tensors_with_some_axes_in_half_precision(harness: Harness) -> None:
    checked(harness, "a sum of two", NARROW["rows of all heads, and channels"], torch.float16)


def test_weights_that_are_added_to_leave_it_to_torch(harness: Harness) -> None:
    for post in ("w + 2.0", "w * w"):
        site = with_epilogue(harness.site(f"attend(q, k, v, post={post})", INPUTS), LEPE)
        answer = TritonBackend().can(site, TARGET)
        assert isinstance(answer, No)
        assert any("stands apart" in reason for reason in answer.reasons)


@pytest.mark.parametrize(
    ("name", "width", "fits"),
    [("added, then gated", 64, True), ("gated", 128, True), ("added", 136, False),
     ("added, then gated", 128, False), ("rows of all heads, and channels", 256, True)],
)  # fmt: skip
def test_wide_results_have_room_for_less(
    name: str, width: int, fits: bool, harness: Harness
) -> None:
    inputs = {**INPUTS, "v": f"[b, 2, m, {width}]"}
    answer = TritonBackend().can(with_epilogue(harness.site(PLAIN, inputs), ALL[name]), TARGET)
    assert isinstance(answer, No) != fits
    assert fits or "spill registers" in answer.reasons[0]


@pytest.mark.parametrize(
    "call",
    [
        "causal, with lse",
        "two sources",
        "a sum of two",
        "part of a sum",
        "sigmoid",
        "keys that stay in a tile",
        "lists of keys",
    ],
)
def test_attentions(call: str, harness: Harness) -> None:
    checked(harness, call, EPILOGUES["added, then gated"], torch.float32)

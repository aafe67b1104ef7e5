"""What q and k are before they are multiplied, in the interpreter, by the rule of error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from attnc.backends.reference import ReferenceBackend, function
from attnc.backends.tiled import TiledBackend
from attnc.backends.triton import TritonBackend
from attnc.compiler.kernel import Backend, No, Site, Target, Yes
from attnc.dsl.attention import Coordinate, Load, Result
from attnc.dsl.dims import Size
from attnc.dsl.graph import TensorType
from attnc.dsl.prologues import Normed, Prologue, Rotated, Step, prologue_tensors
from attnc.dsl.scorelang import make

if TYPE_CHECKING:
    from tests.backends.conftest import Harness
    from tests.backends.conftest import Load as LoadKernels

torch.set_num_threads(1)

TARGET = Target("cuda", "90")
SIZES = {"b": 2, "n": 50, "m": 37, "p": 20}
HALVES = Rotated("cos", "sin")
RMS = Normed("rms", 1e-6, "gain")
STEPS: Mapping[str, tuple[Step, ...]] = {
    "rotated": (HALVES,),
    "neighbours": (Rotated("cos", "sin", neighbours=True),),
    "by column": (Rotated("cos", "sin", by_column=True),),
    "normed, then neighbours by column": (RMS, Rotated("cos", "sin", True, True)),
    "layer norm, then rotated": (Normed("layer", 1e-5, "gain", "shift"), HALVES),
    "rotated, then normed": (HALVES, RMS),
    "cosine": (Normed("l2", 1e-12),),
    "layer norm of columns": (Normed("layer", 1e-5),),
}
CALLS = {
    "plain": (
        "attend(q, k, v)", {"q": "[b, 2, n, 24]", "k": "[b, 2, m, 24]", "v": "[b, 2, m, 40]"},
    ),
    "heads share keys, with lse": (
        "attend(q, k, v, domain=causal, outputs=[lse])",
        {"q": "[b, 4, n, 16]", **dict.fromkeys("kv", "[b, 2, n, 16]")},
    ),
    "two sources": (
        "attend(q, [source(k, v), source(k2, v2)])",
        {"q": "[b, 2, n, 16]", **dict.fromkeys("kv", "[b, 2, m, 16]"), "k2": "[b, 2, p, 16]",
         "v2": "[b, 2, p, 16]"},
    ),
    "windows and a bias": (
        "attend(q, k, v, grid=[6, 10], domain=windows([3, 5], shift=1), "
        "score=qk * scale + bias[h, query_slot, slot])",
        {**dict.fromkeys("qkv", "[b, 2, 60, 16]"), "bias": "[2, 15, 15]"},
    ),
    "a post expression that takes two walks": (
        "attend(q, k, v, post=w * w)", dict.fromkeys("qkv", "[b, 2, n, 16]"),
    ),
}  # fmt: skip


def turned(site: Site, **steps: tuple[Step, ...]) -> Site:
    """Return a site whose operands become something else; tensors of `q` are called as stated."""
    given = {name: _own(name, each) for name, each in steps.items()}
    prologues = tuple(Prologue(name, each) for name, each in given.items())
    rows = {"q": site.q, **{f"k{at}": k for at, (k, _) in enumerate(site.sources)}}
    types: dict[str, TensorType] = {}
    for prologue in prologues:
        _, _, length, width = rows[prologue.operand].shape
        for step in prologue.steps:
            columns: Size = width
            if isinstance(step, Rotated) and not step.by_column:
                columns = width // 2
            shape = (length, columns) if isinstance(step, Rotated) else (columns,)
            types |= dict.fromkeys(step.tensors, TensorType(shape))
    assert [*types] == [*prologue_tensors(prologues)]
    attention = replace(
        site.attention, prologues=prologues, tensors=(*site.attention.tensors, *types)
    )
    return replace(site, attention=attention, tensors=(*site.tensors, *types.values()))


def _own(operand: str, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return steps of an operand, which read tensors of its own."""
    if operand == "q":
        return steps
    made: list[Step] = []
    for step in steps:
        if isinstance(step, Rotated):
            made.append(replace(step, cos=f"{step.cos}_{operand}", sin=f"{step.sin}_{operand}"))
        else:
            weight, bias = (name and f"{name}_{operand}" for name in (step.weight, step.bias))
            made.append(replace(step, weight=weight, bias=bias))
    return tuple(made)


def checked(
    harness: Harness, site: Site, dtype: torch.dtype, tile: tuple[int, int] = (32, 32)
) -> None:
    given = harness.inputs(site, SIZES, dtype)
    harness.check(harness.interpreted(site, tile), site, dtype, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("name", STEPS)
def test_steps(name: str, dtype: torch.dtype, harness: Harness) -> None:
    site = harness.site(*CALLS["plain"])
    checked(harness, turned(site, q=STEPS[name], k0=STEPS[name]), dtype)


@pytest.mark.parametrize("call", [call for call in CALLS if call != "plain"])
def test_attentions(call: str, harness: Harness) -> None:
    site = harness.site(*CALLS[call])
    keys = {f"k{at}": (RMS, HALVES) for at, _ in enumerate(site.sources)}
    checked(harness, turned(site, q=(HALVES,), **keys), torch.float32)


def test_of_queries_alone(harness: Harness) -> None:
    site = turned(harness.site(*CALLS["plain"]), q=STEPS["cosine"])
    checked(harness, site, torch.float16)


def test_what_follows_the_result_may_be_changed_as_well(harness: Harness) -> None:
    site = turned(harness.site(*CALLS["heads share keys, with lse"]), q=(RMS, HALVES))
    gate = Load("gate", tuple(map(Coordinate, "bhic")))
    attention = replace(
        site.attention,
        epilogue=make("mul", Result(), make("sigmoid", gate)),
        tensors=(*site.attention.tensors, "gate"),
    )
    checked(
        harness, replace(site, attention=attention, tensors=(*site.tensors, site.q)), torch.float32
    )


def test_tables_may_serve_both_and_differ_between_samples(harness: Harness) -> None:
    site = turned(harness.site(*CALLS["heads share keys, with lse"]), q=(HALVES,))
    batch, _, n, width = site.q.shape
    table = TensorType((batch, 1, n, width // 2))
    keys = Prologue("k0", (HALVES,))
    attention = replace(site.attention, prologues=(*site.attention.prologues, keys))
    checked(harness, replace(site, attention=attention, tensors=(table, table)), torch.float32)


def test_strides_do_not_matter(harness: Harness) -> None:
    site = turned(harness.site(*CALLS["plain"]), q=(RMS, HALVES), k0=(RMS, HALVES))
    given = [
        x.movedim(-1, 0).contiguous().movedim(0, -1)
        for x in harness.inputs(site, SIZES, torch.float32)
    ]
    assert not given[0].is_contiguous()
    harness.check(harness.interpreted(site, (32, 32)), site, torch.float32, given)


def test_gradients_that_none_asks_for_are_not_computed(harness: Harness) -> None:
    site = turned(harness.site(*CALLS["plain"]), q=(RMS, HALVES))
    entry = harness.interpreted(site, (32, 32))
    given = [x.float() for x in harness.inputs(site, SIZES, torch.float32)]
    for wanted in (given[0], given[2], given[-1]):
        for x in given:
            x.requires_grad_(x is wanted)
        grad, expected = (_gradient(each(*given), wanted) for each in (entry, function(site)))
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-4)


def test_torch_traces_gradients_through_what_q_is(harness: Harness) -> None:
    """Without an implementation for the CPU, operators have the gradients that a GPU's have."""
    site = turned(harness.site(*CALLS["plain"]), q=(RMS, HALVES))
    harness.interpreted(site, (64, 64))
    given = [x.float().requires_grad_() for x in harness.inputs(site, SIZES, torch.float32)]
    operator = vars(harness.module(site))["attend_op"]._opoverload
    torch.library.opcheck(operator, tuple(given), test_utils="test_aot_dispatch_dynamic")


def _gradient(result: Tensor | tuple[Tensor, ...], of: Tensor) -> Tensor:
    assert isinstance(result, Tensor)
    (grad,) = torch.autograd.grad(result.sum(), [of])
    return grad


@pytest.mark.parametrize("fallback", [ReferenceBackend(), TiledBackend()], ids=["eager", "tiled"])
def test_the_cpu_has_the_same_numbers(
    fallback: Backend, harness: Harness, load_kernels: LoadKernels
) -> None:
    site = turned(harness.site(*CALLS["heads share keys, with lse"]), q=(RMS, HALVES), k0=(HALVES,))
    names = vars(load_kernels(site, TritonBackend(fallback).build(site, TARGET)))
    given = harness.inputs(site, SIZES, torch.float32)
    ours, exact = (
        harness.run(entry, given, torch.float64) for entry in (names["attend"], function(site))
    )
    for x, y in zip(ours, exact, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)
    arguments = [x.float().requires_grad_() for x in given]
    torch.library.opcheck(names["attend_op"]._opoverload, tuple(arguments))


@pytest.mark.parametrize(
    "call",
    [
        "attend(q, k, v, normalize=softmax(queries))",
        "attend(q, k, v, normalize=none)",
        "attend(q, k, v, score=l1(q, k))",
    ],
)
def test_other_templates_leave_it_to_torch(call: str, harness: Harness) -> None:
    site = harness.site(call, CALLS["plain"][1])
    assert isinstance(TritonBackend().can(site, TARGET), No) or not _reads(site)
    answer = TritonBackend().can(turned(site, q=(HALVES,)), TARGET)
    assert isinstance(answer, No)


def _reads(site: Site) -> Mapping[str, int | None]:
    answer = TritonBackend().can(site, TARGET)
    return answer.reads if isinstance(answer, Yes) else {}


@pytest.mark.parametrize(
    ("call", "shapes", "reads"),
    [
        ("attend(q, k, v)", dict.fromkeys("qkv", "[b, 2, n, 64]"), None),
        ("attend(q, k, v)", dict.fromkeys("qkv", "[b, 2, 300, 64]"), 3),
        ("attend(q, k, v)", dict.fromkeys("qkv", "[b, 2, 60, 64]"), 1),
        ("attend(q, k, v, post=w * w)", dict.fromkeys("qkv", "[b, 2, 60, 64]"), 2),
        ("attend(q, k, v)", {"q": "[b, 8, 60, 64]", **dict.fromkeys("kv", "[b, 2, 60, 64]")}, 2),
        ("attend(q, k, v, grid=[14, 14], domain=windows(7))",
         dict.fromkeys("qkv", "[b, 2, 196, 64]"), 1),
        ("attend(q, k, v, grid=[14, 14], domain=windows(7))",
         {"q": "[b, 8, 196, 64]", **dict.fromkeys("kv", "[b, 2, 196, 64]")}, 4),
        ("attend(q, k, v, grid=[14, 14], domain=neighborhood(7))",
         dict.fromkeys("qkv", "[b, 2, 196, 64]"), None),
    ],
)  # fmt: skip
def test_how_often_keys_are_read(
    call: str, shapes: Mapping[str, str], reads: int | None, harness: Harness
) -> None:
    assert _reads(harness.site(call, shapes)) == {"q": 1, "k0": reads}

"""What q and k are before they are multiplied, in the interpreter, by the rule of error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from attnc.compiler.kernel import Site, Target
from attnc.dsl.dims import Size
from attnc.dsl.graph import TensorType
from attnc.dsl.prologues import Normed, Prologue, Rotated, Step, prologue_tensors

if TYPE_CHECKING:
    from tests.backends.conftest import Harness

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

"""Norms of rows and rotations before an attention are part of it where that moves fewer bytes."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

import attnc
from attnc.api import Compilation
from attnc.compiler.plan import SitePlan
from attnc.compiler.plan_text import site_text
from attnc.dsl.attention_text import prologue_text

torch.set_num_threads(1)

SHAPES = {
    "q": "[b, 2, n, 16]", "k": "[b, 2, n, 16]", "v": "[b, 2, n, 16]", "keep": "[b, n] bool",
    "c": "[n, 8]", "s": "[n, 8]", "cs": "[b, 1, n, 16]", "sn": "[b, 1, n, 16]",
    "few": "[b, 2, 16, 16]", "many": "[b, 2, 1024, 16]", "heat": "[2]",
}  # fmt: skip
ATTEND = "o = attend({}, {}, v, mask=keep[b, j])"
HALVES = """low, high = split(q, 2, axis=-1)
  r = concat(c * low - high * s, low * s + high * c, axis=-1)"""
PAIRS = """even, odd = unbind(rearrange(q, "b h n (c p) -> b h n c p", p=2), axis=-1)
  pairs = stack(even * c - odd * s, odd * c + even * s, axis=-1)
  r = rearrange(pairs, "b h n c p -> b h n (c p)")"""
COLUMNS = """low, high = chunk(q, 2)
  r = q * cs + concat(-high, low, axis=-1) * sn"""
FUSED = {
    "r = rope(q)": "q is rotated(q, cos, sin)",
    HALVES: "q is rotated(q, cos, sin)",
    PAIRS: "q is rotated(q, cos, sin, neighbours)",
    COLUMNS: "q is rotated(q, cos, sin)",
    "r = l2_normalize(q)": "q is l2_normalize(q, eps = 1e-12)",
    "r = rms_norm(q, eps=1e-6) @gain": "q is rms_norm(q, eps = 1e-06) * gain_weight",
    "r = rms_norm(q, eps=1e-6, weight=false)": "q is rms_norm(q, eps = 1e-06)",
    "r = layer_norm(q) @gain": "q is layer_norm(q, eps = 1e-05) * gain_weight + gain_bias",
    "r = rope(layer_norm(q, weight=false, bias=false))": (
        "q is rotated(layer_norm(q, eps = 1e-05), cos, sin)"
    ),
    "r = rms_norm(rope(q), eps=1e-6) @gain": (
        "q is rms_norm(rotated(q, cos, sin), eps = 1e-06) * gain_weight"
    ),
}  # fmt: skip


def model(body: str, **shapes: str) -> str:
    used = [name for name in SHAPES if re.search(rf"\b{name}\b", body)]
    inputs = "\n".join(f"  input {name}: {shapes.get(name, SHAPES[name])}" for name in used)
    return f"model m() {{\n{inputs}\n  {body}\n  output o = o\n}}"


def plan(body: str, target: str = "cuda:90", **shapes: str) -> SitePlan:
    graph = attnc.check(attnc.loads(model(body, **shapes)))
    (site,) = Compilation(graph, target, {"b": 2, "n": 9}).plan.sites
    return site


def made(site: SitePlan) -> list[str]:
    attention = site.site.attention
    return [prologue_text(attention, each) for each in attention.prologues]


def results(body: str, target: str) -> list[Tensor]:
    """Return the result and the gradients of all inputs but masks, and of all weights."""
    spec, sizes = attnc.loads(model(body)), {"b": 2, "n": 9}
    torch.manual_seed(0)
    given = []
    for type_ in attnc.check(spec).inputs.values():
        tensor = torch.randn([sizes.get(str(size)) or int(str(size)) for size in type_.shape])
        given.append(tensor > -1 if type_.dtype == "bool" else tensor.double().requires_grad_())
    compiled = attnc.compile(spec, target=target).double()
    for at, weight in enumerate(compiled.parameters()):
        torch.nn.init.uniform_(weight, 0.5, 1.5 + at)
    found = compiled(*given)
    wanted = [each for each in given if each.is_floating_point()] + [*compiled.parameters()]
    return [found, *torch.autograd.grad(found.square().sum(), wanted)]


@pytest.mark.parametrize("body", FUSED)
def test_the_plan_has_what_q_is(body: str) -> None:
    found = plan(f"{body}\n  {ATTEND.format('r', 'k')}")
    assert found.chosen == "triton" and made(found) == [FUSED[body]]
    assert found.fusible == ()


@pytest.mark.parametrize("body", FUSED)
def test_the_numbers_are_those_of_what_is_written(body: str) -> None:
    body = f"{body}\n  {ATTEND.format('r', 'k')}"
    torch.manual_seed(1)
    pairs = (results(body, target) for target in ("cuda:90", "reference"))
    for found, expected in zip(*pairs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_weights_keep_their_names() -> None:
    body = f"r = rms_norm(q, eps=1e-6) @gain\n  {ATTEND.format('r', 'k')}"
    names = [
        [*attnc.compile(attnc.loads(model(body)), target=t).state_dict()]
        for t in ("cpu", "cuda:90")
    ]
    assert names == [["gain.weight"]] * 2


def test_written_by_hand_it_is_the_plan_of_the_block() -> None:
    block, by_hand = (
        plan(f"{body}\n  {ATTEND.format('r', 'k')}") for body in ("r = rope(q)", HALVES)
    )
    assert block.site == by_hand.site and block.verdicts == by_hand.verdicts


def test_keys_that_one_tile_of_queries_reads_are_changed_as_they_are_read() -> None:
    shape = "[b, 2, 100, 16]"
    few = plan(ATTEND.format("rope(q)", "rope(k)"), q=shape, k=shape, v=shape, keep="[b, 100] bool")
    assert made(few) == ["q is rotated(q, cos, sin)", "k is rotated(k, cos, sin)"]
    assert len(few.site.tensors) == 3  # one cos and one sin for both
    windows = "o = attend(rope(q), l2_normalize(k), v, grid=[14, 14], domain=windows(7))"
    grid = dict.fromkeys(("q", "k", "v"), "[b, 2, 196, 16]")
    assert made(plan(windows, **grid)) == [
        "q is rotated(q, cos, sin)", "k is l2_normalize(k, eps = 1e-12)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("length", "domain", "reason"),
    [
        ("n", "all", "keys are read again for each tile of queries"),
        ("300", "all", "3 tiles of queries read each key, so that fusing it would move"),
        ("196", "neighborhood(7, grid=[14, 14])", "keys are read again for each tile of queries"),
    ],
)
def test_keys_that_several_tiles_read_stay(length: str, domain: str, reason: str) -> None:
    call = f"o = attend(q, rope(k), v, mask=keep[b, j], domain={domain})"
    shape = f"[b, 2, {length}, 16]"
    found = plan(call, q=shape, k=shape, v=shape, keep=f"[b, {length}] bool")
    assert found.chosen == "triton" and made(found) == []
    assert reason in site_text(found)


def test_the_plan_counts_the_bytes() -> None:
    rows = 2 * 2 * 9 * 16 * 2
    bodies = ("rope(q)", "l2_normalize(q)", "rope(l2_normalize(q))")
    sites = [plan(ATTEND.format(body, "k")) for body in bodies]
    assert [dict(site.ahead) for site in sites] == [
        {"q": (rows, 3 * rows)}, {"q": (rows, 2 * rows)}, {"q": (2 * rows, 5 * rows)},
    ]  # fmt: skip
    assert "saving 1.15 kB; gradients make it once more, 3.46 kB" in site_text(sites[0])


@pytest.mark.parametrize(
    "body",
    [
        ATTEND.format("rms_norm(q)", "k"),
        ATTEND.format("l2_normalize(q, axis=2)", "k"),
        f"r = rope(q)\n  {ATTEND.format('r', 'k')} + r",
        HALVES.replace("c * low", "low * s") + f"\n  {ATTEND.format('r', 'k')}",
        HALVES.replace("low * s +", "high * s +") + f"\n  {ATTEND.format('r', 'k')}",
        HALVES.replace("c * low - high", "high * s - low").replace("low * s,", "low * c,")
        + f"\n  {ATTEND.format('r', 'k')}",
        f"t = mean(c)\n  {HALVES}".replace("c * low", "t * low").replace("high * c", "high * t")
        + f"\n  {ATTEND.format('r', 'k')}",
        COLUMNS.replace("-high, low", "-low, high") + f"\n  {ATTEND.format('r', 'k')}",
        PAIRS.replace("c p -> b h n (c p)", "c p -> b h n (p c)")
        + f"\n  {ATTEND.format('r', 'k')}",
    ],
)  # fmt: skip
def test_what_is_no_norm_or_rotation_of_its_own_stays(body: str) -> None:
    assert made(plan(body)) == []


def test_it_stays_where_other_kernels_compute_the_attention() -> None:
    assert made(plan("o = attend(rope(q), k, v)")) == []
    assert made(plan(ATTEND.format("rope(q)", "k"), "cpu")) == []
    kept = plan("o = attend(rope(many), few, few, score=qk * heat[h])")
    assert kept.chosen == "triton" and made(kept) == []

"""Windows that stand in the batch get the plan of the domain, and its numbers."""

from __future__ import annotations

import re

import pytest
import torch

import attnc
from attnc.api import Compilation
from attnc.compiler.kernel import Site

torch.set_num_threads(1)

SHAPES = {
    "q": "[b, 2, 1024, 4]", "k": "[b, 2, 1024, 4]", "v": "[b, 2, 1024, 3]", "bias": "[2, 64, 64]",
    "qkv": "[b, 1024, 24]", "maps": "[b, 24, 32, 32]", "keep": "[b, 2, 64] bool",
    "images": "[b, 32, 32, 24]", "clips": "[b, t, 1024, 24]",
}  # fmt: skip
SIZES = {"b": 2, "t": 3}
PARTED = '"b h (y i z j) d -> (b y z) h (i j) d", y=4, i=8, z=4'
BACK = '"(b y z) h (i j) d -> b h (y i z j) d", y=4, i=8, z=4'
THREE = f"rearrange(q, {PARTED}), rearrange(k, {PARTED}), rearrange(v, {PARTED})"
FROM = "grid=[32, 32], domain=windows(8)"

BY_HAND = {
    "heads first": (
        f"o = rearrange(attend({THREE}), {BACK})",
        f"o = attend(q, k, v, {FROM})",
    ),
    "bias by slot": (
        f"o = rearrange(attend({THREE}, score=qk + bias[h, i, j]), {BACK})",
        f"o = attend(q, k, v, {FROM}, score=qk + bias[h, query_slot, slot])",
    ),
    "a number for each window": (
        f"slope = mean(rearrange(q, {PARTED}), axis=[1, 2, 3])\n"
        f"  o = rearrange(attend({THREE}, score=qk + slope[b] * j), {BACK})",
        f"slope = mean(rearrange(q, {PARTED}), axis=[1, 2, 3])\n"
        f"  o = attend(q, k, v, {FROM}, score=qk + slope[(b * 4 + iy // 8) * 4 + ix // 8] * slot)",
    ),
    "interleaved": (
        f"o = rearrange(attend({THREE}), {BACK})".replace("y i z j", "i y j z"),
        "o = attend(q, k, v, grid=[32, 32], domain=windows(8, dilation=4))",
    ),
    "numbers before the batch": (
        f"o = rearrange(attend({THREE}), {BACK})".replace("(b y z)", "(z b y)"),
        f"o = attend(q, k, v, {FROM})",
    ),
    "keys in another order": (
        f"o = rearrange(attend({THREE}), {BACK})".replace(
            f"k, {PARTED}", f"k, {PARTED}".replace("(b y z)", "(b z y)")
        ),
        'turned = rearrange(k, "b h (y i z j) d -> b h (z i y j) d", y=4, i=8, z=4)\n'
        f"  o = attend(q, turned, v, {FROM})",
    ),
    "stripes": (
        f"o = rearrange(attend({THREE}), {BACK})"
        .replace("y i z j", "i z j").replace("b y z", "b z").replace("y=4, i=8", "i=32"),
        "o = attend(q, k, v, grid=[32, 32], domain=windows([32, 8]))",
    ),
    "projected together": (
        'q, k, v = unbind(rearrange(qkv, "b (y i z j) (p h e) -> p (b y z) h (i j) e", '
        "p=3, h=2, y=4, i=8, z=4))\n"
        '  o = rearrange(attend(q, k, v), "(b y z) h (i j) e -> b (y i z j) (h e)", y=4, i=8, z=4)',
        'q, k, v = unbind(rearrange(qkv, "b n (p h e) -> p b h n e", p=3, h=2))\n'
        f'  o = rearrange(attend(q, k, v, {FROM}), "b h n e -> b n (h e)")',
    ),
    "maps with channels first": (
        'q, k, v = unbind(rearrange(maps, "b (p h e) (y i) (z j) -> p (b y z) h (i j) e", '
        "p=3, h=2, i=8, j=8))\n"
        '  o = rearrange(attend(q, k, v), "(b y z) h (i j) e -> b (h e) (y i) (z j)", '
        "y=4, i=8, z=4)",
        'q, k, v = unbind(rearrange(maps, "b (p h e) y z -> p b h (y z) e", p=3, h=2))\n'
        f'  o = rearrange(attend(q, k, v, {FROM}), "b h (y z) e -> b (h e) y z", y=32)',
    ),
    "frames": (
        'q, k, v = unbind(rearrange(clips, "b t (y i z j) (p h e) -> p (b t y z) h (i j) e", '
        "p=3, h=2, y=4, i=8, z=4))\n"
        '  o = rearrange(attend(q, k, v), "(b t y z) h (i j) e -> b t (y i z j) (h e)", '
        "t=t, y=4, i=8, z=4)",
        'q, k, v = unbind(rearrange(clips, "b t n (p h e) -> p (b t) h n e", p=3, h=2))\n'
        f'  o = rearrange(attend(q, k, v, {FROM}), "(b t) h n e -> b t n (h e)", t=t)',
    ),
}  # fmt: skip


def model(body: str) -> str:
    used = [name for name in SHAPES if re.search(rf"[(, ]{name}[,\[]", body)]
    made = re.findall(r"^(.*?) =", body)[0].split(", ")
    inputs = "\n".join(f"  input {name}: {SHAPES[name]}" for name in used if name not in made)
    if "t=t" in body:
        body = f"t = clips.shape[1]\n  {body}"
    return f"model m() {{\n{inputs}\n  {body}\n  output o = o\n}}"


def sites(text: str, target: str) -> list[Site]:
    plan = Compilation(attnc.check(attnc.loads(text)), target, SIZES).plan
    return [each.site for each in plan.sites]


@pytest.mark.parametrize("case", BY_HAND)
def test_the_plan_is_that_of_the_domain(case: str) -> None:
    by_hand, primitive = (sites(model(each), "cuda:90") for each in BY_HAND[case])
    assert by_hand == primitive
    assert "windows" in BY_HAND[case][1]


@pytest.mark.parametrize("case", BY_HAND)
def test_the_numbers_are_those_of_the_windows_in_the_batch(case: str) -> None:
    by_hand, _ = BY_HAND[case]
    text = model(by_hand)
    torch.manual_seed(0)
    types = attnc.check(attnc.loads(text)).inputs.values()
    given = [
        torch.randn([SIZES.get(str(size), 0) or int(str(size)) for size in each.shape]).double()
        for each in types
    ]
    found, expected = (
        attnc.compile(attnc.loads(text), target=target).double()(*given)
        for target in ("cuda:90", "reference")
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "body",
    [
        f"o = rearrange(attend({THREE}), {BACK})".replace(
            f"k, {PARTED}", f"k, {PARTED}".replace("y=4, i=8, z=4", "y=2, i=8, z=8")
        ),
        f"o = rearrange(attend({THREE}, domain=causal), {BACK})",
        f"o = rearrange(attend({THREE}), {BACK})".replace("(i j) d", "(j i) d", 1),
        f"p = attend({THREE})\n  o = rearrange(p, {BACK}) + mean(p)",
        f"o = rearrange(attend({THREE}), \"(b w) h n d -> b h (w n) d\", w=16)",
    ],
)  # fmt: skip
def test_other_rearrangements_stay(body: str) -> None:
    assert "Windows(" not in repr(sites(model(body), "cuda:90"))


def test_windows_stay_in_the_batch_where_kernels_do_not_find_their_tokens() -> None:
    text = model(BY_HAND["heads first"][0])
    assert "Windows(" not in repr(sites(text, "cpu"))

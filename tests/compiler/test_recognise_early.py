"""Tokens moved before their projections get the plan of the primitive, and its numbers."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

import attnc
from attnc.api import Compilation
from attnc.compiler.kernel import Site

torch.set_num_threads(1)

SHAPES = {"x": "[b, 1024, 24]", "left": "[b, 7, 16]", "right": "[b, 5, 16]", "bias": "[2, 64, 64]"}
HEADS = '"b n (h e) -> b h n e", h=2'
THREE = 'q, k, v = unbind(rearrange(linear({}, 72) @qkv, "b n (p h e) -> p b h n e", p=3, h=2))'
OUT = 'linear(rearrange({}, "b h n e -> b n (h e)"), 24) @proj'
CUT = 'rearrange({}, "b (y i) (z j) d -> (b y z) (i j) d", i=8, j=8)'
BACK = 'rearrange({}, "(b y z) (i j) d -> b (y i) (z j) d", y=4, z=4, i=8)'
MAP, FLAT = 'rearrange(x, "b (y x) d -> b y x d", y=32)', 'rearrange({}, "b y x d -> b (y x) d")'
PART = "thirds = cast(iota(32) >= 24, 'int') + cast(iota(32) >= 28, 'int')"
REGION = f"""{PART}
  region = unsqueeze(thirds, 1) * 3 + thirds
  region = rearrange(region, "(y i) (z j) -> (y z) (i j)", i=8, j=8)"""
SAME = "region[b % 16, i] == region[b % 16, j]"


def by_hand(attend: str = "attend(q, k, v)", roll: str = "[-4, -4]", tables: str = "") -> str:
    """Return Swin's order of things: roll, cut, project, attend, project, put together, roll."""
    back = re.sub(r"-?\d", lambda number: str(-int(number[0])), roll)
    return f"""{tables}
  y = {CUT.format(f"roll({MAP}, {roll}, [1, 2])")}
  {THREE.format("y")}
  y = {OUT.format(attend)}
  o = {FLAT.format(f"roll({BACK.format('y')}, {back}, [1, 2])")}"""


def primitive(domain: str, more: str = "", tables: str = "") -> str:
    """Return the attention over windows of tokens that stay where they are."""
    attend = f"attend(q, k, v, grid=[32, 32], domain={domain}{more})"
    return f"{tables}\n  {THREE.format('x')}\n  o = {OUT.format(attend)}"


BOTH = "windows(8, shift=4)"
NUMBER = "((b * 4 + (iy - 4) % 32 // 8) * 4 + (ix - 4) % 32 // 8) % 16"
BY_HAND = {
    "shifted, a mask by region": (
        by_hand(f"attend(q, k, v, mask={SAME})", tables=REGION), primitive(BOTH),
    ),
    "a mask by axis": (
        by_hand(
            "attend(q, k, v, mask=part[b % 16 // 4, i // 8] == part[b % 16 // 4, j // 8] "
            "and part[b % 4, i % 8] == part[b % 4, j % 8])",
            tables=f'{PART}\n  part = rearrange(thirds, "(y i) -> y i", i=8)',
        ),
        primitive(BOTH),
    ),
    "a mask of pairs": (
        by_hand("attend(q, k, v, mask=same[b % 16, i, j])", tables=f"""{REGION}
  same = unsqueeze(region, 2) == unsqueeze(region, 1)"""),
        primitive(BOTH),
    ),
    "no mask": (by_hand(), primitive("windows(8, shift=4, wrap=true)")),
    "a score of regions": (
        by_hand(f"attend(q, k, v, score=qk * scale + where({SAME}, 0.0, -100.0))", tables=REGION),
        primitive(
            "windows(8, shift=4, wrap=true)",
            f", score=qk * scale + where(region[{NUMBER}, query_slot] == region[{NUMBER}, slot], "
            "0.0, -100.0)",
            REGION,
        ),
    ),
    "a mask that is none of regions": (
        by_hand("attend(q, k, v, mask=i >= j)"),
        primitive("windows(8, shift=4, wrap=true)", ", mask=query_slot >= slot"),
    ),
    "rolled the other way": (
        by_hand(roll="[3, 0]"), primitive("windows(8, shift=[5, 0], wrap=true)"),
    ),
    "a bias": (
        by_hand("attend(q, k, v, score=qk * scale + bias[h, i, j])"),
        primitive(
            "windows(8, shift=4, wrap=true)", ", score=qk * scale + bias[h, query_slot, slot]"
        ),
    ),
    "products": (
        by_hand("matmul(softmax(matmul(q, transpose(k)) * 12 ** -0.5), v)"),
        primitive("windows(8, shift=4, wrap=true)"),
    ),
    "not rolled": (
        f"y = {CUT.format(MAP)}\n  {THREE.format('y')}\n  "
        f"o = {FLAT.format(BACK.format(OUT.format('attend(q, k, v)')))}",
        primitive("windows(8)"),
    ),
    "norms, activations and weights between": (
        f"""y = {CUT.format(MAP)}
  y = silu(layer_norm(y) @norm) * 2 + param([24], "ones") @shift
  q, k = split(linear(y, 48) @qk, 2, axis=-1)
  q = rearrange(q, {HEADS})
  k = rearrange(l2_normalize(k), {HEADS})
  v = rearrange(linear(y, 24) @v, {HEADS})
  o = {FLAT.format(BACK.format(f"({OUT.format('attend(q, k, v)')}) * 0.5"))}""",
        f"""y = silu(layer_norm(x) @norm) * 2 + param([24], "ones") @shift
  q, k = split(linear(y, 48) @qk, 2, axis=-1)
  q = rearrange(q, {HEADS})
  k = rearrange(l2_normalize(k), {HEADS})
  v = rearrange(linear(y, 24) @v, {HEADS})
  o = ({OUT.format("attend(q, k, v, grid=[32, 32], domain=windows(8))")}) * 0.5""",
    ),
    "around a block": (
        f"""y = {CUT.format(f"roll({MAP}, [-4, -4], [1, 2])")}
  y = self_attention(y, heads=2) @attn
  o = {FLAT.format(f"roll({BACK.format('y')}, [4, 4], [1, 2])")}""",
        "o = self_attention(x, heads=2, domain=windows(8, 4, wrap=true, grid=[32, 32])) @attn",
    ),
    "contexts joined before the projections": (
        f"""q = rearrange(linear(x, 24) @q, {HEADS})
  y = linear(layer_norm(concat(left, right, axis=1)) @norm, 48) @kv
  k, v = unbind(rearrange(y, "b n (p h e) -> p b h n e", p=2, h=2))
  o = attend(q, k, v)""",
        f"""q = rearrange(linear(x, 24) @q, {HEADS})
  norm = use layer_norm()
  kv = use linear(48)
  k, v = unbind(rearrange(kv(norm(left)), "b n (p h e) -> p b h n e", p=2, h=2))
  l, w = unbind(rearrange(kv(norm(right)), "b n (p h e) -> p b h n e", p=2, h=2))
  o = attend(q, [source(k, v), source(l, w)])""",
    ),
}  # fmt: skip


def model(body: str) -> str:
    used = [name for name in SHAPES if re.search(rf"[(, ]{name}[,)\[]", body)]
    inputs = "\n".join(f"  input {name}: {SHAPES[name]}" for name in used)
    return f"model m() {{\n{inputs}\n  {body}\n  output o = o\n}}".replace("'", '"')


def sites(body: str, target: str = "cuda:90") -> list[Site]:
    plan = Compilation(attnc.check(attnc.loads(model(body))), target, {"b": 2}).plan
    return [each.site for each in plan.sites]


def results(body: str, target: str) -> list[Tensor]:
    """Return the result and the gradients of all inputs, the same for all targets."""
    text = model(body)
    torch.manual_seed(0)
    shapes = (each.shape for each in attnc.check(attnc.loads(text)).inputs.values())
    given = [
        torch.randn([size if isinstance(size, int) else 2 for size in shape]).double()
        for shape in shapes
    ]
    for each in given:
        each.requires_grad_()
    compiled = attnc.compile(attnc.loads(text), target=target).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in compiled.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype) / 4)
    found = compiled(*given)
    weights = [*compiled.parameters()]
    return [found, *torch.autograd.grad(found.square().sum(), [*given, *weights])]


@pytest.mark.parametrize("case", BY_HAND)
def test_the_plan_is_that_of_the_primitive(case: str) -> None:
    by_hand, primitive = BY_HAND[case]
    assert sites(by_hand) == sites(primitive)


@pytest.mark.parametrize("case", BY_HAND)
def test_the_numbers_are_those_of_what_is_written(case: str) -> None:
    by_hand, _ = BY_HAND[case]
    pairs = zip(results(by_hand, "cuda:90"), results(by_hand, "reference"), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


SHIFTED, _ = BY_HAND["shifted, a mask by region"]


@pytest.mark.parametrize(
    "body",
    [
        # A mean over the tokens of a window; a second reader of what is projected; dropped tokens.
        by_hand().replace("linear(y, 72)", "linear(y - mean(y, axis=1, keepdim=true), 72)"),
        by_hand() + " + mean(y)",
        by_hand().replace(THREE.format("y"), f"p = linear(y, 72) @qkv\n  {THREE.format('y')}")
        .replace("linear(y, 72) @qkv, ", "p, ") + " + mean(p)",
        by_hand().replace("linear(y, 72)", "linear(dropout(y, 0.1), 72)"),
        BY_HAND["around a block"][0].replace("heads=2", "heads=2, domain=causal"),
    ],
)  # fmt: skip
def test_other_windows_stay_in_the_batch(body: str) -> None:
    assert "Windows(" not in repr(sites(body))


@pytest.mark.parametrize(
    "body",
    [
        # Rolled back by less, not rolled back, and keys of another map than queries.
        by_hand().replace("[4, 4]", "[4, 3]"),
        by_hand().replace("[4, 4], [1, 2]", "[4, 4], [2, 1]").replace("[-4, -4]", "[-4, 0]"),
        by_hand().replace(THREE.format("y"), f"""z = {CUT.format(MAP)}
  q = rearrange(linear(y, 24) @q, {HEADS})
  k = rearrange(linear(z, 24) @k, {HEADS})
  v = rearrange(linear(z, 24) @v, {HEADS})"""),
    ],
)  # fmt: skip
def test_maps_that_are_not_rolled_back_stay_rolled(body: str) -> None:
    (site,) = sites(body)
    assert "Windows(size=(8, 8), shift=(0, 0)" in repr(site)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (">= 28", ">= 27"),
        (SAME, "region[b % 8, i] == region[b % 8, j]"),
        (SAME, "region[b % 16, i] == region[b % 16, j] or i == j"),
        (SAME, "region[(b + 1) % 16, i] == region[(b + 1) % 16, j]"),
        ("(y z) (i j)", "(z y) (i j)"),
        ("cast(iota(32)", "cast(iota(32) * thirds_of"),
    ],
)
def test_other_masks_stay(old: str, new: str) -> None:
    body = SHIFTED.replace(old, new)
    if "thirds_of" in new:
        body = f"thirds_of = cast(mean(x) > 0, 'int')\n  {body}"
    (site,) = sites(body)
    assert site.attention.sources[0].mask is not None


def test_contexts_of_which_queries_are_a_part_stay_joined() -> None:
    body = f"""y = concat(left, right, axis=1)
  {THREE.format("y")}
  o = attend(q, k, v)"""
    (site,) = sites(body)
    assert len(site.sources) == 1


def test_blocks_called_alike_share_what_they_become() -> None:
    body, _ = BY_HAND["around a block"]
    cut, attend, back = body.split("\n")
    twice = f"repeat 3 as i {{\n{cut}\n{attend}s\n{back}\n x = o }}"
    text = model(twice)
    compilation = Compilation(attnc.check(attnc.loads(text)), "cuda:90", {"b": 2})
    (plan,) = compilation.plan.sites
    assert plan.calls == 3 and "Windows(" in repr(plan.site)

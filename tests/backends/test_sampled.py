"""Attention around sampled centres, and the bilinear mixture, against loops over single queries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import attnc
from attnc.backends.materialised.generate import Generator
from attnc.backends.reference import ReferenceBackend, function
from attnc.backends.sdpa import SdpaBackend
from attnc.compiler.cost import site_flops
from attnc.compiler.kernel import No, Site, Target
from attnc.compiler.sites import scores_type, site_of
from attnc.dsl.diagnostics import SpecError

torch.set_num_threads(1)

BATCH, HEADS, WIDTH = 2, 2, 3
GRIDS: Mapping[int, tuple[int, ...]] = {1: (6,), 2: (3, 4), 3: (2, 3, 4)}
L1 = "score = -l1(q, k) * scale"


def site(arguments: str, grid: Sequence[int], results: int = 1, by_head: bool = True) -> Site:
    """Return the site of `attend(q, k, v, arguments)` with centres c and a table by slot."""
    n = math.prod(grid)
    heads = f"{HEADS}, " if by_head else ""
    shapes = dict.fromkeys("qkv", f"[{BATCH}, {HEADS}, {n}, {WIDTH}]")
    shapes |= {"c": f"[{BATCH}, {heads}{n}, {len(grid)}]", "t": f"[{HEADS}, 64]"}
    declared = "\n".join(f" input {name}: {shape}" for name, shape in shapes.items())
    names = ", ".join(f"r{at}" for at in range(results))
    call = f"attend(q, k, v, grid = {list(grid)}, {arguments})"
    unused = {"c": "(c," not in arguments, "t": "t[" not in arguments}
    kept = "\n".join(f" output {name}_out = {name}" for name in unused if unused[name])
    text = f"model m {{\n{declared}\n {names} = {call}\n output o = r0\n{kept}\n}}"
    graph = attnc.check(attnc.loads(text, "m.attn"))
    return site_of(next(node for node in graph.body.nodes if node.op == "attend"), "attend")


def operands(grid: Sequence[int], by_head: bool = True) -> list[Tensor]:
    """Return q, k, v and centres, some of which lie so far out that no key is near."""
    draw = torch.Generator().manual_seed(len(grid))
    n = math.prod(grid)
    streams = [torch.randn(BATCH, HEADS, n, WIDTH, generator=draw).double() for _ in range(3)]
    lead = (BATCH, HEADS, n) if by_head else (BATCH, n)
    sizes = torch.tensor(grid).double()
    centre = torch.rand(*lead, len(grid), generator=draw).double() * (sizes + 4) - 2
    return [*streams, centre]


# What it means ----------------------------------------------------------------------------


def mixture(centre: Sequence[float], scores: Mapping[tuple[int, ...], float], radius: int) -> dict[
    tuple[int, ...], float
]:  # fmt: skip
    """Mix the softmaxes of all windows of 2 r + 1 around the whole positions next to a centre."""
    weights = dict.fromkeys(scores, 0.0)
    for corner in itertools.product((0, 1), repeat=len(centre)):
        middle = [math.floor(c) + one for c, one in zip(centre, corner, strict=True)]
        share = math.prod(
            c - math.floor(c) if one else 1 - c + math.floor(c)
            for c, one in zip(centre, corner, strict=True)
        )
        window = [
            place for place in scores
            if all(abs(p - m) <= radius for p, m in zip(place, middle, strict=True))
        ]  # fmt: skip
        total = sum(math.exp(scores[place]) for place in window)
        for place in window:
            weights[place] += share * math.exp(scores[place]) / total
    return weights


def by_loops(
    q: Tensor, k: Tensor, v: Tensor, c: Tensor, grid: Sequence[int], radius: int
) -> tuple[Tensor, Tensor]:
    """Return out and slot_weights of bilinear attention by negative L1 distance."""
    side = 2 * radius + 2
    out = torch.zeros_like(q)
    slots = q.new_zeros(*q.shape[:3], side ** len(grid))
    places = list(itertools.product(*map(range, grid)))
    for b, h, i in itertools.product(*map(range, q.shape[:3])):
        centre = (c[b, h, i] if c.ndim == 4 else c[b, i]).tolist()
        scores = {
            place: -float((q[b, h, i] - k[b, h, j]).abs().sum()) * WIDTH**-0.5
            for j, place in enumerate(places)
        }
        corner = [math.floor(each) - radius for each in centre]
        for place, weight in mixture(centre, scores, radius).items():
            out[b, h, i] += weight * v[b, h, places.index(place)]
            offsets = [p - first for p, first in zip(place, corner, strict=True)]
            if weight:
                slot = sum(o * side**at for at, o in enumerate(reversed(offsets)))
                slots[b, h, i, slot] += weight
    return out, slots


@pytest.mark.parametrize("by_head", [True, False])
@pytest.mark.parametrize("radius", [0, 1])
@pytest.mark.parametrize("axes", GRIDS)
def test_bilinear_is_windows_around_the_nearest_positions_mixed(
    axes: int, radius: int, by_head: bool
) -> None:
    grid = GRIDS[axes]
    given = operands(grid, by_head)
    arguments = f"domain = sampled(c, {radius}), {L1}, normalize = bilinear"
    made = site(f"{arguments}, outputs = [slot_weights]", grid, 2, by_head)
    q, k, v, c = given
    expected = by_loops(q, k, v, c, grid, radius)
    torch.testing.assert_close(function(made)(*given), expected, rtol=1e-12, atol=1e-12)


def test_without_a_radius_it_is_bilinear_sampling_with_zeros_outside() -> None:
    rows, columns = 3, 4
    q, k, v, centre = operands((rows, columns))
    made = site("domain = sampled(c, 0), score = qk * 0, normalize = bilinear", (rows, columns))
    images = v.unflatten(2, (rows, columns)).permute(0, 1, 4, 2, 3).flatten(0, 1)
    sizes = torch.tensor([columns - 1, rows - 1])
    places = (centre.flip(-1) * 2 / sizes - 1).flatten(0, 1)[:, :, None]
    sampled = F.grid_sample(images, places, align_corners=True)[..., 0]
    expected = sampled.transpose(1, 2).unflatten(0, (BATCH, HEADS))
    found = function(made)(q, k, v, centre)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


CASES = {
    "softmax": "domain = sampled(c, 1)",
    "radius by axis": "domain = sampled(c, [0, 1]), score = qk * scale",
    "slots and fractions": "domain = sampled(c, 1), score = qk * fy + t[h, slot] * (1 - fx)",
    "sink": "domain = sampled(c, 1), normalize = softmax(keys, sink = t[h, 0])",
    "masked": f"domain = sampled(c, 1), {L1}, mask = jx != 2 and slot < 12",
    "bilinear": f"domain = sampled(c, 1), {L1}, normalize = bilinear",
    "gated": f"domain = sampled(c, 1), {L1}, normalize = bilinear, post = w * t[h, slot]",
    "sigmoid": "domain = sampled(c, 1), normalize = sigmoid",
    "ratio": "domain = sampled(c, 1), score = exp(qk), normalize = ratio(eps = 0.1)",
    "no product": "domain = sampled(c, 0), score = t[h, slot]",
}


def table() -> Tensor:
    return torch.rand(HEADS, 64, generator=torch.Generator().manual_seed(9)).double()


@pytest.mark.parametrize("name", CASES)
def test_gathered_keys_are_all_pairs_under_a_condition(name: str) -> None:
    """What is computed slot by slot is what the condition of the domain gives of all pairs."""
    has_lse = "normalize" not in CASES[name] or "sink" in CASES[name]
    outputs = "slot_weights, lse" if has_lse else "slot_weights"
    made = site(f"{CASES[name]}, outputs = [{outputs}]", GRIDS[2], 3 if has_lse else 2)
    given = [*operands(GRIDS[2]), *([table()] if "t" in made.attention.tensors else [])]
    given = in_order(made, given)
    namespace: dict[str, object] = {"torch": torch, "Tensor": Tensor}
    exec(Generator(made).source(), namespace)
    dense = namespace["attend"]
    assert callable(dense)
    found, expected = function(made)(*given), dense(*given)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def in_order(made: Site, given: Sequence[Tensor]) -> list[Tensor]:
    named = dict(zip(["q", "k", "v", "c", "t"], given, strict=False))
    return [*given[:3], *(named[name] for name in made.attention.tensors)]


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("name", ["bilinear", "gated", "slots and fractions", "sink"])
def test_gradients_reach_centres_through_fractions(name: str, check: object) -> None:
    made = site(f"{CASES[name]}, outputs = [slot_weights]", (2, 3), 2)
    given = operands((2, 3))
    given[3] = given[3].floor() + 0.1 + 0.8 * (given[3] - given[3].floor())  # off the jumps
    inputs = [each.clone().requires_grad_() for each in in_order(made, [*given, table()])]
    assert callable(check)
    assert check(function(made), inputs, fast_mode=True)


def test_a_softmax_gives_no_gradient_to_centres() -> None:
    made = site(CASES["softmax"], GRIDS[2])
    q, k, v, centre = operands(GRIDS[2])
    centre.requires_grad_()
    result = function(made)(q, k, v, centre)
    assert isinstance(result, Tensor) and not result.requires_grad


def test_results_by_pair_place_the_weights() -> None:
    arguments = f"{CASES['bilinear']}, outputs = [weights, scores, received, slot_weights]"
    given = operands(GRIDS[2])
    out, weights, scores, received, slots = function(site(arguments, GRIDS[2], 5))(*given)
    torch.testing.assert_close(out, weights @ given[2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(received, weights.sum(-2), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weights.sum(-1), slots.sum(-1), rtol=1e-12, atol=1e-12)
    l1 = torch.cdist(given[0], given[1], p=1) * -(WIDTH**-0.5)
    seen = scores.isfinite()
    torch.testing.assert_close(scores[seen], l1[seen], rtol=1e-12, atol=1e-12)


def test_it_may_be_one_of_several_sources() -> None:
    given = operands(GRIDS[2])
    text = """model m {
 input q: [2, 2, 12, 3]
 input c: [2, 2, 12, 2]
 output o = attend(q, [source(q, q, domain = sampled(c, 1), grid = [3, 4]), source(q, q)])
}"""
    graph = attnc.check(attnc.loads(text, "m.attn"))
    made = site_of(next(node for node in graph.body.nodes if node.op == "attend"), "attend")
    q, centre = given[0], given[3]
    low = (centre.floor() - 1)[..., None, :]
    place = torch.tensor(list(itertools.product(range(3), range(4)))).double()
    near = ((place >= low) & (place <= low + 3)).all(-1)
    scores = q @ q.transpose(-2, -1) * WIDTH**-0.5
    both = torch.cat((scores.masked_fill(~near, -torch.inf), scores), -1).softmax(-1)
    expected = both @ torch.cat((q, q), -2)
    found = function(made)(q, q, q, q, q, centre)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# Slots of other domains -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "slots"),
    [("windows(2)", 4), ("windows([2, 3], shift = 1)", 6), ("neighborhood(3)", 9),
     ("neighborhood(3, edge = clamp)", 9), ("stripes(0, 1)", 4), ("overlapping(1, 3)", 9)],
)  # fmt: skip
def test_weights_by_slot_are_those_by_pair(domain: str, slots: int) -> None:
    """Values that say which slot a key has, one-hot, are summed up to the weights by slot."""
    grid = GRIDS[2]
    q, k, v, _ = operands(grid)
    made = site(f"domain = {domain}, outputs = [slot_weights, weights]", grid, 3)
    _, by_slot, weights = function(made)(q, k, v)
    assert by_slot.shape == (BATCH, HEADS, 12, slots)
    placed = site(f"domain = {domain}, score = qk * 0 + slot, outputs = [scores]", grid, 2)
    place = function(placed)(q, k, v)[1]
    for slot in range(slots):
        there = torch.where(place == slot, weights, 0.0).sum(-1)
        torch.testing.assert_close(by_slot[..., slot], there, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(by_slot.sum(-1), torch.ones_like(by_slot[..., 0]))


# Refusals ---------------------------------------------------------------------------------

WRONG = {
    "domain = sampled(q, 1)": "q [2, 2, 12, 3] has not 2 entries along axis -1",
    "domain = sampled(1, 1)": "centre is a float tensor",
    "domain = sampled(c)": "'radius' is missing",
    "domain = sampled(c, [1, 1, 1])": "3 sizes for a grid of 2 axes",
    "normalize = bilinear": "bilinear mixes the corners of a sampled box",
    "outputs = [slot_weights]": "a fixed number of slots",
    "domain = sampled(c, 1), score = qk * fz": "fz has no meaning here",
    "score = qk * fx": "fx has no meaning here",
    "score = l1(k, q)": "l1 takes the query and the key of the pair",
    "domain = sampled(c, 1), score = qk * key_count": "key_count has no meaning here",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_what_makes_no_sense_is_refused(arguments: str) -> None:
    with pytest.raises(SpecError) as caught:
        site(arguments, GRIDS[2], 2 if "outputs" in arguments else 1)
    assert WRONG[arguments] in " ".join(each.message for each in caught.value.diagnostics)


def test_given_products_have_no_distance() -> None:
    text = """model m {
 input s: [b, h, n, m]
 input v: [b, h, m, 3]
 output o = attend(scores = s, v = v, score = -l1(q, k))
}"""
    with pytest.raises(SpecError, match="needs q and k"):
        attnc.check(attnc.loads(text, "m.attn"))


def test_other_backends_say_why_not() -> None:
    made = site(CASES["bilinear"], GRIDS[2])
    answer = SdpaBackend().can(made, Target())
    assert isinstance(answer, No)
    for part in ("bilinear", "l1(q, k)", "around its own centre"):
        assert any(part in reason for reason in answer.reasons), part
    assert "gathers the 16 keys" in ReferenceBackend().can(made, Target()).reasons[0]


def test_cost_counts_the_slots() -> None:
    made = site(CASES["bilinear"], GRIDS[2])
    assert scores_type(made).shape == (BATCH, HEADS, 12, 16)
    assert site_flops(made).at({}) == BATCH * HEADS * 12 * 16 * 2 * (WIDTH + WIDTH)

"""Floors of attentions whose work is counted by hand."""

from __future__ import annotations

import pytest

import attnc
from attnc.compiler.floors import RATES, Rates, Work, backward, floors, forward
from attnc.compiler.kernel import Site
from attnc.compiler.sites import site_of
from attnc.compiler.targets import parse_target

B, H, N, D = 2, 4, 64, 16
ONE = B * H * N * D
"""Elements of q, of k, of v."""


def site(pieces: str = "", extra: str = "") -> Site:
    shape = f"[b, {H}, n, {D}]"
    text = f"""model m {{
  input q: {shape}
  input k: {shape}
  input v: {shape}
  {extra}
  output out = attend(q, k, v{pieces})
}}"""
    graph = attnc.check(attnc.loads(text, "m.attn"))
    return site_of(next(node for node in graph.body.nodes if node.op == "attend"), "m")


SIZES = {"b": B, "n": N}


def test_a_forward_pass_computes_two_products_and_one_exponential_a_pair() -> None:
    pairs = B * H * N * N
    assert forward(site(), SIZES, 2) == Work(4 * D * pairs, pairs, 2 * 4 * ONE)


def test_a_backward_pass_computes_five_products() -> None:
    pairs = B * H * N * N
    # q, k, v, out and its gradient are read, three gradients written
    assert backward(site(), SIZES, 2) == Work(10 * D * pairs, pairs, 2 * 8 * ONE)


def test_only_allowed_pairs_count() -> None:
    causal = forward(site(", domain = causal"), SIZES, 2)
    assert causal.exps == B * H * N * (N + 1) // 2
    assert causal.flops == 4 * D * causal.exps


@pytest.mark.parametrize(
    ("pieces", "each"),
    [
        ("", 1),
        (", score = tanh(qk) * 5", 2),
        (", score = qk - abs(i - j)", 1),
        (", normalize = none", 0),
        (", normalize = sigmoid", 1),
    ],
)
def test_functions_of_a_pair_are_exponentials(pieces: str, each: int) -> None:
    assert forward(site(pieces), SIZES, 2).exps == each * B * H * N * N


def test_weights_that_are_products_need_no_pairs() -> None:
    sizes = {"b": B, "n": 4096}
    found = forward(site(", normalize = none"), sizes, 2)
    assert found.flops == 2 * B * H * D * D * 2 * 4096


def test_the_slowest_part_is_the_floor() -> None:
    slow = {"products": (1, 0, 0), "exponentials": (0, 1, 0), "memory": (0, 0, 1)}
    for name, counts in slow.items():
        seconds = Work(*counts).seconds(Rates("card", 1.0, 1.0, 1.0))
        assert max(seconds, key=lambda part: seconds[part]) == name


def test_floors_are_printed_for_cards_whose_rates_are_known() -> None:
    (target,) = RATES
    first, second = floors(site(), parse_target(target), SIZES)
    assert (first.step, second.step) == ("forward", "backward")
    assert first.microseconds == pytest.approx(1e6 * first.work.bytes / RATES[target].bytes)
    assert first.bound == "memory"
    assert floors(site(), parse_target("cuda:80"), SIZES) == ()
    spec = "model m {\n input q: [b, 4, n, 600]\n output out = attend(q, q, q)\n}"
    made = attnc.plan(attnc.loads(spec), target=target, resources=True)
    lines = [line for line in made.text().splitlines() if "at least, by" in line]
    assert [line.split()[0] for line in lines] == ["forward", "backward"]
    assert "at least" not in attnc.plan(attnc.loads(spec), target=target).text()

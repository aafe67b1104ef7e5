"""Did you mean."""

from __future__ import annotations

import pytest

from attnc.dsl.suggest import closest, did_you_mean

NAMES = ["linear", "layer_norm", "self_attention", "cross_attention", "heads", "kv", "q", "k"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Linear", "linear"),
        ("linaer", "linear"),
        ("layernorm", "layer_norm"),
        ("LAYER-NORM", "layer_norm"),
        ("self_attn", "self_attention"),
        ("head", "heads"),
        ("kv2", "kv"),
        ("qk", None),
        ("z", None),
        ("", None),
        ("convolution", None),
    ],
)
def test_closest(written: str, meant: str | None) -> None:
    assert closest(written, NAMES) == meant


def test_ties_do_not_depend_on_the_order_of_the_candidates() -> None:
    assert closest("bcd", ["abcd", "bcde"]) == closest("bcd", ["bcde", "abcd"]) == "abcd"


def test_the_name_itself_is_never_proposed() -> None:
    assert closest("depth", ["depth", "depths"]) == "depths"


def test_a_monstrous_name_is_not_compared() -> None:
    assert closest("a" * 100_000, ["a" * 99_999]) is None


def test_remedy_is_a_sentence_or_nothing() -> None:
    assert did_you_mean("linaer", NAMES) == "did you mean `linear`?"
    assert did_you_mean("zzz", NAMES) is None

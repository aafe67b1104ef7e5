"""Attentions of the reference that are one another: two of one, one of two, given products."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradgradcheck

import attnc
from attnc.backends.reference import function
from attnc.compiler.sites import site_of
from tests.backends.normaliser_formulas import CASES
from tests.backends.one_call import check_gradients, run, site, tensors

torch.set_num_threads(1)


# Equivalences -----------------------------------------------------------------------------


def test_duplex_is_two_cross_attentions() -> None:
    masked = "score = qk + extra[b, i, j], domain = where(j < i)"
    call = f"attend(q, k, v, vq = u, normalize = softmax(keys, queries), {masked})"
    given = tensors(call)
    out, back = run(call, given, 2)
    (one,) = run(
        f"attend(q, k, v, {masked})", {key: given[key] for key in ("q", "k", "v", "extra")}
    )
    swapped = {"q": given["k"], "k": given["q"], "v": given["u"], "extra": given["extra"]}
    scores = swapped["q"] @ swapped["k"].transpose(-2, -1) / 3**0.5
    assert scores.shape[-2:] == (5, 4)
    torch.testing.assert_close(out, one, rtol=0, atol=1e-12)
    other = function(site(
        "attend(q, k, v, score = qk + extra[b, j, i], domain = where(i < j))"
    ))(swapped["q"], swapped["k"], swapped["v"], swapped["extra"])  # fmt: skip
    torch.testing.assert_close(back, other, rtol=0, atol=1e-12)
    check_gradients(call, gradgradcheck, results=2)


def test_reversed_is_softmax_of_the_transposed_scores() -> None:
    call = "attend(q, k, v, normalize = softmax(queries))"
    given = tensors(call)
    scores = given["k"] @ given["q"].transpose(-2, -1) * 3**-0.5
    wanted = scores.softmax(-1).transpose(-2, -1) @ given["v"]
    torch.testing.assert_close(run(call, given)[0], wanted, rtol=0, atol=1e-12)


def test_softmax1_is_a_zero_key_with_a_zero_value() -> None:
    call = "attend(q, k, v, normalize = softmax(keys, sink = 0), scale = 0.7)"
    given = tensors(call)
    longer = {name: torch.cat((given[name], given[name][:, :, :1] * 0), 2) for name in "kv"}
    (wanted,) = run("attend(q, k, v, scale = 0.7)", {"q": given["q"], **longer})
    torch.testing.assert_close(run(call, given)[0], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_source_in_two_parts_is_one(name: str) -> None:
    normalize = f"normalize = {CASES[name].text}, outputs = [weights, received]"
    call = f"attend(q, [source(k, v), source(k2, v2)], {normalize})"
    given = tensors(call)
    joined = {"q": given["q"], "k": torch.cat((given["k"], given["k2"]), 2),
              "v": torch.cat((given["v"], given["v2"]), 2), "s": torch.zeros(2)}  # fmt: skip
    if "s" in given:
        joined["s"] = given["s"]
    one = run(f"attend(q, k, v, {normalize})", joined, 3)
    for found, wanted in zip(run(call, given, 3), one, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_sources_that_are_summed_are_normalised_apart() -> None:
    for name in CASES:
        normalize = f"normalize = {CASES[name].text}"
        call = f"attend(q, [source(k, v), source(k2, v2, weight = 0.5)], join = sum, {normalize})"
        given = tensors(call)
        sink = {"s": given["s"]} if "s" in given else {}
        parts = [
            run(f"attend(q, k, v, {normalize})",
                {"q": given["q"], "k": given[k], "v": given[v], **sink})[0]
            for k, v in (("k", "v"), ("k2", "v2"))
        ]  # fmt: skip
        torch.testing.assert_close(run(call, given)[0], parts[0] + 0.5 * parts[1])


# Given products ---------------------------------------------------------------------------


def test_given_scores_are_the_product() -> None:
    given = tensors("attend(q, k, v)")
    product = given["q"] @ given["k"].transpose(-2, -1)
    for pieces in ("", ", normalize = softmax(queries)", ", normalize = argmax(keys)",
                   ", domain = causal", ", score = qk * 2 + 1"):  # fmt: skip
        stated = pieces if "score" in pieces else f"{pieces}, score = qk"
        (wanted,) = run(f"attend(q, k, v{stated})", given)
        call = f"attend(scores = given, v = v{pieces})"
        (found,) = run(call, {"given": product, "v": given["v"]})
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_given_scores_may_be_masked_and_transposed() -> None:
    """Values of one stream, scores from a masked attention of the other: a row may be empty."""
    call = "attend(scores = given, v = v)"
    scores = torch.randn(2, 2, 4, 5, dtype=torch.float64)
    scores[:, :, 1], scores[..., 2] = -math.inf, -math.inf
    given = {"given": scores.requires_grad_(), "v": tensors("attend(q, k, v)")["v"]}
    (out,) = run(call, given)
    assert out.isfinite().all() and not out[:, :, 1].any()
    (grad,) = torch.autograd.grad(out.sum(), given["given"])
    assert grad.isfinite().all() and not grad[:, :, 1].any()


def test_given_weights_are_used_as_they_are() -> None:
    call = "attend(weights = given, v = v, post = w * gate[b, h, j], outputs = [received])"
    given = tensors(call)
    out, received = run(call, given, 2)
    weights = given["given"] * given["gate"][:, :, None]
    torch.testing.assert_close(out, weights @ given["v"])
    torch.testing.assert_close(received, weights.sum(-2))
    check_gradients(call, gradgradcheck, results=2)


def test_given_scores_share_values_among_heads() -> None:
    text = """model m() {
      input given: [b, 4, n, m]
      input v: [b, 2, m, 3]
      output y = attend(scores = given, v = v)
    }"""
    graph = attnc.check(attnc.loads(text))
    (found,) = (site_of(node, "f") for node in graph.body.nodes if node.op == "attend")
    scores, v = torch.randn(2, 4, 3, 5), torch.randn(2, 2, 5, 3)
    out = function(found)(scores, v)
    assert isinstance(out, Tensor)
    torch.testing.assert_close(out, scores.softmax(-1) @ v.repeat_interleave(2, 1))

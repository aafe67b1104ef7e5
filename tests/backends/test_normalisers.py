"""Normalisers and further outputs of the reference, against plain loops."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from attnc.backends.reference import ReferenceBackend
from attnc.backends.sdpa import SdpaBackend
from attnc.compiler.kernel import No, Target
from tests.backends.normaliser_formulas import CASES, DOMAINS, HARD, HEADS, SCORE, expected
from tests.backends.one_call import check_gradients, run, site, tensors

torch.set_num_threads(1)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("name", CASES)
def test_against_the_formulas(name: str, domain: str) -> None:
    case = CASES[name]
    pieces = f"normalize = {case.text}{SCORE}{DOMAINS[domain][0]}"
    call = f"attend(q, k, v, {pieces})"
    given = tensors(call)
    out, weights, received = expected(case, domain, given)
    torch.testing.assert_close(run(call, given)[0], out, rtol=0, atol=1e-12)
    more = f"attend(q, k, v, {pieces}, outputs = [weights, received])"
    for found, wanted in zip(run(more, given, 3), (out, weights, received), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("domain", ["all", "empty rows"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_gradients(name: str, domain: str, check: object) -> None:
    assert callable(check)
    call = f"attend(q, k, v, normalize = {CASES[name].text}{SCORE}{DOMAINS[domain][0]})"
    check_gradients(call, check, {"v"} if name in HARD else None)


@pytest.mark.parametrize("name", HARD)
def test_a_hard_choice_gives_no_gradient_to_scores(name: str) -> None:
    call = f"attend(q, k, v, normalize = {CASES[name].text})"
    given = {key: value.requires_grad_() for key, value in tensors(call).items()}
    (out,) = run(call, given)
    q, k, v = torch.autograd.grad(out.sum(), [*given.values()], allow_unused=True)
    assert q is None and k is None and v is not None and v.any()


# Further outputs --------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["keys", "queries"])
def test_ties_go_to_the_first_index(axis: str) -> None:
    call = f"attend(q, k, v, normalize = argmax({axis}), outputs = [index, weights])"
    given = tensors(call)
    given["k"][:], given["q"][:] = 1.0, 1.0
    _, index, weights = run(call, given, 3)
    assert index.dtype == torch.int64 and not index.any()
    chosen = weights[..., 0] if axis == "keys" else weights[..., 0, :]
    assert chosen.all() and weights.sum() == chosen.sum()


@pytest.mark.parametrize("axis", ["keys", "queries"])
def test_index_says_where_nothing_was_to_be_chosen(axis: str) -> None:
    call = f"attend(q, k, v, normalize = argmax({axis}), domain = where(j < i), outputs = [index])"
    given = tensors(call)
    out, index = run(call, given, 2)
    products = (given["q"] @ given["k"].transpose(-2, -1)).tolist()
    for b, h in HEADS:
        for at, found in enumerate(index[b, h].tolist()):
            column = [products[b][h][i][at] for i in range(at + 1, 4)] if axis == "queries" else []
            row = products[b][h][at][:at] if axis == "keys" else []
            scores = column or row
            first = at + 1 if axis == "queries" else 0
            assert found == (first + scores.index(max(scores)) if scores else -1)
    assert not out[:, :, 0].any()


def test_lse_belongs_to_what_was_normalised() -> None:
    domain = "domain = where(j < i)"
    for text, axis in (("softmax(keys)", -1), ("softmax(queries)", -2)):
        call = f"attend(q, k, v, normalize = {text}, {domain}, outputs = [lse, scores, weights])"
        _, lse, scores, weights = run(call, tensors(call), 4)
        torch.testing.assert_close(lse, scores.exp().sum(axis).log())
        finite = lse.unsqueeze(axis).nan_to_num(neginf=0.0)
        torch.testing.assert_close(weights, (scores - finite).exp())


def test_lse_counts_the_sink() -> None:
    call = (
        "attend(q, k, v, normalize = softmax(keys, sink = s[h]), domain = where(j < i), "
        "outputs = [lse, scores])"
    )
    given = tensors(call)
    _, lse, scores = run(call, given, 3)
    torch.testing.assert_close(lse, (scores.exp().sum(-1) + given["s"].exp()[:, None]).log())


def test_half_precision_keeps_its_statistics_in_float32() -> None:
    for name in CASES:
        call = f"attend(q, k, v, normalize = {CASES[name].text}{SCORE}, outputs = [received])"
        given = tensors(call)
        halves = {key: value.bfloat16() for key, value in given.items()}
        exact = run(call, {key: value.double() for key, value in halves.items()}, 2)
        out, received = run(call, halves, 2)
        assert (out.dtype, received.dtype) == (torch.bfloat16, torch.float32)
        if name not in HARD:  # rounding may break a near tie either way
            size = exact[0].abs().max() + exact[1].abs().max() + 1
            assert (out.double() - exact[0]).abs().max() < 8 * 2**-8 * size


@pytest.mark.parametrize("call", [
    *(f"attend(q, k, v, normalize = {case.text})" for case in [*CASES.values()][1:]),
    "attend(q, k, v, post = w * gate[b, h, j])", "attend(q, k, v, renormalize = true)",
    "attend(scores = given, v = v)", "attend(weights = given, v = v)",
])  # fmt: skip
def test_other_backends_say_why_not(call: str) -> None:
    found = site(call)
    answer = SdpaBackend().can(found, Target())
    assert isinstance(answer, No) and answer.reasons


@pytest.mark.parametrize("call", [
    *(f"attend(q, k, v, normalize = {case.text}{SCORE}, domain = where(j < i), "
      "outputs = [weights, received])" for case in CASES.values()),
])  # fmt: skip
def test_generated_lines_are_short(call: str) -> None:
    results = 3 if "outputs" in call else 1
    source = ReferenceBackend().build(site(call, results), Target()).source
    assert max(map(len, source.splitlines())) <= 88, source


@pytest.mark.parametrize("name", [name for name in CASES if name not in HARD])
def test_no_keys_at_all_give_nothing(name: str) -> None:
    call = f"attend(q, k, v, normalize = {CASES[name].text}, outputs = [weights])"
    given = tensors(call)
    none = {**given, "k": given["k"][:, :, :0], "v": given["v"][:, :, :0]}
    out, weights = run(call, none, 2)
    assert weights.shape == (2, 2, 4, 0) and out.shape == (2, 2, 4, 2) and not out.any()

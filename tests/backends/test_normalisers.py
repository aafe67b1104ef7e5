"""Normalisers, post expressions and further outputs of the reference, against plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import attnc
from attnc.backends.reference import ReferenceBackend, function
from attnc.backends.sdpa import SdpaBackend
from attnc.compiler.kernel import No, Target
from attnc.compiler.sites import site_of
from tests.backends.one_call import Matrix, run, site, tensors

torch.set_num_threads(1)

# The formulas -----------------------------------------------------------------------------


def over_keys(rows: Matrix, weigh: Callable[[list[float]], list[float]]) -> Matrix:
    return [weigh(row) for row in rows]


def over_queries(rows: Matrix, weigh: Callable[[list[float]], list[float]]) -> Matrix:
    columns = [weigh([row[j] for row in rows]) for j in range(len(rows[0]))]
    return [[column[i] for column in columns] for i in range(len(rows))]


def softmax(scores: list[float], sink: float = -math.inf) -> list[float]:
    total = sum(math.exp(each) for each in [*scores, sink])
    return [math.exp(each) / total if total else 0.0 for each in scores]


def hard(scores: list[float]) -> list[float]:
    best = max(scores)
    first = scores.index(best)
    return [float(at == first and best > -math.inf) for at in range(len(scores))]


def share(scores: list[float], eps: float = 0.0, floor: float = -math.inf) -> list[float]:
    allowed = [each for each in scores if each > -math.inf]
    total = max(sum(allowed), floor) + eps
    return [each / total if each > -math.inf else 0.0 for each in scores]


def plain(scores: list[float]) -> list[float]:
    return [each if each > -math.inf else 0.0 for each in scores]


def logistic(scores: list[float]) -> list[float]:
    return [1 / (1 + math.exp(-each)) for each in scores]


def cut(scores: list[float], power: float = 1.0) -> list[float]:
    return [max(each, 0.0) ** power for each in scores]


At = tuple[int, int, int, int]
"""b, h, i, j."""


@dataclass(frozen=True)
class Case:
    """A normaliser: how a spec writes it and what it means."""

    text: str
    meaning: Callable[[Matrix, float], Matrix]
    """Of the scores of one head and of s[h]."""


CASES = {
    "softmax": Case("softmax(keys)", lambda rows, s: over_keys(rows, softmax)),
    "softmax1": Case(
        "softmax(keys, sink = 0)",
        lambda rows, s: over_keys(rows, lambda row: softmax(row, 0.0)),
    ),
    "sink": Case(
        "softmax(keys, sink = s[h])",
        lambda rows, s: over_keys(rows, lambda row: softmax(row, s)),
    ),
    "reversed": Case("softmax(queries)", lambda rows, s: over_queries(rows, softmax)),
    "hard": Case("argmax(keys)", lambda rows, s: over_keys(rows, hard)),
    "hard over queries": Case("argmax(queries)", lambda rows, s: over_queries(rows, hard)),
    "sigmoid": Case("sigmoid", lambda rows, s: over_keys(rows, logistic)),
    "relu": Case("relu", lambda rows, s: over_keys(rows, cut)),
    "relu squared": Case(
        "relu(power = 2)", lambda rows, s: over_keys(rows, lambda row: cut(row, 2.0))
    ),
    "relu cubed": Case(
        "relu(power = 3)", lambda rows, s: over_keys(rows, lambda row: cut(row, 3.0))
    ),
    "none": Case("none", lambda rows, s: over_keys(rows, plain)),
    "ratio": Case("ratio", lambda rows, s: over_keys(rows, share)),
    "ratio with eps": Case(
        "ratio(eps = 0.5)", lambda rows, s: over_keys(rows, lambda row: share(row, 0.5))
    ),
    "ratio with a floor": Case(
        "ratio(floor = 1.5, eps = 0.1)",
        lambda rows, s: over_keys(rows, lambda row: share(row, 0.1, 1.5)),
    ),
}
HARD = ("hard", "hard over queries")
DOMAINS: dict[str, tuple[str, Callable[[int, int], bool]]] = {
    "all": ("", lambda i, j: True),
    "empty rows": (", domain = where(j <= i - 1)", lambda i, j: j <= i - 1),
    "nothing": (", domain = where(j < 0)", lambda i, j: False),
}


def scores_of(
    given: dict[str, Tensor], allowed: Callable[[int, int], bool], at: Sequence[int]
) -> Matrix:
    """Return exp(qk / 2) at allowed pairs: positive, so that a ratio is far from 0 / 0."""
    b, h = at
    rows = []
    for i, q in enumerate(given["q"][b, h].tolist()):
        products = [
            sum(x * y for x, y in zip(q, k, strict=True)) for k in given["k"][b, h].tolist()
        ]
        rows.append([
            math.exp(each / 2) - 0.3 if allowed(i, j) else -math.inf
            for j, each in enumerate(products)
        ])  # fmt: skip
    return rows


SCORE = ", score = exp(qk * 0.5) - 0.3"
HEADS = [(b, h) for b in range(2) for h in range(2)]


def expected(case: Case, domain: str, given: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return out, weights and received."""
    out, weights = torch.zeros(2, 2, 4, 2).double(), torch.zeros(2, 2, 4, 5).double()
    for b, h in HEADS:
        rows = scores_of(given, DOMAINS[domain][1], (b, h))
        sink = given["s"][h].item() if "s" in given else 0.0
        found = case.meaning(rows, sink)
        weights[b, h] = torch.tensor(found, dtype=torch.float64)
        for i in range(4):
            for j in range(5):
                out[b, h, i] += found[i][j] * given["v"][b, h, j]
    return out, weights, weights.sum(-2)


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


def check_gradients(
    call: str, check: Callable[..., bool], wanted: set[str] | None = None, results: int = 1
) -> None:
    given = tensors(call)
    learned = [name for name in given if wanted is None or name in wanted]
    for name in learned:
        given[name].requires_grad_()

    def computed(*values: Tensor) -> tuple[Tensor, ...]:
        found = run(call, {**given, **dict(zip(learned, values, strict=True))}, results)
        return tuple(each for each in found if each.is_floating_point())

    assert check(computed, [given[name] for name in learned], fast_mode=True)


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


# Post expressions -------------------------------------------------------------------------

LAST = "where(i == n - 1, w * gate[b, h, j], w)"
POSTS: dict[str, tuple[str, Callable[[Tensor, dict[str, Tensor]], Tensor]]] = {
    "gate": ("w * gate[b, h, j]", lambda w, t: w * t["gate"][:, :, None]),
    "added": ("w + extra[b, i, j]", lambda w, t: w + t["extra"][:, None]),
    "no weight": ("extra[b, i, j] * t", lambda w, t: (t["extra"] * t["t"])[:, None].expand_as(w)),
    "one row": (
        LAST, lambda w, t: torch.cat((w[:, :, :-1], w[:, :, -1:] * t["gate"][:, :, None]), 2)
    ),
    "mask": ("where(j == i, 0.0, w)", lambda w, t: w * (1 - torch.eye(4, 5))),
    "product": (
        "w * sigmoid(qk)", lambda w, t: w * (t["q"] @ t["k"].transpose(-2, -1)).sigmoid()
    ),
    "not linear": ("w ** 2 + s[h] * w", lambda w, t: w.square() + t["s"][:, None, None] * w),
}  # fmt: skip


@pytest.mark.parametrize("domain", ["", ", domain = where(j < i)"])
@pytest.mark.parametrize("name", POSTS)
def test_post_changes_weights_without_renormalising(name: str, domain: str) -> None:
    post, meaning = POSTS[name]
    call = f"attend(q, k, v, post = {post}{domain}, outputs = [weights])"
    given = tensors(call)
    out, weights = run(call, given, 2)
    inputs = {key: given[key] for key in "qkv"}
    _, before = run(f"attend(q, k, v{domain}, outputs = [weights])", inputs, 2)
    wanted = meaning(before, given)
    if domain:
        wanted = wanted * torch.ones(4, 5).tril(-1)
    torch.testing.assert_close(weights, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(out, wanted @ given["v"], rtol=0, atol=1e-12)
    for check in (gradcheck, gradgradcheck):
        check_gradients(call, check, results=2)


@pytest.mark.parametrize("rows", ["true", "i == n - 1", "i < 2 and h == 1"])
def test_rows_are_renormalised(rows: str) -> None:
    call = (
        f"attend(q, k, v, post = w * gate[b, h, j] ** 2, renormalize = {rows}, outputs = [weights])"
    )
    given = tensors(call)
    _, weights = run(call, given, 2)
    _, before = run(call.replace(f"renormalize = {rows}, ", ""), given, 2)
    chosen = {
        "true": lambda h, i: True, "i == n - 1": lambda h, i: i == 3,
        "i < 2 and h == 1": lambda h, i: i < 2 and h == 1,
    }[rows]  # fmt: skip
    for b, h in HEADS:
        for i in range(4):
            row = before[b, h, i]
            wanted = row / row.sum() if chosen(h, i) else row
            torch.testing.assert_close(weights[b, h, i], wanted, rtol=0, atol=1e-12)
    check_gradients(call, gradgradcheck, results=2)


def test_a_row_gated_to_nothing_stays_nothing() -> None:
    call = "attend(q, k, v, post = where(i == 1, 0.0, w), renormalize = true)"
    given = {key: value.requires_grad_() for key, value in tensors(call).items()}
    (out,) = run(call, given)
    assert not out[:, :, 1].any()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), [*given.values()]))


def test_slots_compete_and_average() -> None:
    """Softmax over queries, then each query's weights divided by their sum: slot attention."""
    call = "attend(q, k, v, normalize = softmax(queries), renormalize = true)"
    given = tensors(call)
    weights = (given["q"] @ given["k"].transpose(-2, -1) * 3**-0.5).softmax(-2)
    wanted = weights / weights.sum(-1, keepdim=True) @ given["v"]
    torch.testing.assert_close(run(call, given)[0], wanted, rtol=0, atol=1e-12)


def test_each_source_has_its_post() -> None:
    call = (
        "attend(q, [source(k, v, post = w * s[h]), source(k2, v2, domain = where(j < i), "
        "post = w + t)], outputs = [weights])"
    )
    given = tensors(call)
    out, weights = run(call, given, 2)
    bare = call.replace(", post = w * s[h]", "").replace(", post = w + t", "")
    _, before = run(bare, {name: given[name] for name in ("q", "k", "v", "k2", "v2")}, 2)
    first, second = before.split((5, 3), -1)
    second = (second + given["t"]) * torch.ones(4, 3).tril(-1)
    wanted = torch.cat((first * given["s"][:, None, None], second), -1)
    torch.testing.assert_close(weights, wanted, rtol=0, atol=1e-12)
    values = torch.cat((given["v"], given["v2"]), 2)
    torch.testing.assert_close(out, wanted @ values, rtol=0, atol=1e-12)
    check_gradients(call, gradgradcheck, results=2)


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
    *(f"attend(q, k, v, post = {post}, domain = where(j < i), renormalize = i == n - 1)"
      for post, _ in POSTS.values()),
    "attend(q, [source(k, v, post = w * s[h]), source(k2, v2, domain = causal, post = w + t)])",
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

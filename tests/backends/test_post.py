"""Post expressions and renormalised rows of the reference, against plain torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from attnc.backends.reference import ReferenceBackend
from attnc.compiler.kernel import Target
from tests.backends.normaliser_formulas import HEADS
from tests.backends.one_call import check_gradients, run, site, tensors

torch.set_num_threads(1)


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


@pytest.mark.parametrize("call", [
    *(f"attend(q, k, v, post = {post}, domain = where(j < i), renormalize = i == n - 1)"
      for post, _ in POSTS.values()),
    "attend(q, [source(k, v, post = w * s[h]), source(k2, v2, domain = causal, post = w + t)])",
])  # fmt: skip
def test_generated_lines_are_short(call: str) -> None:
    source = ReferenceBackend().build(site(call), Target()).source
    assert max(map(len, source.splitlines())) <= 88, source

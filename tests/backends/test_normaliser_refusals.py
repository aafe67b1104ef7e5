"""What normalisers, posts and outputs refuse together, and what backends say of the rest."""

from __future__ import annotations

import pytest
import torch

import attnc
from attnc.backends.reference import ReferenceBackend
from attnc.compiler.kernel import Target
from attnc.dsl.diagnostics import SpecError
from tests.backends.one_call import run, site, tensors

torch.set_num_threads(1)

WRONG = {
    "attend(q, k, v, normalize = softmax(channels))": "normalize is one of",
    "attend(q, k, v, normalize = softmax(queries, sink = 0))": "takes no options",
    "attend(q, k, v, normalize = softmax(keys, skin = 0))": "takes sink",
    "attend(q, k, v, normalize = softmax(keys, sink = s[j]))": "may depend on b and h",
    "attend(q, k, v, normalize = ratio(eps = -1))": "a number from 0 up",
    "attend(q, k, v, normalize = softmax(keys, queries))": "takes vq",
    "attend(q, k, v, vq = u)": "with normalize = softmax(keys, queries) only",
    "attend(q, k, v, vq = u, normalize = softmax(keys, queries), post = w * 2)": "two weights",
    "attend(q, k, v, normalize = softmax(queries), domain = causal)": "later queries",
    "attend(q, k, v, normalize = argmax(queries), domain = causal)": "later queries",
    "attend(q, k, v, outputs = [index])": "has no index",
    "attend(q, k, v, normalize = sigmoid, outputs = [lse])": "has no lse",
    "attend(q, k, v, score = qk * w)": "'w' is not defined",
    "attend(q, k, v, post = w[i])": "is no tensor",
    "attend(q, k, v, post = w > 0)": "must be a number",
    "attend(q, k, v, renormalize = j == 0)": "by b, h and i only",
    "attend(q, k, v, renormalize = 2)": "must be a truth value",
    "attend(scores = given)": "scores = s, v = v",
    "attend(q, k, scores = given, v = v)": "scores = s, v = v",
    "attend(weights = given, v = v, normalize = softmax)": "are normalised already",
    "attend(scores = v, v = v)": "shape conflict",
    "attend(q, k, v, vq = v, normalize = softmax(keys, queries))": "shape conflict",
}


@pytest.mark.parametrize("held", ['"softmax(queries)"', "sigmoid", "none", "relu"])
def test_a_param_may_hold_the_normaliser(held: str) -> None:
    text = f"""model m() {{
      input q: [b, 2, n, 3]
      block mixed(q: [b, h, n, d]; normalize = softmax) -> [b, h, n, d] {{
        return attend(q, q, q, normalize=normalize)
      }}
      output y = mixed(q, normalize={held})
    }}"""
    q = tensors("attend(q, k, v)")["q"]
    out = attnc.compile(attnc.loads(text)).double()(q)
    (wanted,) = run(f"attend(q, k, v, normalize = {held})", {"q": q, "k": q, "v": q})
    torch.testing.assert_close(out, wanted)


@pytest.mark.parametrize("call", WRONG)
def test_what_makes_no_sense_is_refused(call: str) -> None:
    with pytest.raises(SpecError) as caught:
        site(call)
    first = caught.value.diagnostics[0]
    assert first.code.startswith("E2")
    wanted = WRONG[call]
    assert wanted in first.message or (wanted == "shape conflict" and first.code == "E203")


def test_the_text_says_it_plainly() -> None:
    call = (
        "attend(q, k, v, scale = 2, normalize = argmax(queries), domain = where(j < i), "
        "post = w * gate[b, h, j], outputs = [index])"
    )
    assert ReferenceBackend().build(site(call, 2), Target()).source == GOLDEN


GOLDEN = '''\
def f(q: Tensor, k: Tensor, v: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """argmax(queries)(qk * 2.0) v where j < i, post = w * gate[b, h, j].

    q: [b, 2, n, 3]; k: [b, 2, m, 3]; v: [b, 2, m, 2]; gate: [b, 2, m].
    """
    n = q.shape[2]
    m = k.shape[2]
    wide = torch.promote_types(q.dtype, torch.float32)  # never half precision
    gate = gate.to(wide)
    i = torch.arange(n, device=q.device)[:, None]
    j = torch.arange(m, device=q.device)
    scores = (q @ k.transpose(-2, -1)).to(wide) * 2.0
    scores = scores.masked_fill(j >= i, -torch.inf)
    ended = torch.nn.functional.pad(scores, (0, 0, 0, 1), value=-torch.inf)
    best = ended.argmax(-2, keepdim=True)  # the first of equals; the end of nothing
    unseen = scores.isneginf().all(-2, keepdim=True)  # keys without a query
    weights = torch.zeros_like(ended).scatter(-2, best, 1.0)[..., :-1, :]
    index = best.masked_fill(unseen, -1).squeeze(-2)
    weights = weights.masked_fill(unseen, 0.0)
    weights = (weights * gate[:, :, None, :]).to(v.dtype)
    return weights @ v, index
'''

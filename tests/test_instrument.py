"""Capturing and editing attentions of compiled models, against the same written out."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import attnc
from attnc.dsl.diagnostics import SpecError, UsageError

torch.set_num_threads(1)

VIT = {"size": 32, "patch": 8, "dim": 24, "depth": 3, "heads": 3, "classes": 5}
KINDS = {
    "softmax": "attend(q, k, v, score = qk * scale + bias[h, i - j + n - 1])",
    "causal": "attend(q, k, v, domain = causal)",
    "windows": "attend(q, k, v, domain = windows(3, shift = 1))",
    "sink": "attend(q, k, v, normalize = softmax(keys, sink = 0))",
    "queries": "attend(q, k, v, normalize = softmax(queries), domain = band(2, 1))",
    "slots": "attend(q, k, v, normalize = softmax(queries), renormalize = true)",
    "sigmoid": "attend(q, k, v, normalize = sigmoid)",
    "hard": "attend(q, k, v, normalize = argmax(keys))",
    "assign": "attend(q, k, v, normalize = argmax(queries))",
    "gated": "attend(q, k, v, post = w * bias[h, j])",
    "joined": "attend(q, [source(k, v), source(v, k, score = qk + i - j)])",
    "two_way": "attend(q, k, v, vq = q, normalize = softmax(keys, queries))",
}


def spec(kind: str) -> str:
    results = "o, back" if kind == "two_way" else "o"
    bias = 'bias = param([2, 2 * n - 1], "normal(1)") @bias\n' if "bias" in KINDS[kind] else ""
    return f"""model m(n = 7) {{
      input q: [b, 2, n, 4]
      input k: [b, 2, n, 4]
      input v: [b, 2, n, 4]
      {bias}
      {results} = {KINDS[kind]}
      output y = o
    }}"""


def streams(n: int = 7) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, 2, n, 4).double() for _ in range(3)]


def vit() -> tuple[nn.Module, Tensor]:
    model = attnc.compile("zoo:vit", overrides=VIT).double().eval()
    return model, torch.randn(2, 3, 32, 32).double()


class Largest(TorchDispatchMode):
    """Notes the most elements that a result has."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(each, Tensor):
                self.elements = max(self.elements, each.numel())
        return result


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["weights", "scores"])
def test_rows_are_those_of_the_whole(kind: str, what: str) -> None:
    model = attnc.compile(attnc.loads(spec(kind))).double()
    _, seen = attnc.capture(model, what=what)(*streams())
    found, some = attnc.capture(model, what=what, rows=[4, -1, 0])(*streams())
    torch.testing.assert_close(found, model(*streams()), rtol=0, atol=0)
    torch.testing.assert_close(some["m"], seen["m"][:, :, [4, 6, 0]], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_received_are_sums_of_weights_over_queries(kind: str) -> None:
    model = attnc.compile(attnc.loads(spec(kind))).double()
    _, weights = attnc.capture(model)(*streams())
    _, received = attnc.capture(model, what="received")(*streams())
    torch.testing.assert_close(received["m"], weights["m"].sum(2), rtol=1e-12, atol=1e-12)


def test_weights_are_those_that_multiply_values() -> None:
    model, image = vit()
    result, seen = attnc.capture(model)(image)
    assert list(seen) == ["blocks.0.attn", "blocks.1.attn", "blocks.2.attn"]
    torch.testing.assert_close(result, model(image), rtol=0, atol=0)
    taken: list[Tensor] = []
    handle = model.get_submodule("blocks.0.attn").register_forward_pre_hook(
        lambda module, given: taken.append(given[0])
    )
    model(image)
    handle.remove()
    q, k, _ = (
        model.get_submodule("blocks.0.attn.qkv")(taken[0])
        .unflatten(-1, (3, 3, 8))
        .permute(2, 0, 3, 1, 4)
    )
    expected = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)
    torch.testing.assert_close(seen["blocks.0.attn"], expected)


def test_means_over_heads_and_layers() -> None:
    model, image = vit()
    _, each = attnc.capture(model)(image)
    _, both = attnc.capture(model, reduce=["heads", "layers"])(image)
    torch.testing.assert_close(both["weights"], torch.stack([*each.values()]).mean((0, 2)))
    _, lse = attnc.capture(model, "blocks.1*", "lse", reduce="heads")(image)
    assert {name: tuple(tensor.shape) for name, tensor in lse.items()} == {"blocks.1.attn": (2, 17)}


def test_gradients_reach_weights_and_what_is_captured() -> None:
    model, image = vit()
    _, seen = attnc.capture(model, "blocks.2*", rows=[0])(image)
    torch.autograd.backward(seen["blocks.2.attn"][..., 0].sum())
    grad = model.get_parameter("blocks.0.attn.qkv.weight").grad
    assert grad is not None and bool(grad.abs().sum() > 0)


@pytest.mark.parametrize("kind", ["softmax", "causal"])
def test_rows_alone_are_stored(kind: str) -> None:
    n = 512
    model = attnc.compile(attnc.loads(spec(kind)), overrides={"n": n}, target="cuda:90").double()
    taken = attnc.capture(model, rows=[-1])
    operands = streams(n)
    with torch.no_grad(), Largest() as plain:
        model(*operands)
    with torch.no_grad(), Largest() as captured:
        taken(*operands)
    assert captured.elements <= max(plain.elements, 4 * n * 2 * 4)


def test_an_edit_changes_chosen_rows_alone() -> None:
    model, image = vit()
    gain = torch.rand(2, 3, 17).double().requires_grad_()
    change = attnc.Edit(
        post="w * gain[b, h, j]", rows=[-1, 2], renormalize=True, tensors={"gain": gain}
    )
    edited = attnc.edit(model, {"blocks.0.attn": change})
    _, before = attnc.capture(model, "blocks.0.attn")(image)
    result, after = attnc.capture(edited, "blocks.0.attn")(image)
    expected = before["blocks.0.attn"].clone()
    for row in (-1, 2):
        changed = expected[:, :, row] * gain
        expected[:, :, row] = changed / changed.sum(-1, keepdim=True)
    torch.testing.assert_close(after["blocks.0.attn"], expected)
    torch.testing.assert_close(edited(image), result, rtol=0, atol=0)
    torch.autograd.backward(edited(image).sum())
    assert gain.grad is not None and bool(gain.grad.abs().sum() > 0)


def test_edits_of_scores_follow_one_another() -> None:
    model = attnc.compile(attnc.loads(spec("causal"))).double()
    q, k, v = streams()
    bias = torch.randn(7).double()
    once = attnc.edit(model, {"*": attnc.Edit(score="s + bias[j]", tensors={"bias": bias})})
    twice = attnc.edit(once, {"m": attnc.Edit(score="where(s > 0, 2 * s, s)")})
    scores = q @ k.transpose(-2, -1) / 2 + bias
    scores = torch.where(scores > 0, 2 * scores, scores)
    later = torch.ones(7, 7, dtype=torch.bool).triu(1)
    expected = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
    torch.testing.assert_close(twice(q, k, v), expected)


def test_what_runs_in_training_only_stays_out_of_evaluation() -> None:
    text = """model m(d = 8) {
      input x: [b, n, d]
      x = self_attention(x, heads=2) @attn
      when train { exit aux = self_attention(x, heads=2) @extra }
      output out = linear(x, d) @head
    }"""
    model = attnc.compile(attnc.loads(text)).double().eval()
    x = torch.randn(2, 5, 8).double()
    result, seen = attnc.capture(model, "attn")(x)
    torch.testing.assert_close(result, model(x), rtol=0, atol=0)
    trained, both = attnc.capture(model.train())(x)
    torch.testing.assert_close(trained, model(x), rtol=0, atol=0)
    assert list(seen) == ["attn"] and list(both) == ["attn", "extra"]


def test_a_model_of_an_emitted_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attnc.emit("zoo:vit", tmp_path / "captured_vit", overrides=VIT)
    monkeypatch.syspath_prepend(tmp_path)
    model = importlib.import_module("captured_vit").Vit().double().eval()
    image = torch.randn(1, 3, 32, 32).double()
    result, seen = attnc.capture(model, "blocks.?.attn", rows=[0])(image)
    torch.testing.assert_close(result, model(image), rtol=0, atol=0)
    assert seen["blocks.0.attn"].shape == (1, 3, 1, 17)
    del sys.modules["captured_vit"]


def codes_of(error: UsageError | SpecError) -> list[str]:
    return [each.code for each in error.diagnostics]


def test_refusals() -> None:
    model, image = vit()
    with pytest.raises(UsageError) as wrong:
        attnc.capture(nn.Linear(2, 2))
    assert codes_of(wrong.value) == ["E404"]
    with pytest.raises(UsageError) as wrong:
        attnc.capture(model, "block.0.attn")
    assert codes_of(wrong.value) == ["E405"] and "blocks.0.attn" in str(wrong.value.diagnostics)
    for arguments in ({"what": "weight"}, {"reduce": "head"}, {"what": "lse", "rows": [0]}):
        with pytest.raises(UsageError) as wrong:
            attnc.capture(model, **arguments)
        assert codes_of(wrong.value) == ["E406"]
    with pytest.raises(UsageError) as wrong:
        attnc.capture(model, what="index")
    assert codes_of(wrong.value) == ["E406"]
    with pytest.raises(SpecError):
        attnc.edit(model, {"*": attnc.Edit(post="w * gian[j]", tensors={"gain": image})})


def test_rows_of_a_bilinear_mixture() -> None:
    text = """model m(n = 7) {
      input q: [b, 2, n, 4]
      input k: [b, 2, n, 4]
      input v: [b, 2, n, 4]
      input c: [b, n, 1]
      o = attend(q, k, v, domain = sampled(c, 1), normalize = bilinear)
      output y = o
    }"""
    model = attnc.compile(attnc.loads(text)).double()
    operands = (*streams(), torch.rand(2, 7, 1).double() * 3 + 1)
    _, whole = attnc.capture(model)(*operands)
    _, rows = attnc.capture(model, rows=[-1, 2])(*operands)
    torch.testing.assert_close(rows["m"], whole["m"][:, :, [6, 2]])
    torch.testing.assert_close(rows["m"].sum(-1), torch.ones(2, 2, 2).double())

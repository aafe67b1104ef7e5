"""`rotary_attention` of the standard library, against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import attnc

torch.set_num_threads(1)


def rotated(x: Tensor, theta: float) -> Tensor:
    """As complex numbers: channel c is the real part, c + d/2 the imaginary one."""
    n, d = x.shape[-2:]
    angle = torch.arange(n)[:, None] * theta ** (-torch.arange(d // 2).double() * 2 / d)
    turned = torch.complex(*x.chunk(2, -1)) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((turned.real, turned.imag), -1)


def meaning(weights: dict[str, Tensor], x: Tensor, heads: int, kv_heads: int) -> Tensor:
    """Row by row, each query head with the key head of its group."""
    width = weights["f.proj.weight"].shape[1] // heads
    qkv = x @ weights["f.qkv.weight"].T
    streams = qkv.unflatten(-1, (heads + 2 * kv_heads, width)).transpose(1, 2)
    rows = []
    for head in range(heads):
        group = head // (heads // kv_heads)
        q = rotated(streams[:, head], 100.0)
        k = rotated(streams[:, heads + group], 100.0)
        v = streams[:, heads + kv_heads + group]
        scores = q @ k.transpose(-2, -1) * width**-0.5
        later = torch.ones_like(scores).triu(1).bool()
        rows.append(scores.masked_fill(later, float("-inf")).softmax(-1) @ v)
    return torch.cat(rows, -1) @ weights["f.proj.weight"].T


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (4, 1)])
def test_it_is_causal_attention_of_rotated_groups(heads: int, kv_heads: int) -> None:
    call = f"rotary_attention(x, heads={heads}, kv_heads={kv_heads}, theta=100.0) @f"
    text = f"model m() {{\n input x: [b, n, 16]\n output y = {call}\n}}"
    torch.set_default_dtype(torch.float64)
    try:
        model = attnc.compile(attnc.loads(text))
    finally:
        torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    x = torch.randn(2, 6, 16, dtype=torch.float64)
    wanted = meaning(dict(model.named_parameters()), x, heads, kv_heads)
    torch.testing.assert_close(model(x), wanted, rtol=0, atol=1e-12)


def test_dropped_keys_are_seen_by_nobody() -> None:
    text = (
        "model m() {\n input x: [b, n, 16]\n input keep: [b, n] bool\n"
        " output y = rotary_attention(x, keep, heads=2, domain=all) @f\n}"
    )
    model = attnc.compile(attnc.loads(text))
    torch.manual_seed(0)
    x, keep = torch.randn(1, 6, 16), torch.arange(6)[None] < 4
    changed = x.clone()
    changed[:, 4:] += 1
    assert torch.equal(model(x, keep)[:, :4], model(changed, keep)[:, :4])

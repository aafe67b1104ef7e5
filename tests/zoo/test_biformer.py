"""Switches of BiFormer's routing that its golden file leaves off, against plain PyTorch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import attnc

SIDE, DIM, HEADS, REGIONS, CHOSEN = 8, 8, 2, 4, 3
"""One block on a map of 8 x 8 tokens, with 2 x 2 regions of 4 x 4 tokens."""

PLACES = torch.arange(SIDE * SIDE)
REGION = PLACES // SIDE // 4 * 2 + PLACES % SIDE // 4


def attend(overrides: dict[str, object]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return the weights of the attention of a small model, what reaches it, and its result."""
    torch.manual_seed(0)
    small: dict[str, object] = {
        "height": 32, "width": 32, "dims": [DIM], "depths": [1], "topks": [CHOSEN], "ratios": [1],
        "head_dim": DIM // HEADS, "regions": 2, "side_dwconv": 0, "classes": 2,
    }  # fmt: skip
    model = attnc.compile("zoo:biformer", overrides=small | overrides).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    attention = model.get_submodule("stages.0.0.attn")
    seen: list[Tensor] = []
    attention.register_forward_hook(lambda _, given, result: seen.extend([*given, result]))
    model(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    given, result = (each.flatten(1, 2) for each in seen)
    return attention.state_dict(), given, result


def means(x: Tensor) -> Tensor:
    return torch.stack([x[:, region == REGION].mean(1) for region in range(REGIONS)], 1)


def heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def shares(products: Tensor) -> Tensor:
    """The softmax of the chosen products [b, regions, regions], 0 for the others."""
    kept = products >= products.topk(CHOSEN).values[..., -1:]
    return products.masked_fill(~kept, -torch.inf).softmax(-1)


@pytest.mark.parametrize("embedded", [False, True])
def test_soft_routing_shares_out_keys_and_values_of_chosen_regions(embedded: bool) -> None:
    p, x, result = attend({"soft_routing": True, "param_routing": embedded})
    q, k, v = F.linear(x, p["qkv.weight"], p["qkv.bias"]).chunk(3, -1)
    mean_q, mean_k = means(q), means(k)
    if embedded:
        emb = p["router.emb.weight"], p["router.emb.bias"]
        mean_q, mean_k = F.linear(mean_q, *emb), F.linear(mean_k, *emb)
    share = shares(mean_q @ mean_k.transpose(1, 2) * DIM**-0.5)
    share = share[:, REGION][:, :, REGION][:, None]
    scores = heads(q) @ heads(k).transpose(-2, -1) * DIM**-0.5 * share
    out = scores.masked_fill(share == 0, -torch.inf).softmax(-1) * share @ heads(v)
    expected = F.linear(out.transpose(1, 2).flatten(2), p["wo.weight"], p["wo.bias"])
    torch.testing.assert_close(result, expected, rtol=1e-11, atol=1e-11)


def test_keys_may_be_averages_of_regions() -> None:
    options = {"kv_downsample": "ada_avgpool", "kv_per_wins": [2], "output_projection": False}
    p, x, result = attend(options)
    q, k, v = F.linear(x, p["qkv.weight"], p["qkv.bias"]).chunk(3, -1)
    pooling = F.one_hot(PLACES // SIDE // 2 * 4 + PLACES % SIDE // 2).double().T / 4
    key = torch.arange(16)
    of_key = key // 4 // 2 * 2 + key % 4 // 2
    allowed = shares(means(q) @ means(k).transpose(1, 2))[:, REGION][:, :, of_key][:, None] > 0
    scores = heads(q) @ heads(pooling @ k).transpose(-2, -1) * DIM**-0.5
    out = scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ heads(pooling @ v)
    torch.testing.assert_close(result, out.transpose(1, 2).flatten(2), rtol=1e-11, atol=1e-11)

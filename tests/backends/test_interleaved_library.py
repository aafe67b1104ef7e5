"""`interleaved_attention`, `grid_positions` and `sine_code` of the standard library."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import attnc

torch.set_num_threads(1)

HEADS, LATENT_HEADS = 2, 3
STAGE = """
model m(causal_form = false, latent = 1) {{
  input x: [b, 3, 4, 10]
  input z: [b, 3, 2, 12]
  {context}
  domain = all
  latent_domain = all
  if causal_form {{
    domain = causal
    latent_domain = where(i // 2 >= j // 2)
  }}
  y, w = interleaved_attention(
    x, z, {given}, heads=2, latent_heads=3, latent=latent,
    domain=domain, latent_domain=latent_domain, shift=causal_form
  ) @f
  output y = y
  output w = w
}}
"""
PLAIN = STAGE.format(context="", given="none")
READS_A_CONTEXT = STAGE.format(context="input c: [b, 5, 7]", given="c")


@pytest.fixture(autouse=True)
def in_double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def made(text: str, **overrides: object) -> nn.Module:
    torch.manual_seed(1)
    model = attnc.compile(attnc.loads(text), overrides=overrides)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.4)
    return model


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.randn(2, 3, 4, 10), torch.randn(2, 3, 2, 12), torch.randn(2, 5, 7)


# One stage, written again -------------------------------------------------------------------


class Stage:
    """The formulas of the paper, on the weights of a model that holds the block as `f`."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = dict(model.named_parameters())

    def dense(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"f.{name}.weight"], self.weights[f"f.{name}.bias"])

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights[f"f.{name}.weight"], self.weights[f"f.{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, 1e-6)

    def attended(self, name: str, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        q, k, v = (each.unflatten(-1, (heads, -1)).transpose(-3, -2) for each in (q, k, v))
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        return self.dense(f"{name}.proj", (weights @ v).transpose(-3, -2).flatten(-2))

    def layer(self, name: str, x: Tensor, heads: int) -> Tensor:
        q, k, v = self.dense(f"{name}.attn.qkv", self.norm(f"{name}.norm1", x)).chunk(3, -1)
        x = x + self.attended(f"{name}.attn", q, k, v, heads)
        hidden = F.gelu(self.dense(f"{name}.mlp.fc1", self.norm(f"{name}.norm2", x)))
        return x + self.dense(f"{name}.mlp.fc2", hidden)

    def exchange(self, name: str, x: Tensor, context: Tensor, heads: int) -> Tensor:
        q = self.dense(f"{name}.attn.q", self.norm(f"{name}.norm", x))
        context = self.norm(f"{name}.context_norm", context)
        k, v = (self.dense(f"{name}.attn.{each}", context) for each in "kv")
        return x + self.attended(f"{name}.attn", q, k, v, heads)

    def __call__(self, x: Tensor, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self.layer("local.0", x, HEADS)
        z = self.exchange("read", z, x, HEADS).flatten(1, 2)
        if context is not None:
            z = self.exchange("condition", z, context, LATENT_HEADS)
        z = self.layer("latent.0", z, LATENT_HEADS).unflatten(1, (3, 2))
        return self.exchange("write", x, z, HEADS), z


def test_a_stage_is_local_read_latent_write() -> None:
    model = made(PLAIN)
    x, z, _ = inputs()
    y, w = Stage(model)(x, z, None)
    found = model(x, z)
    torch.testing.assert_close(found["y"], y, rtol=0, atol=1e-12)
    torch.testing.assert_close(found["w"], w, rtol=0, atol=1e-12)


def test_latents_read_a_context_too() -> None:
    model = made(READS_A_CONTEXT)
    x, z, context = inputs()
    y, w = Stage(model)(x, z, context)
    found = model(x, z, context)
    torch.testing.assert_close(found["y"], y, rtol=0, atol=1e-12)
    torch.testing.assert_close(found["w"], w, rtol=0, atol=1e-12)


def test_without_latent_layers_nothing_is_exchanged() -> None:
    model = made(PLAIN, latent=0)
    x, z, _ = inputs()
    found = model(x, z)
    assert torch.equal(found["w"], z)
    torch.testing.assert_close(found["y"], Stage(model).layer("local.0", x, HEADS))


def test_the_causal_form_sees_no_later_token() -> None:
    model = made(PLAIN, causal_form=True)
    x, z, _ = inputs()
    before = model(x, z)["y"].flatten(1, 2)
    for place in range(12):
        changed = x.flatten(1, 2).clone()
        changed[:, place:] += 1
        after = model(changed.reshape(x.shape), z)["y"].flatten(1, 2)
        assert torch.equal(before[:, :place], after[:, :place])
        assert not torch.equal(before[:, place], after[:, place])


# Positions ----------------------------------------------------------------------------------


def code(places: list[float], width: int) -> Tensor:
    """All sines of even channels, then all cosines of odd ones."""
    rate = [10000 ** (-(c - c % 2) / width) for c in range(width)]
    order = [*range(0, width, 2), *range(1, width, 2)]
    wave = (math.sin, math.cos)
    return torch.tensor([[wave[c % 2](place * rate[c]) for c in order] for place in places])


def stretched(count: int, extent: float) -> list[float]:
    return [place * extent / (count - 1) for place in range(count)]


def positions(**params: object) -> Tensor:
    named = ", ".join(f"{name}={value}" for name, value in params.items())
    call = f'grid_positions({named}, kind="sincos")'
    model = attnc.compile(
        attnc.loads(f"model m() {{\n input x: [1, 1]\n output y = x + {call}\n}}")
    )
    found: Tensor = model(torch.zeros(1, 1))
    return found


@pytest.mark.parametrize("width", [8, 9])
def test_positions_in_a_row_are_sines_and_cosines(width: int) -> None:
    found = positions(rows=5, dim=width, extent=1000.0)
    torch.testing.assert_close(found, code(stretched(5, 1000.0), width), rtol=0, atol=1e-12)
    assert torch.equal(found, positions(rows=1, columns=5, dim=width, extent=1000.0))


def test_positions_on_a_map_code_the_row_then_the_column() -> None:
    found = positions(rows=3, columns=4, dim=10).reshape(3, 4, 10)
    rows, columns = code(stretched(3, 2 * math.pi), 5), code(stretched(4, 2 * math.pi), 5)
    for r in range(3):
        for c in range(4):
            torch.testing.assert_close(found[r, c], torch.cat((rows[r], columns[c])))

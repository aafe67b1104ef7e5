"""`lightning_attention` and `alibi_slopes` of the standard library, against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import attnc

torch.set_num_threads(1)

SPEC = """
model m(heads = 3, fade = true) {
  input q: [b, heads, n, 4]
  input k: [b, heads, n, 4]
  input v: [b, heads, n, 6]
  if fade {
    o = lightning_attention(q, k, v, alibi_slopes(heads=heads))
  } else {
    o = lightning_attention(q, k, v)
  }
  output o = o
}
"""


def slopes(heads: int) -> list[float]:
    """2^(-8/p), 2^(-16/p) ... for a power of two p; else that, and every second of twice that."""
    power = 1 << (heads.bit_length() - 1)
    first = [2 ** (-8 * (at + 1) / power) for at in range(power)]
    return first + (slopes(2 * power)[::2][: heads - power] if heads > power else [])


def recurrence(q: Tensor, k: Tensor, v: Tensor, rate: list[float]) -> Tensor:
    """State = exp(-rate) * state + k v, read by q."""
    decay = torch.tensor(rate, dtype=q.dtype).neg().exp()[:, None, None]
    state, rows = 0 * k[:, :, 0, :, None] * v[:, :, 0, None], []
    for t in range(q.shape[2]):
        state = decay * state + k[:, :, t, :, None] * v[:, :, t, None]
        rows.append((q[:, :, t, None] @ state)[:, :, 0])
    return torch.stack(rows, 2)


def inputs(heads: int) -> list[Tensor]:
    torch.manual_seed(2)
    return [torch.randn(2, heads, 7, width, dtype=torch.float64) for width in (4, 4, 6)]


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 12])
def test_it_is_a_recurrence_that_fades_by_the_slopes(heads: int) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        model = attnc.compile(attnc.loads(SPEC), overrides={"heads": heads})
    finally:
        torch.set_default_dtype(torch.float32)
    q, k, v = inputs(heads)
    wanted = recurrence(q, k, v, slopes(heads))
    torch.testing.assert_close(model(q, k, v), wanted, rtol=0, atol=1e-13)


def test_without_a_slope_nothing_fades() -> None:
    model = attnc.compile(attnc.loads(SPEC), overrides={"fade": False})
    q, k, v = inputs(3)
    torch.testing.assert_close(model(q, k, v), recurrence(q, k, v, [0.0] * 3), rtol=0, atol=1e-13)

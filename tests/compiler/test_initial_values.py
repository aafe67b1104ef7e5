"""Weights of emitted code start where their init says."""

from __future__ import annotations

import pytest
import torch

import attnc


@pytest.mark.parametrize(("first", "end"), [(1, 1e-6), (2, 50)])
def test_a_geometric_weight_starts_at_powers_of_one_factor(first: float, end: float) -> None:
    init = f"geometric({first}, {end})"
    text = f'model m() {{\n input x: [b, 2, 3]\n output y = x * param([2, 3], "{init}")\n}}'
    (weight,) = attnc.compile(attnc.loads(text)).parameters()
    wanted = [first * (end / first) ** (at / 6) for at in range(6)]
    torch.testing.assert_close(weight.detach().flatten(), torch.tensor(wanted))

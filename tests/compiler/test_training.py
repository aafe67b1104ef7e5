"""A small ViT spec learns: its loss falls on handwritten digits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import attnc


def test_a_small_vit_learns_digits() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    images = torch.tensor(digits.images[:512], dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target[:512])
    torch.manual_seed(0)
    sizes = {"size": 8, "patch": 2, "dim": 32, "depth": 2, "heads": 4, "channels": 1, "classes": 10}
    model = attnc.compile("zoo:vit", overrides=sizes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(150):
        batch = torch.arange(step * 64, step * 64 + 64) % 512
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-8:]) / 8 < 0.5 * losses[0]

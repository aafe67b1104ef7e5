"""What published attentions are made of: normalisers, posts, outputs, each a small spec."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.backends.algebra import (
    COL,
    ROW,
    SCALE,
    B,
    Case,
    D,
    Given,
    H,
    N,
    check,
    dot,
    plain,
    read,
)

torch.set_num_threads(1)


def pseudo(g: Given) -> Tensor:
    """Later keys have scores of their own that soak up weight, and no value."""
    scores = torch.where(COL <= ROW, plain(g), -0.5 * (COL - ROW - 1.0))
    return scores.softmax(-1).where(COL <= ROW, 0.0) @ g["v"]


def features(g: Given) -> tuple[Tensor, Tensor]:
    return F.elu(g["q"]) + 1, F.elu(g["k"]) + 1


def running(g: Given) -> Tensor:
    """Causal linear attention with decay as a recurrence over tokens."""
    q, k = features(g)
    decay = g["t"].sigmoid()[:, None, None]
    state, outputs = torch.zeros(B, H, D, 4).double(), []
    for i in range(N):
        state = state * decay + k[:, :, i, :, None] * g["v"][:, :, i, None, :]
        outputs.append((q[:, :, i, None, :] @ state)[:, :, 0])
    return torch.stack(outputs, 2)


def state(g: Given) -> Tensor:
    q, k = features(g)
    return (q @ (k.transpose(-2, -1) @ g["v"])) / (q @ k.sum(2)[..., None] + 1e-6)


def channels(g: Given) -> Tensor:
    scores = torch.einsum("bhnd,bhne->bhde", g["q"], g["k"]) * 0.5
    return torch.einsum("bhde,bhne->bhnd", scores.softmax(-1), g["k"])


def clusters(g: Given) -> Tensor:
    best = dot(g["q"], g["k"]).argmax(2)
    empty = torch.zeros(B, H, N, 4).double()
    return empty.scatter_add(2, best[..., None].expand(-1, -1, -1, 4), g["v"])


def gated(g: Given) -> Tensor:
    w = plain(g).softmax(-1) * (g["gate"] > 0)[:, None]
    last = w[:, :, -1:] / w[:, :, -1:].sum(-1, keepdim=True)
    return torch.cat((w[:, :, :-1], last), 2) @ g["v"]


def taylor(g: Given) -> Tensor:
    w = (1 + plain(g) + plain(g).square() / 2) * (COL <= ROW)
    return w @ g["v"] / (w.sum(-1, keepdim=True) + 1e-6)


def transferred(g: Given) -> Tensor:
    """The map of another attention within the same windows is added to the weights."""
    apart = ROW // 3 != COL // 3
    own, other = (
        (dot(q, g["k"]) * SCALE).masked_fill(apart, -torch.inf).softmax(-1)
        for q in (g["q"], g["q"].flip(-1))
    )
    return (own + other) @ g["v"]


def prototypes(g: Given) -> Tensor:
    """Hard choice of a key; the first one where all are forbidden."""
    scores = dot(g["q"], g["k"]).masked_fill(g["gate"][:, None] < 1, -torch.inf)
    best = scores.argmax(-1)[..., None]
    return torch.take_along_dim(g["k"], best, 2)


REDUCTIONS = {
    "a Taylor series": Case(
        """o = attend(q, k, v, domain = causal, score = 1 + qk * scale + (qk * scale) ** 2 / 2,
    normalize = ratio(eps = 1e-6))""",
        taylor,
    ),
    "a map from elsewhere added": Case(
        """rest, map = attend(flip(q, -1), k, v, grid = [2, 3], domain = windows([1, 3]),
    outputs = [slot_weights])
  own = attend(q, k, v, grid = [2, 3], domain = windows([1, 3]), post = w + map[b, h, i, slot])
  o = own + 0 * rest""",
        transferred,
    ),
    "hard keys, the first where none is allowed": Case(
        """empty = max(cast(gate >= 1, "int"), axis=-1) == 0
  o = attend(q, k, k, normalize = argmax(keys),
    mask = gate[b, i, j] >= 1 or (empty[b, i] and j == 0))""",
        prototypes,
    ),
    "pseudo-scores": Case(
        """o = attend(q, k, v, score = where(j <= i, qk * scale, -0.5 * (j - i - 1)),
    post = where(j <= i, w, 0))""",
        pseudo,
    ),
    "features": Case(
        "o = attend(elu(q) + 1, elu(k) + 1, v, scale = 1, normalize = ratio(eps = 1e-6))", state
    ),
    "features, causal, with decay": Case(
        """o = attend(elu(q) + 1, elu(k) + 1, v, domain = causal,
    score = qk * sigmoid(t[h]) ** (i - j), normalize = none)""",
        running,
    ),
    "channels": Case(
        "o = transpose(attend(transpose(q), transpose(k), transpose(k), scale = 0.5))", channels
    ),
    "sums of segments": Case(
        "o = attend(q, k, v, scale = 1, normalize = argmax(queries))", clusters
    ),
    "gates, and one row that sums to 1 again": Case(
        "o = attend(q, k, v, post = where(gate[b, i, j] > 0, w, 0), renormalize = i == 5)", gated
    ),
    "weights of the last row": Case(
        """rest, w = attend(q[:, :, -1:], k, v, outputs = [weights])
  o = concat(w, rest, axis=-1)""",
        lambda g: torch.cat((
            plain(g).softmax(-1)[:, :, -1:], read(plain(g), g["v"])[:, :, -1:]
        ), -1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
def test_what_papers_do_is_a_line_or_two(name: str) -> None:
    check(REDUCTIONS[name])

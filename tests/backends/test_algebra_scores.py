"""What published attentions are made of: scores, each a small spec."""

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
    Given,
    H,
    N,
    check,
    dot,
    plain,
    read,
)

torch.set_num_threads(1)


def tables(g: Given) -> Tensor:
    bias = g["signed"][:, COL - ROW + N - 1] + g["absolute"][:, (ROW - COL).abs()]
    y, x = (ROW // 3 - COL // 3) % 2, (ROW % 3 - COL % 3) % 3
    return read(plain(g) + bias + g["wrapped"][:, y, x], g["v"])


def relative(g: Given) -> Tensor:
    """Content, rows of a table by query and by key, and rows of a table among the values."""
    rows, columns, values = (g[name][COL - ROW + N - 1] for name in ("rows", "columns", "values"))
    by_query = torch.einsum("bhid,ijd->bhij", g["q"], rows)
    by_key = torch.einsum("bhjd,ijd->bhij", g["k"], columns)
    w = (dot(g["q"], g["k"]) + by_query + by_key).softmax(-1)
    return w @ g["v"] + torch.einsum("bhij,ije->bhie", w, values)


def unit(x: Tensor) -> Tensor:
    return x / x.square().sum(-1, keepdim=True).sqrt()


def boosted(g: Given) -> Tensor:
    scores = plain(g)
    changed = scores + g["c"][:, None, None] * scores.abs()
    return read(torch.where(ROW == N - 1, changed, scores), g["v"])


def clamped_windows(g: Given) -> Tensor:
    """Logits of three slots made elsewhere; at the ends the window moves inwards."""
    first = (torch.arange(N) - 1).clamp(0, N - 3)
    keys = first[:, None] + torch.arange(3)
    return torch.einsum("bhis,bhise->bhie", g["logits"].softmax(-1), g["v"][:, :, keys])


def wrapped_shift(g: Given) -> Tensor:
    """The shift of Transformer-XL for a table of one side, as padding and reshaping do it."""
    by_query = torch.einsum("bhid,jd->bhij", g["q"], g["rows"][:N])
    padded = F.pad(by_query, (1, 0)).reshape(B, H, N + 1, N)[:, :, 1:]
    return read((dot(g["q"], g["k"]) + padded) * 0.5, g["v"])


def unrotated(g: Given) -> Tensor:
    """Keys of a context meet another query than the other keys, under one softmax."""
    context = dot(g["q"], g["kc"]) * SCALE
    turned = dot(g["q"].flip(-1), g["k"]) * SCALE
    return read(torch.cat((context, turned), -1), torch.cat((g["vc"], g["v"]), 2))


SCORES = {
    "a shift that wraps": Case(
        """r = matmul(q, transpose(rows[:6]))
  o = attend(q, k, v, score = (qk + where(j <= i, r[b, h, i, min(j - i + 5, 5)],
    where(j == i + 1, 0, r[b, h, min(i + 1, 5), max(j - i - 2, 0)]))) * 0.5)""",
        wrapped_shift,
    ),
    "two queries under one softmax": Case(
        """wide = concat(q, flip(q, -1), axis=-1)
  first = concat(kc, zeros([2, 2, 8, 3]), axis=-1)
  second = concat(zeros([2, 2, 6, 3]), k, axis=-1)
  o = attend(wide, [source(first, vc, scale = 3 ** -0.5), source(second, v, scale = 3 ** -0.5)])""",
        unrotated,
    ),
    "cosine with a learned temperature": Case(
        "o = attend(l2_normalize(q), l2_normalize(k), v, score = qk * exp(min(t[h], 0.3)))",
        lambda g: read(
            dot(unit(g["q"]), unit(g["k"])) * g["t"].clamp(max=0.3).exp()[:, None, None], g["v"]
        ),
    ),
    "negative distance": Case(
        "o = attend(q, k, v, domain = causal, score = -l1(q, k) * scale)",
        lambda g: read(
            -(g["q"][:, :, :, None] - g["k"][:, :, None]).abs().sum(-1) * SCALE, g["v"], COL <= ROW
        ),
    ),
    "tables by signed, absolute and wrapped offset": Case(
        """o = attend(q, k, v, grid = [2, 3], score = qk * scale + signed[h,
    j - i + 5] + absolute[h, abs(i - j)] + wrapped[h, (iy - jy) % 2, (ix - jx) % 3])""",
        tables,
    ),
    "rows by query, key and value": Case(
        """qr = matmul(q, transpose(rows))
  kr = matmul(k, transpose(columns))
  content, w = attend(q, k, v, domain = band(5, 5), score = qk + qr[b, h, i,
    j - i + 5] + kr[b, h, j, j - i + 5], outputs = [slot_weights])
  o = content + matmul(w, values)""",
        relative,
    ),
    "a number for each key": Case(
        "o = attend(q, k, v, score = qk * scale + u[b, h, j])",
        lambda g: read(plain(g) + g["u"][:, :, None], g["v"]),
    ),
    "scales by query and by head": Case(
        "o = attend(q, k, v, score = qk * softplus(t[h]) * (c[b, i] + log(j + 1)))",
        lambda g: read(
            dot(g["q"], g["k"])
            * F.softplus(g["t"])[:, None, None]
            * (g["c"][:, None, :, None] + (COL + 1).double().log()),
            g["v"],
        ),
    ),
    "softcap": Case(
        "o = attend(q, k, v, score = 2 * tanh(qk * scale / 2))",
        lambda g: read(2 * torch.tanh(plain(g) / 2), g["v"]),
    ),
    "one row boosted by key": Case(
        """o = attend(q, k, v, score = where(i == 5, qk * scale + c[b, j] * abs(qk * scale),
    qk * scale))""",
        boosted,
    ),
    "logits by slot": Case(
        """o = attend(q, k, v, domain = neighborhood(3, edge = clamp), score = logits[b, h, i,
    slot])""",
        clamped_windows,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCORES)
def test_what_papers_do_is_a_line_or_two(name: str) -> None:
    check(SCORES[name])

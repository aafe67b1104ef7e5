"""What published attentions are made of: streams and domains, each a small spec."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.backends.algebra import (
    COL,
    OTHER,
    ROW,
    SCALE,
    B,
    Case,
    D,
    Given,
    H,
    N,
    by_batch,
    check,
    cross,
    dot,
    plain,
    read,
)

torch.set_num_threads(1)


# Streams ----------------------------------------------------------------------------------


def appended(g: Given) -> Tensor:
    k = torch.cat((g["k"], g["learned"].expand(B, H, 1, D), torch.zeros(B, H, 1, D)), 2)
    v = torch.cat((g["v"], g["value"].expand(B, H, 1, 4), torch.zeros(B, H, 1, 4)), 2)
    return read(dot(g["q"], k) * SCALE, v)


def joint(g: Given) -> Tensor:
    near = (ROW - COL).abs() <= 1
    first = plain(g).masked_fill(~near, -torch.inf)
    scores = torch.cat((first, cross(g) + g["t"][:, None, None]), -1)
    return read(scores, torch.cat((g["v"], g["vc"]), 2))


def apart(g: Given) -> Tensor:
    second = read(cross(g), g["vc"], OTHER != 2)
    return read(plain(g), g["v"], COL <= ROW) + g["t"][:, None, None].sigmoid() * second


def area(g: Given) -> Tensor:
    return read(plain(g), g["v"]) + 0.5 * g["area"][:, None] * read(cross(g), g["vc"])


STREAMS = {
    "appended learned and constant keys": Case(
        """mine = expand(learned, [2, 2, 1, 3])
  zero = zeros([2, 2, 1, 3])
  o = attend(q, [source(k, v), source(mine, expand(value, [2, 2, 1, 4])), source(zero,
    zeros([2, 2, 1, 4]))])""",
        appended,
    ),
    "batch halves swapped": Case(
        """first, second = chunk(k, 2, axis=0)
  third, fourth = chunk(v, 2, axis=0)
  o = attend(q, concat(second, first, axis=0), concat(fourth, third, axis=0))""",
        lambda g: read(dot(g["q"], g["k"].flip(0)) * SCALE, g["v"].flip(0)),
    ),
    "keys of one stream, values of another": Case(
        "o = attend(q, k, vc[:, :, :6])", lambda g: read(plain(g), g["vc"][:, :, :N])
    ),
    "identity values": Case(
        "o = attend(q, kc, kc)", lambda g: read(cross(g), g["kc"])
    ),
    "one softmax over two sources": Case(
        """o = attend(q, [source(k, v, domain = band(1, 1)), source(kc, vc,
    score = qk * scale + t[h])])""",
        joint,
    ),
    "two softmaxes, weighed": Case(
        """o = attend(q, [source(k, v, domain = causal), source(kc, vc, mask = j != 2,
    weight = sigmoid(t[h]))], join = sum)""",
        apart,
    ),
    "a second source for a part of the queries": Case(
        """o = attend(q, [source(k, v), source(kc, vc, weight = 0.5, post = w * area[i])],
    join = sum)""",
        area,
    ),
}  # fmt: skip


# Domains ----------------------------------------------------------------------------------


def mutual(g: Given) -> Tensor:
    """Causal, and the image's rows see the question's columns, whose place differs by sample."""
    p, e = by_batch(g["p"]), by_batch(g["e"])
    image = (p <= ROW) & (p + 2 > ROW)
    return read(plain(g), g["v"], (COL <= ROW) | (image & (p + 2 <= COL) & (e > COL)))


def segments(g: Given) -> Tensor:
    seg = g["seg"]
    same = (seg[:, :, None] == seg[:, None, :])[:, None]
    return read(plain(g), g["v"], same | (ROW == COL))


def clocks(g: Given) -> Tensor:
    """Three queries and four keys to a second, one second either way; a context is always seen."""
    near = (ROW // 3 - OTHER // 4).abs() <= 1
    scores = torch.cat((plain(g), cross(g).masked_fill(~near, -torch.inf)), -1)
    return read(scores, torch.cat((g["v"], g["vc"]), 2))


def cells(shape: tuple[int, ...]) -> Tensor:
    return torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape))


def boxes(g: Given) -> Tensor:
    """Windows of 2 x 2 x 1 on 2 x 2 x 3, written out on the coordinates of tokens."""
    window = cells((2, 2, 3)) // torch.tensor([2, 2, 1])
    x = g["x"]
    return read(dot(x, x) * SCALE, x, (window[:, None] == window[None, :]).all(-1))


def around(g: Given) -> Tensor:
    """Neighbourhoods of 1 x 3 x 3, with a bias by their slot."""
    place = cells((2, 2, 3))
    offset = place[None, :] - place[:, None]
    near = (offset.abs() <= torch.tensor([0, 1, 1])).all(-1)
    slot = (offset[..., 1] + 1) * 3 + offset[..., 2] + 1
    x = g["x"]
    return read(dot(x, x) * SCALE + slot * g["t"][:, None, None], x, near)


def rates(g: Given) -> Tensor:
    """Six queries on 2 x 3 read those of eight keys on 2 x 4 that lie in their row."""
    return read(cross(g), g["vc"], ROW // 3 == OTHER // 4)


DOMAINS = {
    "a block of questions open to an image": Case(
        """o = attend(q, k, v,
    domain = where(j <= i or (i >= p[b] and i < p[b] + 2 and j >= p[b] + 2 and j < e[b])))""",
        mutual,
    ),
    "segments": Case(
        "o = attend(q, k, v, domain = where(seg[b, i] == seg[b, j] or i == j))", segments
    ),
    "blocks are causal": Case(
        "o = attend(q, k, v, domain = where(i // 2 >= j // 2))",
        lambda g: read(plain(g), g["v"], ROW // 2 >= COL // 2),
    ),
    "a band in time between two clocks": Case(
        """o = attend(q, [source(k, v), source(kc, vc,
    domain = where(abs(i // 3 - j // 4) <= 1))])""",
        clocks,
    ),
    "windows in three dimensions": Case(
        "o = attend(x, x, x, grid = [2, 2, 3], domain = windows([2, 2, 1]))", boxes
    ),
    "neighbourhoods in three dimensions": Case(
        """o = attend(x, x, x, grid = [2, 2, 3], domain = neighborhood([1, 3, 3]),
    score = qk * scale + slot * t[h])""",
        around,
    ),
    "rows of grids of different width": Case(
        "o = attend(q, kc, vc, grid = [2, 3], key_grid = [2, 4], domain = where(iy == jy))", rates
    ),
}  # fmt: skip

CASES = {**STREAMS, **DOMAINS}


@pytest.mark.parametrize("name", CASES)
def test_what_papers_do_is_a_line_or_two(name: str) -> None:
    check(CASES[name])

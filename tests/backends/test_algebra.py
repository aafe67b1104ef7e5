"""What published attentions are made of: each a small spec, and computed by plain torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import attnc

torch.set_num_threads(1)

B, H, N, M, D = 2, 2, 6, 8, 3
SCALE = D**-0.5
Given = Mapping[str, Tensor]

SHAPES: Mapping[str, tuple[int, ...]] = {
    "q": (B, H, N, D), "k": (B, H, N, D), "v": (B, H, N, 4),
    "kc": (B, H, M, D), "vc": (B, H, M, 4),
    "learned": (H, 1, D), "value": (H, 1, 4),
    "t": (H,), "u": (B, H, N), "c": (B, N), "gate": (B, N, N), "area": (N,),
    "signed": (H, 2 * N - 1), "absolute": (H, N), "wrapped": (H, 2, 3),
    "rows": (2 * N - 1, D), "columns": (2 * N - 1, D), "values": (2 * N - 1, 4),
    "logits": (B, H, N, 3), "x": (B, H, 12, D),
}  # fmt: skip
"""Float inputs by name: those that a spec mentions are declared."""
WHOLE = {"p": (B,), "e": (B,), "seg": (B, N)}


@dataclass(frozen=True)
class Case:
    """Statements that bind `o`, and what `o` is."""

    text: str
    meaning: Callable[[Given], Tensor]


# Plain torch ------------------------------------------------------------------------------

ROW, COL = torch.arange(N)[:, None], torch.arange(N)[None, :]
OTHER = torch.arange(M)[None, :]


def dot(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("bhid,bhjd->bhij", q, k)


def read(scores: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return torch.einsum("bhij,bhje->bhie", scores.softmax(-1), v)


def plain(g: Given) -> Tensor:
    return dot(g["q"], g["k"]) * SCALE


def cross(g: Given) -> Tensor:
    return dot(g["q"], g["kc"]) * SCALE


def by_batch(x: Tensor) -> Tensor:
    return x[:, None, None, None]


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


# Scores -----------------------------------------------------------------------------------


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


# Normalisers and reductions ---------------------------------------------------------------


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

CASES = {**STREAMS, **DOMAINS, **SCORES, **REDUCTIONS}


def mentioned(text: str, names: Mapping[str, object]) -> list[str]:
    return [name for name in names if re.search(rf"\b{name}\b(?!\s*=)", text)]


@pytest.mark.parametrize("name", CASES)
def test_what_papers_do_is_a_line_or_two(name: str) -> None:
    text = CASES[name].text
    draw = torch.Generator().manual_seed(0)
    given = {
        each: torch.randn(SHAPES[each], generator=draw).double() for each in mentioned(text, SHAPES)
    }
    given |= {
        each: torch.randint(1, 3, WHOLE[each], generator=draw) + 3 * (each == "e")
        for each in mentioned(text, WHOLE)
    }
    declared = "\n".join(
        f"  input {each}: {list(tensor.shape)} {'' if tensor.is_floating_point() else 'int'}"
        for each, tensor in given.items()
    )
    spec = f"model m() {{\n{declared}\n  {text}\n  output o = o\n}}"
    model = attnc.compile(attnc.loads(spec), target="reference").double()
    found = model(*given.values())
    torch.testing.assert_close(found, CASES[name].meaning(given), rtol=1e-12, atol=1e-12)

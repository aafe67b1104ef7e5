"""Normalisers as plain loops over rows of scores, by the text that a spec has for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.backends.one_call import Matrix

# The formulas -----------------------------------------------------------------------------


def over_keys(rows: Matrix, weigh: Callable[[list[float]], list[float]]) -> Matrix:
    return [weigh(row) for row in rows]


def over_queries(rows: Matrix, weigh: Callable[[list[float]], list[float]]) -> Matrix:
    columns = [weigh([row[j] for row in rows]) for j in range(len(rows[0]))]
    return [[column[i] for column in columns] for i in range(len(rows))]


def softmax(scores: list[float], sink: float = -math.inf) -> list[float]:
    total = sum(math.exp(each) for each in [*scores, sink])
    return [math.exp(each) / total if total else 0.0 for each in scores]


def hard(scores: list[float]) -> list[float]:
    best = max(scores)
    first = scores.index(best)
    return [float(at == first and best > -math.inf) for at in range(len(scores))]


def share(scores: list[float], eps: float = 0.0, floor: float = -math.inf) -> list[float]:
    allowed = [each for each in scores if each > -math.inf]
    total = max(sum(allowed), floor) + eps
    return [each / total if each > -math.inf else 0.0 for each in scores]


def plain(scores: list[float]) -> list[float]:
    return [each if each > -math.inf else 0.0 for each in scores]


def logistic(scores: list[float]) -> list[float]:
    return [1 / (1 + math.exp(-each)) for each in scores]


def cut(scores: list[float], power: float = 1.0) -> list[float]:
    return [max(each, 0.0) ** power for each in scores]


At = tuple[int, int, int, int]
"""b, h, i, j."""


@dataclass(frozen=True)
class Case:
    """A normaliser: how a spec writes it and what it means."""

    text: str
    meaning: Callable[[Matrix, float], Matrix]
    """Of the scores of one head and of s[h]."""


CASES = {
    "softmax": Case("softmax(keys)", lambda rows, s: over_keys(rows, softmax)),
    "softmax1": Case(
        "softmax(keys, sink = 0)",
        lambda rows, s: over_keys(rows, lambda row: softmax(row, 0.0)),
    ),
    "sink": Case(
        "softmax(keys, sink = s[h])",
        lambda rows, s: over_keys(rows, lambda row: softmax(row, s)),
    ),
    "reversed": Case("softmax(queries)", lambda rows, s: over_queries(rows, softmax)),
    "hard": Case("argmax(keys)", lambda rows, s: over_keys(rows, hard)),
    "hard over queries": Case("argmax(queries)", lambda rows, s: over_queries(rows, hard)),
    "sigmoid": Case("sigmoid", lambda rows, s: over_keys(rows, logistic)),
    "relu": Case("relu", lambda rows, s: over_keys(rows, cut)),
    "relu squared": Case(
        "relu(power = 2)", lambda rows, s: over_keys(rows, lambda row: cut(row, 2.0))
    ),
    "relu cubed": Case(
        "relu(power = 3)", lambda rows, s: over_keys(rows, lambda row: cut(row, 3.0))
    ),
    "none": Case("none", lambda rows, s: over_keys(rows, plain)),
    "ratio": Case("ratio", lambda rows, s: over_keys(rows, share)),
    "ratio with eps": Case(
        "ratio(eps = 0.5)", lambda rows, s: over_keys(rows, lambda row: share(row, 0.5))
    ),
    "ratio with a floor": Case(
        "ratio(floor = 1.5, eps = 0.1)",
        lambda rows, s: over_keys(rows, lambda row: share(row, 0.1, 1.5)),
    ),
}
HARD = ("hard", "hard over queries")
DOMAINS: dict[str, tuple[str, Callable[[int, int], bool]]] = {
    "all": ("", lambda i, j: True),
    "empty rows": (", domain = where(j <= i - 1)", lambda i, j: j <= i - 1),
    "nothing": (", domain = where(j < 0)", lambda i, j: False),
}


def scores_of(
    given: dict[str, Tensor], allowed: Callable[[int, int], bool], at: Sequence[int]
) -> Matrix:
    """Return exp(qk / 2) at allowed pairs: positive, so that a ratio is far from 0 / 0."""
    b, h = at
    rows = []
    for i, q in enumerate(given["q"][b, h].tolist()):
        products = [
            sum(x * y for x, y in zip(q, k, strict=True)) for k in given["k"][b, h].tolist()
        ]
        rows.append([
            math.exp(each / 2) - 0.3 if allowed(i, j) else -math.inf
            for j, each in enumerate(products)
        ])  # fmt: skip
    return rows


SCORE = ", score = exp(qk * 0.5) - 0.3"
HEADS = [(b, h) for b in range(2) for h in range(2)]


def expected(case: Case, domain: str, given: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return out, weights and received."""
    out, weights = torch.zeros(2, 2, 4, 2).double(), torch.zeros(2, 2, 4, 5).double()
    for b, h in HEADS:
        rows = scores_of(given, DOMAINS[domain][1], (b, h))
        sink = given["s"][h].item() if "s" in given else 0.0
        found = case.meaning(rows, sink)
        weights[b, h] = torch.tensor(found, dtype=torch.float64)
        for i in range(4):
            for j in range(5):
                out[b, h, i] += found[i][j] * given["v"][b, h, j]
    return out, weights, weights.sum(-2)

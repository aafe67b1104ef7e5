"""How rows of scores become weights, as lines of the kernels: one rule per kind of normaliser.

A weight is `share * w + extra` where a post expression says so, with w as the normaliser leaves it.
Normalisers that look at one pair alone are part of the score, see `elementwise`: there w is s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from attnc.dsl.attention import (
    Apply,
    Attention,
    Constant,
    Normaliser,
    Ratio,
    ReluPower,
    ScoreTree,
    Sigmoid,
    SoftmaxKeys,
    Unnormalised,
    Weight,
)
from attnc.dsl.scorelang import has_weight, make, replaced, simplify

LN_2 = 0.6931471805599453


class Rule(ABC):
    """What kernels do with the scores `s` of a tile.

    Attributes:
        statistic: what backward kernels need of each query, a buffer [b, h, n]; empty for nothing.
        in_bits: whether scores are taken times log2(e).
        state: sums that the forward kernel carries besides `acc`; `fresh` starts them.
        outside: the score of a pair that is not allowed.
        add: statements that bring the state forward by a tile and leave the weights `p`, before
            they are divided at the end.
        carried: `acc` as the state has it now.
        stored: the statistic at the end.
        centred: whether the gradient of a weight counts by how far it is from `delta`.
        doc: what the forward kernel does with a tile.
    """

    statistic: ClassVar[str]
    in_bits: ClassVar[bool] = False
    state: ClassVar[tuple[str, ...]] = ()
    outside: ClassVar[str] = "0.0"
    add: ClassVar[tuple[str, ...]] = ()
    carried: ClassVar[str] = "acc"
    stored: ClassVar[str] = ""
    centred: ClassVar[bool] = True
    doc: ClassVar[str]

    @abstractmethod
    def result(self) -> str:
        """Return what `acc` stands for at the end."""

    @abstractmethod
    def fresh(self, sink: str) -> list[str]:
        """Return statements that start the state; `sink` is the score of a key without a value."""

    def adding(self) -> Sequence[str]:
        """Return the statements of `add`."""
        return self.add

    @abstractmethod
    def weights(self, index: str) -> list[str]:
        """Return statements for `p`; `index` stretches one value per query over the tile."""

    @abstractmethod
    def pull(self, index: str, dp: str) -> str:
        """Return a statement for `ds`, d loss / d score, from the gradient of `p`."""


@dataclass(frozen=True)
class Softmax(Rule):
    """exp2(s - lse), online."""

    statistic = "lse"
    in_bits = True
    state = ("peak", "total")
    outside = 'float("-inf")'
    add: ClassVar[tuple[str, ...]] = (
        "new_peak = tl.maximum(peak, tl.max(s, 1))",
        'shift = tl.where(new_peak == float("-inf"), 0.0, new_peak)  # no key so far',
        "p = tl.exp2(s - shift[:, None])",
        "shrink = tl.exp2(peak - shift)",
        "peak = new_peak",
        "total = total * shrink + tl.sum(p, 1)",
    )
    carried = "acc * shrink[:, None]"
    stored = f"(peak + tl.log2(total)) * {LN_2}"
    doc = "Add a tile of keys: peak is the largest s, total the sum of exp2(s - peak)."

    def result(self) -> str:
        """Divide by the total; 0 for a query without keys."""
        return "acc / tl.where(total == 0.0, 1.0, total)[:, None]"

    def fresh(self, sink: str) -> list[str]:
        """Begin with no key, or with the sink."""
        if sink:
            return [
                f"peak = tl.zeros([BLOCK_I], tl.float32) + {sink}",
                "total = tl.full([BLOCK_I], 1.0, tl.float32)  # of the sink",
            ]
        return [
            'peak = tl.full([BLOCK_I], float("-inf"), tl.float32)',
            "total = tl.zeros([BLOCK_I], tl.float32)",
        ]

    def weights(self, index: str) -> list[str]:
        """Read weights off lse."""
        return [f"p = tl.exp2(s - lse_tile{index})"]

    def pull(self, index: str, dp: str) -> str:
        """Return p * (dp - delta)."""
        return f"ds = p * ({dp} - delta_tile{index})"


@dataclass(frozen=True)
class LateSoftmax(Softmax):
    """exp2(s - lse), of a known lse: a first walk finds it, weights are whole in the second."""

    first: ClassVar[tuple[str, ...]] = Softmax.add
    add = ("p = tl.exp2(s - bound[:, None])",)
    carried = "acc"
    doc = "Add a tile of keys, whose weights are known."
    bound: ClassVar[tuple[str, ...]] = (
        "some = tl.where(total == 0.0, 1.0, total)",
        "bound = tl.where(total == 0.0, 0.0, peak + tl.log2(some))",
    )

    def result(self) -> str:
        """Return the sum as it is."""
        return "acc"


@dataclass(frozen=True)
class Elementwise(Rule):
    """s itself."""

    statistic = ""
    add = ("p = s",)
    centred = False
    doc = "Add a tile of keys, whose scores are weights as they are."

    def result(self) -> str:
        """Return the sum as it is."""
        return "acc"

    def fresh(self, sink: str) -> list[str]:
        """There is nothing to start."""
        return []

    def weights(self, index: str) -> list[str]:
        """Take scores as weights."""
        return ["p = s"]

    def pull(self, index: str, dp: str) -> str:
        """Return the gradient as it is."""
        return f"ds = {dp}"


@dataclass(frozen=True)
class OverSum(Rule):
    """s / (max(total, floor) + eps), the total of a query being the sum of its scores.

    Attributes:
        eps: see there; `floor` likewise.
    """

    eps: float
    floor: float | None

    statistic = "sums"
    state = ("total",)
    add = ("p = s", "total += tl.sum(p, 1)")
    stored = "total"
    doc = "Add a tile of keys; total is the sum of their scores."

    def result(self) -> str:
        """Divide by the total."""
        return f"acc / ({self.divisor('total')})[:, None]"

    def fresh(self, sink: str) -> list[str]:
        """Begin with a total of 0."""
        return ["total = tl.zeros([BLOCK_I], tl.float32)"]

    def weights(self, index: str) -> list[str]:
        """Divide scores by the total."""
        return [f"share_tile = 1.0 / ({self.divisor('sums_tile')})", f"p = s * share_tile{index}"]

    def pull(self, index: str, dp: str) -> str:
        """Divide likewise, less what goes through the total."""
        delta = "delta_tile"
        if self.floor is not None:  # below it the total does not count
            delta = f"tl.where(sums_tile >= {self.floor!r}, delta_tile, 0.0)"
        return f"ds = share_tile{index} * ({dp} - {delta}{index})"

    def divisor(self, total: str) -> str:
        """Return what scores of a query with this total are divided by."""
        if self.floor is not None:
            total = f"tl.maximum({total}, {self.floor!r})"
        if self.eps:
            return f"{total} + {self.eps!r}"
        return total if self.floor else f"tl.where({total} == 0.0, 1.0, {total})"


def rule_of(attention: Attention) -> Rule | None:
    """Return the rule of an attention; none where weights of other queries count.

    Weights that are divided by their sum again are a ratio where each depends on its pair alone.
    """
    match attention.normaliser:
        case SoftmaxKeys():
            posts = [source.post for source in attention.sources if source.post is not None]
            return LateSoftmax() if any(affine(post) is None for post in posts) else Softmax()
        case Ratio(eps, floor):
            return OverSum(eps, floor)
        case normaliser if is_elementwise(normaliser):
            is_ratio = attention.renormalise == Constant(True)
            return OverSum(0.0, None) if is_ratio else Elementwise()
    return None


def is_elementwise(normaliser: Normaliser) -> bool:
    """Say whether a weight depends on the score of its own pair alone."""
    return isinstance(normaliser, (Sigmoid, ReluPower, Unnormalised))


def elementwise(normaliser: Normaliser, score: ScoreTree) -> ScoreTree:
    """Return the weight of a pair as a tree where the score alone decides, else the score."""
    match normaliser:
        case Sigmoid():
            return make("sigmoid", score)
        case ReluPower(power):
            above = make("relu", score)
            if power == 1:
                return above
            return make("square", above) if power == 2 else make("pow", above, Constant(power))
    return score


def affine(post: ScoreTree) -> tuple[ScoreTree, ScoreTree] | None:
    """Return `share` and `extra` where a post expression is `share * w + extra`, else none."""
    post = simplify(post)
    if not has_weight(post):
        return Constant(0.0), post
    match post:
        case Weight():
            return Constant(1.0), Constant(0.0)
        case Apply("neg", (inner,)):
            return _scaled(affine(inner), Constant(-1.0))
        case Apply("add" | "sub" as function, (left, right)):
            return _sum(function, affine(left), affine(right))
        case Apply("mul", (left, right)) if not has_weight(right):
            return _scaled(affine(left), right)
        case Apply("mul", (left, right)) if not has_weight(left):
            return _scaled(affine(right), left)
        case Apply("div", (left, right)) if not has_weight(right):
            return _each(affine(left), lambda part: make("div", part, right))
        case Apply("where", (condition, left, right)) if not has_weight(condition):
            chosen, other = affine(left), affine(right)
            if chosen is None or other is None:
                return None
            share, extra = (
                make("where", condition, a, b) for a, b in zip(chosen, other, strict=True)
            )
            return share, extra
    return None


_Affine = tuple[ScoreTree, ScoreTree] | None


def _each(parts: _Affine, change: Callable[[ScoreTree], ScoreTree]) -> _Affine:
    return None if parts is None else (change(parts[0]), change(parts[1]))


def _scaled(parts: _Affine, factor: ScoreTree) -> _Affine:
    return _each(parts, lambda part: make("mul", part, factor))


def _sum(function: str, left: _Affine, right: _Affine) -> _Affine:
    if left is None or right is None:
        return None
    return make(function, left[0], right[0]), make(function, left[1], right[1])


def with_weight(post: ScoreTree, weight: ScoreTree) -> ScoreTree:
    """Return a post expression with the weight spelt out."""
    return simplify(replaced(post, lambda part: weight if isinstance(part, Weight) else part))

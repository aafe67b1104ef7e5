"""Scores that are a scaled product plus something else: the form that ready-made kernels take."""

from __future__ import annotations

from dataclasses import dataclass

from attnc.dsl.attention import Apply, Constant, Dot, ScoreTree
from attnc.dsl.scorelang.simplify import make, simplify
from attnc.dsl.scorelang.walk import has_distance, has_dot


@dataclass(frozen=True, slots=True)
class ScaledProduct:
    """The score `qk * scale + bias`; the bias does not read `qk`, and is none where it is 0."""

    scale: float
    bias: ScoreTree | None


def scaled_product(score: ScoreTree) -> ScaledProduct | None:
    """Return the score as a scaled product with a bias; none where it is something else."""
    found = None if has_distance(score) else _affine(simplify(score))
    if found is None:
        return None
    scale, bias = found
    return ScaledProduct(scale, None if bias == _ZERO else bias)


_ZERO = Constant(0.0)


def _affine(tree: ScoreTree) -> tuple[float, ScoreTree] | None:
    if not has_dot(tree):
        return 0.0, tree
    match tree:
        case Dot():
            return 1.0, _ZERO
        case Apply("neg", (inner,)):
            return _times(_affine(inner), Constant(-1.0))
        case Apply("mul", (inner, Constant() as factor) | (Constant() as factor, inner)):
            return _times(_affine(inner), factor)
        case Apply("div", (inner, Constant(value))):
            found = _affine(inner)
            return found and (found[0] / value, make("div", found[1], Constant(value)))
        case Apply("add", (left, right)):
            return _sum(_affine(left), _affine(right))
        case Apply("sub", (left, right)):
            return _sum(_affine(left), _times(_affine(right), Constant(-1.0)))
    return None


def _times(
    found: tuple[float, ScoreTree] | None, factor: Constant
) -> tuple[float, ScoreTree] | None:
    return found and (found[0] * factor.value, make("mul", found[1], factor))


def _sum(
    left: tuple[float, ScoreTree] | None, right: tuple[float, ScoreTree] | None
) -> tuple[float, ScoreTree] | None:
    if left is None or right is None:
        return None
    return left[0] + right[0], make("add", left[1], right[1])

"""Scores that are q . k times factors of the query and of the distance: those sums may be moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from attnc.dsl.attention import (
    All,
    Apply,
    Causal,
    Constant,
    Coordinate,
    Domain,
    Dot,
    ScoreTree,
)
from attnc.dsl.scorelang import coordinates, has_dot, make, simplify


@dataclass(frozen=True, slots=True)
class Separable:
    """The score `qk * factor * exp(rate * (i - j))`.

    Attributes:
        factor: float tree that reads no key; 1.0 for none.
        rate: float tree of `b` and `h`; none for no decay.
    """

    factor: ScoreTree
    rate: ScoreTree | None


def separable(score: ScoreTree, domain: Domain) -> Separable | None:
    """Return a score as a product of separable factors; none where it is something else."""
    factor: ScoreTree = Constant(1.0)
    rate: ScoreTree | None = None
    dots = 0
    for part, inverse in _factors(simplify(score), False):
        if part == Dot() and not inverse:
            dots += 1
        elif has_dot(part):
            return None
        elif "j" not in coordinates(part):
            factor = make("div" if inverse else "mul", factor, part)
        else:
            found = _decay(part, isinstance(domain, Causal))
            if found is None:
                return None
            found = make("neg", found) if inverse else found
            rate = found if rate is None else make("add", rate, found)
    return Separable(factor, rate) if dots == 1 else None


def _factors(tree: ScoreTree, inverse: bool) -> Iterator[tuple[ScoreTree, bool]]:
    """Yield the factors of a product, each with whether it divides."""
    match tree:
        case Apply("mul", (left, right)):
            yield from _factors(left, inverse)
            yield from _factors(right, inverse)
        case Apply("div", (left, right)):
            yield from _factors(left, inverse)
            yield from _factors(right, not inverse)
        case Apply("neg", (inner,)):
            yield Constant(-1.0), False
            yield from _factors(inner, inverse)
        case _:
            yield tree, inverse


def _decay(tree: ScoreTree, causal: bool) -> ScoreTree | None:
    """Return the rate of `exp(rate * (i - j))`."""
    match tree:
        case Apply("exp", (argument,)):
            rate = _of_distance(argument, causal)
            return rate if rate is not None and not coordinates(rate) & {"i", "j"} else None
    return None


def _of_distance(tree: ScoreTree, causal: bool) -> ScoreTree | None:
    """Return what `i - j` is multiplied by; none where the tree is something else."""
    one = Constant(1.0)
    match tree:
        case Apply("float", (inner,)):
            return _of_distance(inner, causal)
        case Apply("sub", (Coordinate("i"), Coordinate("j"))):
            return one
        case Apply("sub", (Coordinate("j"), Coordinate("i"))):
            return Constant(-1.0)
        case Apply("abs", (inner,)) if causal and _of_distance(inner, causal) is not None:
            return one
        case Apply("neg", (inner,)):
            found = _of_distance(inner, causal)
            return None if found is None else make("neg", found)
        case Apply("mul", (left, right)):
            for inner, other in ((left, right), (right, left)):
                found = _of_distance(inner, causal)
                if found is not None and not coordinates(other) & {"i", "j"}:
                    return make("mul", found, other)
        case Apply("div", (inner, other)) if not coordinates(other) & {"i", "j"}:
            found = _of_distance(inner, causal)
            return None if found is None else make("div", found, other)
    return None


SERVED = (All, Causal)
"""Domains under which sums may be moved."""

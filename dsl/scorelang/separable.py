"""Scores that are q . k times factors of the query and of the distance: those sums may be moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from attnc.dsl.attention import All, Apply, Causal, Constant, Coordinate, Domain, Dot, ScoreTree
from attnc.dsl.dims import Size
from attnc.dsl.scorelang.construct import as_float
from attnc.dsl.scorelang.simplify import make, simplify
from attnc.dsl.scorelang.walk import coordinates, has_dot, replaced

SERVED = (All, Causal)
"""Domains under which sums may be moved."""


@dataclass(frozen=True, slots=True)
class Separable:
    """The score `qk * factor * exp(rate * (i - j))`.

    Attributes:
        factor: float tree that reads no key; 1.0 for none.
        rate: float tree of `b` and `h`; none for no decay.
        bases: float trees that powers of the distance are of; `rate` has their logarithms, so
            they must be positive.
    """

    factor: ScoreTree
    rate: ScoreTree | None
    bases: tuple[ScoreTree, ...] = ()


def separable(score: ScoreTree, domain: Domain) -> Separable | None:
    """Return a score as a product of separable factors; none where it is something else."""
    factor: ScoreTree = Constant(1.0)
    rate: ScoreTree | None = None
    bases: list[ScoreTree] = []
    dots = 0
    for part, inverse in _factors(simplify(score), False):
        if part == Dot() and not inverse:
            dots += 1
        elif has_dot(part):
            return None
        elif "j" not in coordinates(part):
            factor = make("div" if inverse else "mul", factor, part)
        else:
            found = _decay(part, isinstance(domain, Causal), bases)
            if found is None:
                return None
            found = make("neg", found) if inverse else found
            rate = found if rate is None else make("add", rate, found)
    return Separable(factor, rate, tuple(bases)) if dots == 1 else None


def is_positive(tree: ScoreTree, heads: Size) -> bool:
    """Say whether a tree of `h` alone is known to be positive for each of so many heads."""
    if not isinstance(heads, int):
        return False
    return all(_number(tree, head) > 0 for head in range(heads))


def _number(tree: ScoreTree, head: int) -> float:
    """Return what a tree is for a head; 0 where it is not known."""
    at = Constant(head)
    match simplify(replaced(tree, lambda part: at if part == Coordinate("h") else part)):
        case Constant(float(value)):
            return value
    return 0.0


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


def _decay(tree: ScoreTree, causal: bool, bases: list[ScoreTree]) -> ScoreTree | None:
    """Return the rate of `exp(rate * (i - j))`, or of a power; add its base to `bases`."""
    match tree:
        case Apply("exp", (argument,)):
            return _of_distance(argument, causal)
        case Apply("pow", (base, argument)) if not coordinates(base) & {"i", "j"}:
            steps = _of_distance(argument, causal)
            if steps is not None:
                bases.append(base)
                return make("mul", steps, make("log", base))
    return None


def _of_distance(tree: ScoreTree, causal: bool) -> ScoreTree | None:
    """Return what `i - j` is multiplied by, a tree of `b` and `h`; none for another tree."""
    match tree:
        case Apply("float", (inner,)):
            return _of_distance(inner, causal)
        case Apply("sub", (Coordinate("i"), Coordinate("j"))):
            return Constant(1.0)
        case Apply("sub", (Coordinate("j"), Coordinate("i"))):
            return Constant(-1.0)
        case Apply("abs", (inner,)) if causal and _is_distance(inner):
            return Constant(1.0)
        case Apply("neg", (inner,)):
            found = _of_distance(inner, causal)
            return None if found is None else make("neg", found)
        case Apply("mul", (left, right)):
            for inner, other in ((left, right), (right, left)):
                found = _of_distance(inner, causal)
                if found is not None and not coordinates(other) & {"i", "j"}:
                    return make("mul", found, as_float(other))
        case Apply("div", (inner, other)) if not coordinates(other) & {"i", "j"}:
            found = _of_distance(inner, causal)
            return None if found is None else make("div", found, as_float(other))
    return None


def _is_distance(tree: ScoreTree) -> bool:
    """Say whether a tree is `i - j` or `j - i`."""
    match tree:
        case Apply("float", (inner,)):
            return _is_distance(inner)
        case Apply("sub", (Coordinate(one), Coordinate(other))):
            return {one, other} == {"i", "j"}
    return False

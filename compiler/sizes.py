"""How code inside a block finds a symbolic size: read from its ports, or solved from their axes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import combinations_with_replacement
from math import gcd, prod
from typing import Union

from attnc.dsl.dims import Atom, Dim, Monomial, Quotient, Shape, Size


@dataclass(frozen=True, slots=True)
class Axis:
    """`port.shape[axis]`, the port given by its number among the tensors of the block."""

    port: int
    axis: int


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`left operator right` with one of `+ - * // **`."""

    operator: str
    left: Recipe
    right: Recipe


Recipe = Union[int, Axis, Arithmetic]
"""What to compute to get a size."""

MOST_FACTORS = 3
"""Sizes are sought among products of up to so many axes: b * h * w."""


class Sizes:
    """Finds recipes for sizes from the shapes of a block's tensors, in port order.

    An axis of exactly the wanted size is read as it is. Otherwise the atoms of the size are
    solved from the axes, each axis being one equation: those that hold a single unknown, once
    and linearly, are solved until none is left.
    """

    def __init__(self, ports: Iterable[Shape]) -> None:
        self._exact: dict[Size, Axis] = {}
        for number, shape in enumerate(ports):
            for axis, size in enumerate(shape):
                self._exact.setdefault(size, Axis(number, axis))
        self._known: dict[Monomial, Recipe] = {}
        self._solve()

    def recipe(self, size: Size) -> Recipe | None:
        """Return how to compute `size`; none where the ports do not tell."""
        if isinstance(size, int):
            return size
        return self._exact.get(size) or self._composed(size) or self._expanded(size)

    def _composed(self, size: Dim) -> Recipe | None:
        """Try `c * axis * axis + k`: the product of axes reads better than its expansion."""
        factor = gcd(*(count for monomial, count in size.terms.items() if monomial))
        axes = [each for each in self._exact if isinstance(each, Dim)]
        for count in range(1, MOST_FACTORS + 1):
            for chosen in combinations_with_replacement(axes, count):
                rest = size - factor * prod(chosen, start=1)
                if isinstance(rest, int):
                    factors: list[Recipe] = [self._exact[each] for each in chosen]
                    return _plus(_times(factor, reduce(_times, factors)), 1, rest)
        return None

    def _expanded(self, size: Dim) -> Recipe | None:
        """Compute the size term by term from solved atoms."""
        total: Recipe | None = None
        for monomial, count in _leading_first(size.terms):
            factor = self._monomial(monomial)
            if factor is None:
                return None
            total = _plus(total, count, factor)
        return total

    def _monomial(self, monomial: Monomial) -> Recipe | None:
        if monomial in self._known:
            return self._known[monomial]
        product: Recipe = 1
        for atom, power in monomial:
            factor = self._atom(atom)
            if factor is None:
                return None
            product = _times(product, factor if power == 1 else Arithmetic("**", factor, power))
        return product

    def _atom(self, atom: Atom) -> Recipe | None:
        known = self._known.get(((atom, 1),))
        if known is not None or not isinstance(atom, Quotient):
            return known
        numerator, denominator = self.recipe(atom.numerator), self.recipe(atom.denominator)
        if numerator is None or denominator is None:
            return None
        return Arithmetic("//", numerator, denominator)

    def _solve(self) -> None:
        axes = sorted(self._equations(), key=lambda pair: _simplicity(pair[0]))
        for size, axis in axes:
            self._learn_monomial(size, axis)
        learning = True
        while learning:
            learning = any(self._learn_atom(size, axis) for size, axis in axes)

    def _equations(self) -> Iterator[tuple[Dim, Axis]]:
        return ((size, axis) for size, axis in self._exact.items() if isinstance(size, Dim))

    def _learn_monomial(self, size: Dim, axis: Axis) -> None:
        """`c * monomial + k = axis` gives the monomial."""
        unknown = [monomial for monomial in size.terms if monomial]
        if len(unknown) == 1:
            rest = _plus(axis, 1, -size.terms.get((), 0))
            self._known.setdefault(unknown[0], _over(rest, size.terms[unknown[0]]))

    def _learn_atom(self, size: Dim, axis: Axis) -> bool:
        """An axis where all but one atom is known gives that atom, if it is linear in it."""
        return any(
            self._atom(atom) is None and power == 1 and self._solve_for(atom, monomial, size, axis)
            for monomial in size.terms
            for atom, power in monomial
        )

    def _solve_for(self, atom: Atom, holder: Monomial, size: Dim, axis: Axis) -> bool:
        rest: Recipe = axis
        for monomial, count in _leading_first(size.terms):
            if monomial == holder:
                continue
            factor = self._monomial(monomial)
            if factor is None:
                return False
            rest = _plus(rest, -count, factor)
        cofactor = self._monomial(tuple(pair for pair in holder if pair[0] != atom))
        if cofactor is None:
            return False
        self._known[((atom, 1),)] = _over(_over(rest, cofactor), size.terms[holder])
        return True


def _simplicity(size: Dim) -> tuple[int, int]:
    return len(size.terms), sum(power for monomial in size.terms for _, power in monomial)


def _leading_first(terms: Mapping[Monomial, int]) -> list[tuple[Monomial, int]]:
    """Positive terms of high degree first, the constant last."""
    return sorted(terms.items(), key=lambda term: (not term[0], term[1] < 0, -len(term[0])))


def _plus(total: Recipe | None, count: int, factor: Recipe) -> Recipe:
    """Add `count * factor`, written without needless signs, ones and zeros."""
    if isinstance(factor, int):
        count, factor = count * factor, 1
    term = _times(abs(count), factor)
    if total is None:
        return term if count > 0 else _times(-1, term)
    if count == 0:
        return total
    return Arithmetic("+" if count > 0 else "-", total, term)


def _times(left: Recipe, right: Recipe) -> Recipe:
    if left == 1:
        return right
    return left if right == 1 else Arithmetic("*", left, right)


def _over(left: Recipe, right: Recipe) -> Recipe:
    return left if right == 1 else Arithmetic("//", left, right)

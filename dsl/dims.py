"""Symbolic sizes: integer polynomials over symbols and floor quotients, in normal form.

Two sizes are equal when their normal forms are. A constant is always a plain `int`, so a
`Dim` is never constant. Symbols stand for integers >= 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Union

Monomial = tuple[tuple["Atom", int], ...]


@dataclass(frozen=True)
class Symbol:
    """A size that an input binds: `b`, `n`."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Quotient:
    """`numerator // denominator` where the division does not come out even by form."""

    numerator: Dim
    denominator: Size

    def __str__(self) -> str:
        return f"{_grouped(self.numerator)} // {_grouped(self.denominator)}"


Atom = Union[Symbol, Quotient]


class Dim:
    """An integer polynomial over atoms. Immutable; build with `symbol` and arithmetic."""

    __slots__ = ("__dict__", "terms")
    terms: Mapping[Monomial, int]

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.terms = terms

    @cached_property
    def key(self) -> frozenset[tuple[Monomial, int]]:
        """What equality and hashing go by."""
        return frozenset(self.terms.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __add__(self, other: Size) -> Size:
        total = dict(self.terms)
        for monomial, count in _terms(other).items():
            total[monomial] = total.get(monomial, 0) + count
        return _normal(total)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return _normal({monomial: -count for monomial, count in self.terms.items()})

    def __sub__(self, other: Size) -> Size:
        return self + (-other)

    def __rsub__(self, other: Size) -> Size:
        return -self + other

    def __mul__(self, other: Size) -> Size:
        product: dict[Monomial, int] = {}
        for left, count in self.terms.items():
            for right, factor in _terms(other).items():
                monomial = _times(left, right)
                product[monomial] = product.get(monomial, 0) + count * factor
        return _normal(product)

    __rmul__ = __mul__

    def __pow__(self, exponent: int) -> Size:
        result: Size = 1
        for _ in range(exponent):
            result = result * self
        return result

    def __floordiv__(self, other: Size) -> Size:
        return floor_divide(self, other)

    def __rfloordiv__(self, other: int) -> Size:
        return floor_divide(other, self)

    def __mod__(self, other: Size) -> Size:
        return self - floor_divide(self, other) * other

    def __rmod__(self, other: int) -> Size:
        return other - floor_divide(other, self) * self

    def __repr__(self) -> str:
        return f"Dim({self})"

    def __str__(self) -> str:
        ordered = sorted(self.terms.items(), key=lambda term: (-len(term[0]), _shown(term[0])))
        text = ""
        for monomial, count in ordered:
            sign = "-" if count < 0 else "+"
            body = _shown(monomial, alone=count == 1)
            if not body:
                body = str(abs(count))
            elif abs(count) != 1:
                body = f"{abs(count)}*{body}"
            text = f"{text} {sign} {body}" if text else (f"-{body}" if count < 0 else body)
        return text

    @property
    def symbols(self) -> frozenset[str]:
        """The names of all symbols inside."""
        names: set[str] = set()
        for monomial in self.terms:
            for atom, _ in monomial:
                if isinstance(atom, Symbol):
                    names.add(atom.name)
                else:
                    names |= symbols(atom.numerator) | symbols(atom.denominator)
        return frozenset(names)

    def substitute(self, values: Mapping[str, Size]) -> Size:
        """Replace symbols by sizes."""
        total: Size = 0
        for monomial, count in self.terms.items():
            product: Size = count
            for atom, power in monomial:
                product = product * _substituted(atom, values) ** power
            total = total + product
        return total


Size = Union[int, Dim]
Shape = tuple[Size, ...]


def symbol(name: str) -> Dim:
    """Return the size called `name`."""
    return Dim({((Symbol(name), 1),): 1})


def symbols(size: Size) -> frozenset[str]:
    """Return the names of all symbols in a size; none in an int."""
    return size.symbols if isinstance(size, Dim) else frozenset()


def substitute(size: Size, values: Mapping[str, Size]) -> Size:
    """Replace symbols of a size; an int stays as it is."""
    return size.substitute(values) if isinstance(size, Dim) else size


def floor_divide(left: Size, right: Size) -> Size:
    """Divide sizes, rounding down.

    Terms that the divisor divides leave the quotient: (4*n + 3) // 4 is n.

    Raises:
        ZeroDivisionError: the divisor is the constant 0.
    """
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    if left == right:
        return 1
    whole: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    divisor = _terms(right)
    if isinstance(right, int) and right == 0:
        raise ZeroDivisionError
    for monomial, count in _terms(left).items():
        quotient = _divided(monomial, count, divisor)
        if quotient is None:
            rest[monomial] = count
        else:
            whole[quotient[0]] = whole.get(quotient[0], 0) + quotient[1]
    remainder = _normal(rest)
    return _normal(whole) + _quotient(remainder, right)


def _quotient(left: Size, right: Size) -> Size:
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    if left == 0:
        return 0
    if isinstance(left, Dim) and isinstance(right, int):
        common = gcd(right, *(count for monomial, count in left.terms.items() if monomial))
        constant = left.terms.get((), 0)
        if common > 1:  # floor((c*a + k) / (c*d)) = floor((a + floor(k/c)) / d)
            scaled: dict[Monomial, int] = {m: c // common for m, c in left.terms.items() if m}
            scaled[()] = constant // common
            return _quotient(_normal(scaled), right // common)
        if right == 1:
            return left
    numerator = left if isinstance(left, Dim) else Dim({(): left})
    return Dim({((Quotient(numerator, right), 1),): 1})


def _divided(
    monomial: Monomial, count: int, divisor: Mapping[Monomial, int]
) -> tuple[Monomial, int] | None:
    if len(divisor) != 1:
        return None
    ((base, factor),) = divisor.items()
    if count % factor:
        return None
    powers = dict(monomial)
    for atom, power in base:
        if powers.get(atom, 0) < power:
            return None
        powers[atom] -= power
    return _monomial(powers), count // factor


def _terms(size: Size) -> Mapping[Monomial, int]:
    return size.terms if isinstance(size, Dim) else {(): size}


def _normal(terms: Mapping[Monomial, int]) -> Size:
    kept = {monomial: count for monomial, count in terms.items() if count}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Dim(kept)


def _times(left: Monomial, right: Monomial) -> Monomial:
    powers = dict(left)
    for atom, power in right:
        powers[atom] = powers.get(atom, 0) + power
    return _monomial(powers)


def _monomial(powers: Mapping[Atom, int]) -> Monomial:
    kept = [(atom, power) for atom, power in powers.items() if power]
    return tuple(sorted(kept, key=lambda item: str(item[0])))


def _shown(monomial: Monomial, alone: bool = True) -> str:
    alone = alone and len(monomial) == 1 and monomial[0][1] == 1
    parts = []
    for atom, power in monomial:
        text = str(atom)
        if isinstance(atom, Quotient) and not alone:
            text = f"({text})"
        parts.append(text if power == 1 else f"{text}**{power}")
    return "*".join(parts)


def _grouped(size: Size) -> str:
    simple = isinstance(size, int) or (len(size.terms) == 1 and str(size).isidentifier())
    return str(size) if simple else f"({size})"


def _substituted(atom: Atom, values: Mapping[str, Size]) -> Size:
    if isinstance(atom, Symbol):
        return values.get(atom.name, Dim({((atom, 1),): 1}))
    return floor_divide(atom.numerator.substitute(values), substitute(atom.denominator, values))

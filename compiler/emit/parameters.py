"""Bodies of one block that differ in numbers only become one class with parameters.

The code of such bodies is the same tree with other literals. A literal becomes an expression over
the block's own sizes and arguments where one fits in every body: first what the text of the spec
says at that place, then a small product or quotient. What differs and fits nothing gets a
parameter of its own. A number that the spec writes as a number stays one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from types import MappingProxyType

from attnc.compiler.emit.code import (
    Binary,
    Call,
    Constant,
    Expr,
    Literal,
    Name,
    Role,
    Unary,
    fixed,
    names_in,
    rewrite,
    walk,
)
from attnc.compiler.emit.evaluation import evaluate, in_python
from attnc.compiler.emit.naming import identifier, unused

Column = tuple[Constant, ...]
"""The value of one literal in each body."""
Settings = Sequence[Mapping[str, Constant]]
"""What the block calls its sizes and arguments in each body, sizes first."""

NO_DEFAULTS: Mapping[str, str] = MappingProxyType({})

_CHANCE = 16
"""Up to here numbers are equal by chance; a size must be larger to be told by its value alone."""
_SIZES = (Role.SIZE, Role.TAKEN)
_FACTORS = (2, 3, 4, 5, 6, 8)


@dataclass(frozen=True, slots=True)
class Said:
    """What the spec says at one place.

    Attributes:
        words: names that it mentions.
        numbers: numbers that it spells out.
        expressions: its parts that compute something, larger ones first.
    """

    words: frozenset[str] = frozenset()
    numbers: frozenset[Constant] = frozenset()
    expressions: tuple[Expr, ...] = ()


@lru_cache(maxsize=4096)
def about(said: Expr | None) -> Said:
    """Read an expression of the spec."""
    parts = list(walk(said))
    numbers = frozenset(part.value for part in parts if isinstance(part, Literal))
    computed = tuple(part for part in parts if isinstance(part, (Binary, Unary, Call)))
    return Said(frozenset(names_in(said)), numbers, computed)


class Parameters:
    """The parameters of one class.

    Args:
        defaults: of each argument whose default is a name, that name.

    Attributes:
        names: what the block calls its sizes and arguments -> the value in each body.
        sizes: those of the names that are sizes of ports.
        found: the parameters that code needs, in order of need.
    """

    def __init__(
        self, settings: Settings, sizes: frozenset[str], defaults: Mapping[str, str] = NO_DEFAULTS
    ) -> None:
        self.settings, self.sizes, self._defaults = settings, sizes, defaults
        first, *others = settings
        shared = [name for name in first if all(name in other for other in others)]
        self.names = {name: tuple(each[name] for each in settings) for name in shared}
        self.found: dict[str, Column] = {}
        self._made: dict[tuple[object, ...], Expr] = {}
        self._in_notes: dict[str, None] = {}

    def expression(self, column: Column, literal: Literal, wish: str) -> Expr:
        """Return what stands for a literal: itself, or an expression over parameters.

        Args:
            wish: a name for a parameter of its own.
        """
        made = self._fitting(column, literal)
        if made is None and _is_constant(column):
            return literal
        if made is None:
            made = Name(self._own(column, wish))
        for part in walk(made):
            if isinstance(part, Name) and part.id in self.names:
                self.found.setdefault(part.id, self.names[part.id])
        self._made.setdefault(_exact(column), made)
        return made

    def note(self, column: Column, *, shares: bool = False) -> Expr:
        """Return what stands for a size in a comment: a number, a name, or `_` if it varies.

        Args:
            shares: the size may be the width of a head, a quotient of a size and of one that was
                noted.
        """
        shown = [*self.sizes_in_order(), *(name for name in self.found if name not in self.sizes)]
        known = self.names | self.found
        equal = [name for name in shown if _exact(known[name]) == _exact(column)]
        if _is_constant(column) and (column[0] == 1 or len(equal) > 1):
            return Literal(column[0])
        if equal:
            self._in_notes.setdefault(equal[0])
            return Name(equal[0])
        made = self._made.get(_exact(column)) or (self._share(column) if shares else None)
        if made is not None:
            return made
        if not _is_constant(column):
            return Name("_")
        return Name(column[0]) if isinstance(column[0], str) else Literal(column[0])

    def ordered(self) -> list[str]:
        """Return the names of the parameters: sizes, then arguments, then those of their own."""
        known = [name for name in self.names if name in self.found]
        return known + [name for name in self.found if name not in self.names]

    # What fits --------------------------------------------------------------------------

    def _fitting(self, column: Column, literal: Literal) -> Expr | None:
        said = about(literal.said)
        if _is_constant(column):
            unsaid = literal.said is None and literal.role not in _SIZES
            if unsaid or not _is_number(column[0]) or column[0] in said.numbers:
                return None
        for candidate in self._candidates(column, literal.role, said):
            if self._gives(candidate, column):
                return rewrite(candidate, self._usual)
        return None

    def _candidates(self, column: Column, role: Role, said: Said) -> Iterator[Expr]:
        """Yield expressions that may stand for a column, the most telling first."""
        varies = not _is_constant(column)
        told_by_value = varies or _is_large(column)
        mentioned = [name for name in self.names if name in said.words]
        equal = [name for name in self.sizes_in_order() if self._gives(Name(name), column)]
        if role is Role.TAKEN and (told_by_value or len(equal) == 1):
            yield from map(Name, equal)
        yield from map(Name, mentioned)
        yield from map(in_python, said.expressions)
        if told_by_value or (role in _SIZES and (len(equal) == 1 or not said.words)):
            yield from map(Name, equal)
        if told_by_value and _exact(column) in self._made:
            yield self._made[_exact(column)]
        if told_by_value:
            yield from map(Name, self.names)
        sizes = [n for n in self.sizes_in_order() if varies or _is_large(self.names[n])]
        if varies or column[0] not in (-1, 0, 1):
            yield from self._combinations(sizes, list(self.names) if varies else mentioned)
        if told_by_value:
            for name, factor in product(sizes, _FACTORS):
                yield Binary("*", fixed(factor), Name(name))
                if _parts_evenly(self.names[name], (factor,) * len(column)):
                    yield Binary("//", Name(name), fixed(factor))

    def _combinations(self, sizes: list[str], others: list[str]) -> Iterator[Expr]:
        """Yield products and quotients of a size and an argument.

        A quotient with a remainder, which nobody wrote, would be one by chance.
        """
        for left, right in (*product(sizes, others), *product(others, sizes)):
            if _parts_evenly(self.names[left], self.names[right]):
                yield Binary("//", Name(left), Name(right))
            yield Binary("*", Name(left), Name(right))
            yield Call(Name("int"), (Binary("*", Name(left), Name(right)),))

    def sizes_in_order(self) -> list[str]:
        """Return the sizes of ports, in the order of the ports."""
        return [name for name in self.names if name in self.sizes]

    def _gives(self, expr: Expr, column: Column) -> bool:
        if isinstance(expr, Name):
            return expr.id in self.names and _exact(self.names[expr.id]) == _exact(column)
        rows = zip(self.settings, column, strict=True)
        return all(_exact((evaluate(expr, row),)) == _exact((value,)) for row, value in rows)

    def _share(self, column: Column) -> Expr | None:
        """Return a quotient of a size and one that was noted that gives a column, or none."""
        sizes = [name for name in self.sizes_in_order() if name in self.found]
        others = [name for name in self._in_notes if name in self.found]
        shares = (Binary("//", Name(a), Name(b)) for a, b in product(sizes, others) if a != b)
        return next((share for share in shares if self._gives(share, column)), None)

    def _usual(self, expr: Expr) -> Expr | None:
        """Replace an argument that has its default by the size that is the default."""
        default = self._defaults.get(expr.id) if isinstance(expr, Name) else None
        if default not in self.sizes or default not in self.names:
            return None
        assert isinstance(expr, Name)
        return Name(default) if self.names.get(expr.id) == self.names[default] else None

    def _own(self, column: Column, wish: str) -> str:
        for name, known in self.found.items():
            if name not in self.names and _exact(known) == _exact(column):
                return name
        name = unused(identifier(wish), {*self.names, *self.found})
        self.found[name] = column
        return name


def _parts_evenly(column: Column, parts: Column) -> bool:
    pairs = zip(column, parts, strict=True)
    return all(isinstance(a, int) and isinstance(b, int) and b and a % b == 0 for a, b in pairs)


def _exact(column: Column) -> tuple[object, ...]:
    """Return a column with types, as 1, 1.0 and True are equal in Python."""
    return tuple((type(value).__name__, value) for value in column)


def _is_constant(column: Column) -> bool:
    return len(set(_exact(column))) == 1


def _is_number(value: Constant) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_large(column: Column) -> bool:
    return all(isinstance(value, int) and value > _CHANCE for value in column)

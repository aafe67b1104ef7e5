"""From the surface expression of a score, mask or weight to its typed tree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol, Union

from attnc.dsl import tree
from attnc.dsl.arithmetic import ArithmeticFault
from attnc.dsl.attention import L1, Constant, Coordinate, Dot, Extent, Load, ScoreTree, Weight
from attnc.dsl.dims import Dim
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang.construct import ScoreTypeError
from attnc.dsl.scorelang.domains import PLACE_NAMES
from attnc.dsl.scorelang.functions import CALLABLE, binary
from attnc.dsl.scorelang.grids import GRID_COORDINATES
from attnc.dsl.scorelang.simplify import make, power
from attnc.dsl.scorelang.walk import COORDINATES
from attnc.dsl.spans import Span
from attnc.dsl.suggest import did_you_mean

Items = tuple[Union[bool, int, float, Dim], ...]

Known = Union[bool, int, float, Dim, TensorType, Weight, Items]
"""What a name may stand for: a number, a size, a tensor of this type, the weight in a post, or a
list of numbers and sizes, of which a score may read an item."""

BUILTINS: dict[str, ScoreTree] = {
    "qk": Dot(),
    **{name: Coordinate(name) for name in (*COORDINATES, *GRID_COORDINATES, *PLACE_NAMES)},
}
"""Names with a meaning of their own in a score; they hide others of the same spelling."""

COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


class ScoreError(Exception):
    """A score expression is wrong.

    Attributes:
        span: where.
        detail: what, in one line.
        help: the remedy, or none.
    """

    def __init__(self, span: Span, detail: str, help: str | None = None) -> None:
        super().__init__(detail)
        self.span, self.detail, self.help = span, detail, help


class ScoreScope(Protocol):
    """What names mean outside the score."""

    def lookup(self, name: str) -> Known | None:
        """Return what `name` stands for; none where it is unknown."""
        ...


def build(expr: tree.Expr, scope: ScoreScope, names: Iterable[str] = ()) -> ScoreTree:
    """Return the typed, simplified tree of a surface expression.

    Args:
        expr: such as `qk * scale + bias[h, i - j + 7]`.
        scope: looks up every name that is not built in (`qk b h i j`).
        names: those that `scope` knows, for proposals where a name is misspelt.

    Raises:
        ScoreError: an unknown name, a wrong type or rank, no value at compile time.
    """
    return _Builder(scope, frozenset(names)).typed(expr)


class _Builder:
    def __init__(self, scope: ScoreScope, names: frozenset[str]) -> None:
        self._scope = scope
        self._names = names

    def typed(self, expr: tree.Expr) -> ScoreTree:
        match expr:
            case tree.Number(value) if math.isfinite(value):
                return Constant(value)
            case tree.Flag(value):
                return Constant(value)
            case tree.Name(name):
                return self._name(name, expr.span)
            case tree.Index(base, items):
                return self._load(base, items, expr.span)
            case tree.Unary(operator, operand):
                return self._make({"-": "neg"}.get(operator, operator), [operand], expr.span)
            case tree.Binary("**", left, right):
                return self._power(left, right, expr.span)
            case tree.Binary("and" | "or" as operator, left, right):
                return self._make(operator, [left, right], expr.span)
            case tree.Binary(operator, tree.Binary(before)) if {before, operator} <= COMPARISONS:
                raise ScoreError(
                    expr.span, "comparisons do not chain", "write a < b and b < c"
                )  # fmt: skip
            case tree.Binary(operator, left, right):
                return self._make(binary(operator), [left, right], expr.span)
            case tree.Conditional():
                return self._conditional(expr)
            case tree.Call(tree.Name("l1"), arguments):
                return _distance(arguments, expr.span)
            case tree.Call(tree.Name(name), arguments):
                return self._call(name, arguments, expr.span)
        raise ScoreError(expr.span, f"`{expr.span.text}` does not belong into a score")

    def _name(self, name: str, span: Span) -> ScoreTree:
        if name in BUILTINS:
            return BUILTINS[name]
        known = self._scope.lookup(name)
        match known:
            case None:
                self._unknown(name, span)
            case Dim():
                return Extent(known)
            case TensorType():
                return self._loaded(name, known, (), span)
            case Weight():
                return known
            case tuple():
                raise ScoreError(span, f"{name} is a list", f"read an item: {name}[0]")
        return Constant(known)

    def _load(self, base: tree.Expr, items: tuple[tree.Expr, ...], span: Span) -> ScoreTree:
        known = self._scope.lookup(base.id) if isinstance(base, tree.Name) else None
        if isinstance(base, tree.Name) and known is None and base.id not in BUILTINS:
            self._unknown(base.id, base.span)
        if isinstance(base, tree.Name) and isinstance(known, tuple):
            return self._item(base.id, known, items, span)
        if not isinstance(base, tree.Name) or not isinstance(known, TensorType):
            raise ScoreError(base.span, f"`{base.span.text}` is no tensor and has no elements")
        indices = tuple(self._index(base.id, item) for item in items)
        return self._loaded(base.id, known, indices, span)

    def _item(self, name: str, known: Items, items: tuple[tree.Expr, ...], span: Span) -> ScoreTree:
        at = self.typed(items[0]) if len(items) == 1 else None
        number = at.value if isinstance(at, Constant) and at.type == "int" else None
        if not isinstance(number, int) or not -len(known) <= number < len(known):
            raise ScoreError(span, f"{name} has the items 0 to {len(known) - 1}")
        found = known[number]
        return Extent(found) if isinstance(found, Dim) else Constant(found)

    def _index(self, tensor: str, item: tree.Expr) -> ScoreTree:
        if isinstance(item, tree.Slice):
            raise ScoreError(
                item.span, "a score reads single elements, not slices",
                f"index {tensor} by h, i, j or b",
            )  # fmt: skip
        index = self.typed(item)
        if index.type != "int":
            raise ScoreError(item.span, f"an index is an int; this is a {index.type}")
        return index

    def _loaded(
        self, name: str, type_: TensorType, indices: tuple[ScoreTree, ...], span: Span
    ) -> ScoreTree:
        rank = len(type_.shape)
        if rank != len(indices):
            wanted = f"{rank} indices" if rank != 1 else "1 index"
            example = f"{name}[{', '.join('bhij'[-rank:]) if rank <= 4 else '...'}]"
            raise ScoreError(
                span, f"{name} has shape {type_} and takes {wanted}, not {len(indices)}",
                f"write {example if rank else name}, for instance",
            )  # fmt: skip
        if type_.dtype == "complex":
            raise ScoreError(span, f"{name} is complex; scores are real")
        return Load(name, indices, type_.dtype)

    def _make(self, function: str, operands: list[tree.Expr], span: Span) -> ScoreTree:
        arguments = [self.typed(operand) for operand in operands]
        with _located(span):
            return make(function, *arguments)

    def _power(self, left: tree.Expr, right: tree.Expr, span: Span) -> ScoreTree:
        base, exponent = self.typed(left), self.typed(right)
        with _located(span):
            return power(base, exponent)

    def _conditional(self, expr: tree.Conditional) -> ScoreTree:
        condition = self.typed(expr.condition)
        if isinstance(condition, Constant) and isinstance(condition.value, bool):
            return self.typed(expr.then if condition.value else expr.otherwise)
        raise ScoreError(
            expr.condition.span, "`if` is decided at compile time; this differs between pairs",
            "write where(condition, a, b)",
        )  # fmt: skip

    def _call(self, name: str, arguments: tuple[tree.Argument, ...], span: Span) -> ScoreTree:
        if name not in CALLABLE:
            raise ScoreError(
                span, f"there is no function {name!r} in scores",
                did_you_mean(name, CALLABLE) or f"there are {', '.join(sorted({*CALLABLE, 'l1'}))}",
            )  # fmt: skip
        named = next((each for each in arguments if each.name is not None), None)
        if named is not None:
            raise ScoreError(named.span, f"{name} has no parameter {named.name!r}")
        return self._make(name, [each.value for each in arguments], span)

    def _unknown(self, name: str, span: Span) -> NoReturn:
        if name in CALLABLE:
            help: str | None = f"write {name}(...)"
        else:
            help = did_you_mean(name, {*self._names, *BUILTINS, *CALLABLE})
        raise ScoreError(span, f"{name!r} is not defined here", help)


def _distance(arguments: tuple[tree.Argument, ...], span: Span) -> ScoreTree:
    """Return `l1(q, k)`; the names stand for the vectors of the pair, whatever they are called."""
    names = [each.value.id for each in arguments if isinstance(each.value, tree.Name)]
    if names != ["q", "k"] or len(arguments) != 2 or any(each.name for each in arguments):
        raise ScoreError(span, "l1 takes the query and the key of the pair", "write l1(q, k)")
    return L1()


@contextmanager
def _located(span: Span) -> Iterator[None]:
    """Give errors of construction their place."""
    try:
        yield
    except ScoreTypeError as wrong:
        raise ScoreError(span, str(wrong), wrong.help) from None
    except ArithmeticFault as wrong:
        raise ScoreError(span, str(wrong)) from None

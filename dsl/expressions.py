"""Evaluation of expressions over compile-time values; tensors are added by `elaborate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import NoReturn

from attnc.dsl import arithmetic, codes, tree
from attnc.dsl.arithmetic import ArithmeticFault, Undecided
from attnc.dsl.diagnostics import Diagnostic, SpecError
from attnc.dsl.dims import Dim
from attnc.dsl.spans import Span
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.values import POISON, Fields, Poison, TrainOnly, noun, shown


class Fault(Exception):
    """An expression without a value; caught at the statement, so that later ones are checked."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class Poisoned(Exception):
    """An operand failed before and was reported there."""


class Evaluator:
    """Evaluates expressions in one scope.

    Attributes:
        scope: name -> value.
    """

    def __init__(self, scope: MutableMapping[str, object]) -> None:
        self.scope = scope

    def evaluate(self, expr: tree.Expr) -> object:
        """Return the value of an expression.

        Raises:
            Fault: it has none.
            Poisoned: it uses a value that failed before.
        """
        value = _RULES[type(expr)](self, expr)
        if isinstance(value, Poison):
            raise Poisoned
        return value

    # What a subclass with tensors extends.

    def call(self, expr: tree.Call, label: str | None = None) -> object:
        """Evaluate a call of a compile-time function."""
        if isinstance(expr.function, tree.Name):
            name = expr.function.id
            if name in arithmetic.FUNCTIONS:
                return self.compute(expr, name, self.positional(expr))
            fail(codes.UNKNOWN_OP.at(
                expr.function.span, name=name, hint=did_you_mean(name, arithmetic.FUNCTIONS)
            ))  # fmt: skip
        fail(codes.NOT_A_TENSOR.at(expr.span, detail="this cannot be called"))

    def missing(self, expr: tree.Name) -> object:
        """Give a value to a name that the scope lacks, or fail."""
        fail(codes.UNDEFINED.at(
            expr.span, name=expr.id, hint=did_you_mean(expr.id, self.visible())
        ))  # fmt: skip

    def use(self, expr: tree.Use) -> object:
        """Make an instance."""
        fail(codes.NOT_A_TENSOR.at(expr.span, detail="`use` stands in blocks and graphs only"))

    def binary(self, expr: tree.Binary, left: object, right: object) -> object:
        """Apply an operator to values."""
        return self.arithmetic(expr.span, lambda: arithmetic.binary(expr.operator, left, right))

    def unary(self, expr: tree.Unary, operand: object) -> object:
        """Apply `-` or `not` to a value."""
        if expr.operator == "not":
            return not self.truth(expr.operand, operand)
        return self.arithmetic(expr.span, lambda: arithmetic.negate(operand))

    def index(self, expr: tree.Index, base: object) -> object:
        """Index a list or a map."""
        if len(expr.items) == 1 and isinstance(base, (list, tuple)):
            return self._list_item(expr.items[0], base)
        if len(expr.items) == 1 and isinstance(base, Mapping):
            key = self.evaluate(expr.items[0])
            if isinstance(key, (str, int)) and key in base:
                return base[key]
            fail(codes.NO_MEMBER.at(
                expr.items[0].span, what="this map", part="key", name=shown(key),
                hint=did_you_mean(str(key), [str(known) for known in base]),
            ))  # fmt: skip
        fail(codes.NOT_A_TENSOR.at(expr.span, detail=f"{noun(base)} has no items"))

    def attribute(self, expr: tree.Attribute, base: object) -> object:
        """Read a field of several results, or a key of a map."""
        if isinstance(base, Fields) and expr.name in base.names:
            return base[base.names.index(expr.name)]
        if isinstance(base, Mapping) and expr.name in base:
            return base[expr.name]
        whose, part, known = noun(base), "field", [str(key) for key in _keys(base)]
        if isinstance(base, Fields):
            whose, part = _called(expr.base), "result"
        listed = f"it has {', '.join(known)}" if known else None
        fail(codes.NO_MEMBER.at(
            expr.span, what=whose, part=part, name=f"'{expr.name}'",
            hint=did_you_mean(expr.name, known) or listed,
        ))  # fmt: skip

    def visible(self) -> list[str]:
        """Return names worth suggesting."""
        return [*self.scope]

    # What all share.

    def positional(self, expr: tree.Call) -> list[object]:
        """Evaluate the arguments of a function that takes no names."""
        for argument in expr.arguments:
            if argument.name is not None:
                fail(codes.ARGUMENT.at(
                    argument.span, op=_called(expr), detail=f"takes no argument {argument.name!r}"
                ))  # fmt: skip
        return [self.evaluate(argument.value) for argument in expr.arguments]

    def compute(self, expr: tree.Call, name: str, values: list[object]) -> object:
        """Apply a compile-time function."""
        try:
            return self.arithmetic(expr.span, lambda: arithmetic.FUNCTIONS[name](*values))
        except TypeError:
            fail(codes.ARGUMENT.at(
                expr.span, op=name, detail=f"does not take {len(values)} arguments"
            ))  # fmt: skip

    def truth(self, expr: tree.Expr, value: object) -> bool:
        """Return a truth value known at compile time, or fail."""
        return bool(self.arithmetic(expr.span, lambda: arithmetic.truth(value)))

    def arithmetic(self, span: Span, operation: Callable[[], object]) -> object:
        """Run an operation and turn its fault into a diagnostic at `span`."""
        try:
            return operation()
        except Undecided as fault:
            fail(codes.UNDECIDED.at(
                span, left=fault.left, operator=fault.relation, right=fault.right
            ))  # fmt: skip
        except ArithmeticFault as fault:
            problem = codes.DIVISION if "divides by zero" in str(fault) else codes.NOT_A_TENSOR
            fail(problem.at(span, detail=str(fault)))

    def whole(self, expr: tree.Expr, what: str) -> int:
        """Evaluate an expression that must be a whole number known at compile time."""
        value = self.evaluate(expr)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        fail(codes.NOT_A_TENSOR.at(
            expr.span,
            detail=f"{what} must be a whole number known at compile time, not {noun(value)}",
        ))  # fmt: skip

    def bounds(self, item: tree.Slice) -> slice:
        """Evaluate a slice of a list."""
        parts = [
            None if part is None else self.whole(part, "a bound of a slice")
            for part in (item.start, item.stop, item.step)
        ]
        if parts[2] == 0:
            fail(codes.DIVISION.at(item.span, detail="a slice cannot step by 0"))
        return slice(*parts)

    def _list_item(self, item: tree.Expr, base: list[object] | tuple[object, ...]) -> object:
        if isinstance(item, tree.Slice):
            return list(base[self.bounds(item)])
        position = self.whole(item, "an index")
        if not -len(base) <= position < len(base):
            fail(codes.NOT_A_TENSOR.at(
                item.span, detail=f"index {position} is outside a list of {len(base)} items"
            ))  # fmt: skip
        return base[position]

    def _name(self, expr: tree.Name) -> object:
        value = self.scope[expr.id] if expr.id in self.scope else self.missing(expr)
        if isinstance(value, TrainOnly):
            fail(codes.TRAIN_ONLY.at(expr.span, name=expr.id))
        return value

    def _binary(self, expr: tree.Binary) -> object:
        left = self.evaluate(expr.left)
        if expr.operator in ("and", "or") and isinstance(left, bool):
            if left == (expr.operator == "or"):
                return left
            right = self.evaluate(expr.right)
            return right if isinstance(right, bool) else self.binary(expr, left, right)
        return self.binary(expr, left, self.evaluate(expr.right))

    def _conditional(self, expr: tree.Conditional) -> object:
        chosen = self.truth(expr.condition, self.evaluate(expr.condition))
        return self.evaluate(expr.then if chosen else expr.otherwise)

    def _labelled(self, expr: tree.Labelled) -> object:
        if isinstance(expr.value, tree.Call):
            return self.call(expr.value, expr.label)
        fail(codes.ARGUMENT.at(
            expr.span, op=f"@{expr.label}", detail="a label goes with a call that has weights"
        ))  # fmt: skip

    def _misplaced(self, expr: tree.Expr) -> object:
        fail(codes.NOT_A_TENSOR.at(expr.span, detail="this has no value here"))


_RULES: Mapping[type, Callable[..., object]] = {
    tree.Number: lambda self, expr: expr.value,
    tree.Text: lambda self, expr: expr.value,
    tree.Flag: lambda self, expr: expr.value,
    tree.Nothing: lambda self, expr: None,
    tree.Name: Evaluator._name,
    tree.ListOf: lambda self, expr: [self.evaluate(item) for item in expr.items],
    tree.MapOf: lambda self, expr: {key: self.evaluate(item) for key, item in expr.items},
    tree.Call: lambda self, expr: self.call(expr),
    tree.Use: lambda self, expr: self.use(expr),
    tree.Index: lambda self, expr: self.index(expr, self.evaluate(expr.base)),
    tree.Attribute: lambda self, expr: self.attribute(expr, self.evaluate(expr.base)),
    tree.Unary: lambda self, expr: self.unary(expr, self.evaluate(expr.operand)),
    tree.Binary: Evaluator._binary,
    tree.Conditional: Evaluator._conditional,
    tree.Labelled: Evaluator._labelled,
    tree.Star: Evaluator._misplaced,
    tree.Slice: Evaluator._misplaced,
}


def fail(diagnostic: Diagnostic) -> NoReturn:
    """Give up on the expression at hand.

    Raises:
        Fault: always.
    """
    raise Fault(diagnostic)


def _called(expr: tree.Expr) -> str:
    """Return the name of what is called."""
    function = expr.function if isinstance(expr, tree.Call) else expr
    return function.id if isinstance(function, tree.Name) else "this call"


def _keys(value: object) -> Iterable[object]:
    """Return the names of the parts of a value."""
    if isinstance(value, Fields):
        return value.names
    return value if isinstance(value, Mapping) else ()


def evaluate(expr: tree.Expr, names: Mapping[str, object]) -> object:
    """Evaluate a compile-time expression over `names`.

    Raises:
        SpecError: it has no value; the diagnostic points at the place.
    """
    try:
        return Evaluator(dict(names)).evaluate(expr)
    except Fault as fault:
        raise SpecError([fault.diagnostic]) from None


def is_poison(value: object) -> bool:
    """Say whether a value failed before."""
    return value is POISON


def is_size(value: object) -> bool:
    """Say whether a value can stand in a shape: a whole number or a symbolic size."""
    return isinstance(value, Dim) or (isinstance(value, int) and not isinstance(value, bool))

"""The value of an expression of a spec, for given names."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Union

from attnc.compiler.emit.code import (
    Binary,
    Call,
    Constant,
    Expr,
    Literal,
    Name,
    Unary,
)

Number = Union[int, float]

_BINARY: Mapping[str, Callable[[Number, Number], Number]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "**": operator.pow,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "int": int, "round": round, "abs": abs, "min": min, "max": max,
}  # fmt: skip


def evaluate(expr: Expr, names: Mapping[str, Constant]) -> Number | None:
    """Return a number; none where the expression is not one, or not the same in Python."""
    try:
        return _value(expr, names)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None


def _value(expr: Expr, names: Mapping[str, Constant]) -> Number:
    match expr:
        case Literal(value):
            return _number(value)
        case Name(name):
            return _number(names[name])
        case Unary("-", operand):
            return -_value(operand, names)
        case Binary(sign, left, right):
            return _BINARY[sign](_value(left, names), _value(right, names))
        case Call(Name(function), arguments, ()):
            return _FUNCTIONS[function](*(_value(argument, names) for argument in arguments))
    raise TypeError(type(expr).__name__)


def _number(value: Constant) -> Number:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("not a number")
    return value

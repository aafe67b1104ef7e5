"""The value of an expression of a spec, for given names."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Union

from attnc.compiler.emit.code import (
    Attribute,
    Binary,
    Call,
    Constant,
    Expr,
    Literal,
    Name,
    Unary,
    rewrite,
)
from attnc.compiler.emit.text import flat

Number = Union[int, float]

_BINARY: Mapping[str, Callable[[Number, Number], Number]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "**": operator.pow,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "int": int, "round": round, "abs": abs, "min": min, "max": max, "math.sqrt": math.sqrt,
    "math.log": math.log, "math.exp": math.exp, "math.sin": math.sin, "math.cos": math.cos,
    "math.floor": math.floor, "math.ceil": math.ceil,
}  # fmt: skip


def evaluate(expr: Expr, names: Mapping[str, Constant]) -> Number | None:
    """Return a number; none where the expression is not one, or not the same in Python."""
    try:
        return _value(expr, names)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None


def in_python(expr: Expr) -> Expr:
    """Return an expression of the language as Python writes it: `log(2)` as `math.log(2)`."""

    def change(part: Expr) -> Expr | None:
        if isinstance(part, Name) and (f"math.{part.id}" in _FUNCTIONS or part.id == "pi"):
            return Attribute(Name("math"), part.id)
        return None

    return rewrite(expr, change)


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
        case Attribute(Name("math"), "pi"):
            return math.pi
        case Call(function, arguments, ()):
            return _FUNCTIONS[flat(function)](*(_value(each, names) for each in arguments))
    raise TypeError(type(expr).__name__)


def _number(value: Constant) -> Number:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("not a number")
    return value

"""Expressions to text on one line, spaced as `ruff format` spaces them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attnc.compiler.emit.code import (
    Attribute,
    Binary,
    Call,
    DictOf,
    Dots,
    Each,
    Expr,
    Index,
    ListOf,
    Literal,
    Name,
    Ref,
    Slice,
    TupleOf,
    Unary,
)

_ATOM = 13
_POWER = 12
_UNARY = 11
_BINARY: Mapping[str, int] = {
    "**": _POWER, "*": 10, "/": 10, "//": 10, "%": 10, "@": 10, "+": 9, "-": 9, "&": 7, "^": 6,
    "|": 5, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4,
}  # fmt: skip
_NOT = 3
_COMPARISON = 4


def flat(expr: Expr) -> str:
    """Return an expression on one line."""
    return _RULES[type(expr)](expr)


def _literal(expr: Literal) -> str:
    if isinstance(expr.value, str):
        return quoted(expr.value)
    if isinstance(expr.value, float):
        return number(expr.value)
    return repr(expr.value)


def quoted(text: str) -> str:
    """Return a string literal in double quotes, unless single ones spare escapes."""
    plain = repr(text)
    if plain[0] == '"' or '"' in text:
        return plain
    return '"' + plain[1:-1].replace("\\'", "'") + '"'


def number(value: float) -> str:
    """Return a float literal: `1e-6` rather than `1e-06`."""
    text = repr(value)
    if text.lstrip("-") in ("inf", "nan"):
        return f'float("{text}")'
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text


def _precedence(expr: Expr) -> int:
    if isinstance(expr, Binary):
        return _BINARY[expr.operator]
    if isinstance(expr, Unary):
        return _NOT if expr.operator == "not" else _UNARY
    if isinstance(expr, Literal) and isinstance(expr.value, (int, float)) and expr.value < 0:
        return _UNARY
    return 0 if isinstance(expr, Each) else _ATOM


def _at_least(expr: Expr, level: int) -> str:
    text = flat(expr)
    return text if _precedence(expr) >= level else f"({text})"


def primary(expr: Expr) -> str:
    """Return an expression as it stands before `.`, `(` or `[`."""
    text = _at_least(expr, _ATOM)
    is_number = isinstance(expr, Literal) and isinstance(expr.value, (int, float))
    return f"({text})" if is_number and not text.startswith("(") else text


def _call(expr: Call) -> str:
    return f"{primary(expr.function)}({', '.join(arguments(expr))})"


def arguments(expr: Call) -> list[str]:
    """Return the arguments of a call, those by name last."""
    keywords = [f"{name}={flat(value)}" for name, value in expr.keywords]
    return [flat(argument) for argument in expr.arguments] + keywords


def _index(expr: Index) -> str:
    if len(expr.items) == 1 and isinstance(expr.items[0], TupleOf):
        return f"{primary(expr.base)}[{flat(expr.items[0])}]"
    return f"{primary(expr.base)}[{', '.join(flat(item) for item in expr.items)}]"


def _slice(expr: Slice) -> str:
    parts = [part for part in (expr.start, expr.stop, expr.step) if part is not None]
    space = "" if all(_is_simple(part) for part in parts) else " "
    text = f"{flat(expr.start)}{space}:" if expr.start else ":"
    text += f"{space}{flat(expr.stop)}" if expr.stop else ""
    if expr.step:
        text += (space if expr.stop else "") + f":{space}{flat(expr.step)}"
    return text


def _is_simple(expr: Expr) -> bool:
    return isinstance(expr, (Name, Literal)) or (
        isinstance(expr, Unary) and expr.operator != "not" and _is_simple(expr.operand)
    )


def _is_simple_power_operand(expr: Expr) -> bool:
    if isinstance(expr, Attribute):
        return _is_simple_power_operand(expr.base)
    if isinstance(expr, Unary):
        return expr.operator != "not" and _is_simple_power_operand(expr.operand)
    return isinstance(expr, (Name, Literal)) and not (
        isinstance(expr, Literal) and isinstance(expr.value, str)
    )


def _unary(expr: Unary) -> str:
    if expr.operator == "not":
        return f"not {_at_least(expr.operand, _NOT)}"
    power = isinstance(expr.operand, Binary) and expr.operand.operator == "**"
    text = flat(expr.operand)
    return expr.operator + (f"({text})" if power else _at_least(expr.operand, _UNARY))


def _binary(expr: Binary) -> str:
    level = _BINARY[expr.operator]
    if expr.operator == "**":
        left, right = _at_least(expr.left, _ATOM), _exponent(expr.right)
        tight = all(map(_is_simple_power_operand, (expr.left, expr.right))) and left[0] != "("
        return f"{left}**{right}" if tight else f"{left} ** {right}"
    left_level = level + 1 if level == _COMPARISON else level
    left, right = _at_least(expr.left, left_level), _at_least(expr.right, level + 1)
    return f"{left} {expr.operator} {right}"


def operands(expr: Binary) -> tuple[list[str], list[str]]:
    """Return the terms of a chain of operators of one level, in brackets where they need them."""
    level, left = _BINARY[expr.operator], expr.left
    last = _at_least(expr.right, level + 1)
    if isinstance(left, Binary) and _BINARY[left.operator] == level not in (_POWER, _COMPARISON):
        terms, operators = operands(left)
        return [*terms, last], [*operators, expr.operator]
    first = _at_least(left, level + 1 if level == _COMPARISON else level)
    return [first, last], [expr.operator]


def _exponent(expr: Expr) -> str:
    power = isinstance(expr, Binary) and expr.operator == "**"
    return f"({flat(expr)})" if power else _at_least(expr, _UNARY)


def _tuple(expr: TupleOf) -> str:
    items = ", ".join(flat(item) for item in expr.items)
    return f"({items},)" if len(expr.items) == 1 else f"({items})"


def _dict(expr: DictOf) -> str:
    return "{" + ", ".join(_entries(expr)) + "}"


def _entries(expr: DictOf) -> list[str]:
    return [f"{quoted(key)}: {flat(value)}" for key, value in expr.items]


def _each(expr: Each) -> str:
    return f"{flat(expr.element)} for {', '.join(expr.targets)} in {flat(expr.iterable)}"


_RULES: Mapping[type, Callable[..., str]] = {
    Name: lambda expr: expr.id,
    Ref: lambda expr: expr.node,
    Literal: _literal,
    Dots: lambda expr: "...",
    Attribute: lambda expr: f"{primary(expr.base)}.{expr.name}",
    Call: _call,
    Index: _index,
    Slice: _slice,
    Unary: _unary,
    Binary: _binary,
    TupleOf: _tuple,
    ListOf: lambda expr: f"[{', '.join(flat(item) for item in expr.items)}]",
    DictOf: _dict,
    Each: _each,
}

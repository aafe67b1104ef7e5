"""The tree of `code` to text, laid out as `ruff format` lays it out at 100 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attnc.compiler.emit.code import (
    Assign,
    Attribute,
    Binary,
    Call,
    DictOf,
    Do,
    Dots,
    Each,
    Expr,
    For,
    If,
    Index,
    ListOf,
    Literal,
    Name,
    Ref,
    Return,
    Slice,
    Statement,
    TupleOf,
    Unary,
)

WIDTH = 100
INDENT = "    "

_ATOM = 13
_POWER = 12
_UNARY = 11
_BINARY: Mapping[str, int] = {
    "**": _POWER, "*": 10, "/": 10, "//": 10, "%": 10, "@": 10, "+": 9, "-": 9, "&": 7, "^": 6,
    "|": 5, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4,
}  # fmt: skip
_NOT = 3
_COMPARISON = 4


# Expressions on one line ------------------------------------------------------------------


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


def _primary(expr: Expr) -> str:
    """Return what may stand before `.`, `(` or `[`."""
    text = _at_least(expr, _ATOM)
    is_number = isinstance(expr, Literal) and isinstance(expr.value, (int, float))
    return f"({text})" if is_number and not text.startswith("(") else text


def _call(expr: Call) -> str:
    return f"{_primary(expr.function)}({', '.join(_arguments(expr))})"


def _arguments(expr: Call) -> list[str]:
    keywords = [f"{name}={flat(value)}" for name, value in expr.keywords]
    return [flat(argument) for argument in expr.arguments] + keywords


def _index(expr: Index) -> str:
    if len(expr.items) == 1 and isinstance(expr.items[0], TupleOf):
        return f"{_primary(expr.base)}[{flat(expr.items[0])}]"
    return f"{_primary(expr.base)}[{', '.join(flat(item) for item in expr.items)}]"


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
    Attribute: lambda expr: f"{_primary(expr.base)}.{expr.name}",
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


# Statements -------------------------------------------------------------------------------


def lines_of(statements: tuple[Statement, ...], indent: str) -> list[str]:
    """Return the lines of statements."""
    return [line for statement in statements for line in _statement(statement, indent)]


def _statement(statement: Statement, indent: str) -> list[str]:
    match statement:
        case Assign(targets, value, shape, unpack):
            left = ", ".join(flat(target) for target in targets)
            left += "," if unpack and len(targets) == 1 else ""
            lines = _laid_out(f"{indent}{left} = ", value, "", indent)
            return _commented(lines, flat(shape), indent) if shape else lines
        case Do(value):
            return _laid_out(indent, value, "", indent)
        case Return(value):
            return _laid_out(f"{indent}return ", value, "", indent)
        case If(condition, body):
            return [f"{indent}if {flat(condition)}:", *lines_of(body, indent + INDENT)]
        case For(targets, iterable, body):
            head = f"{indent}for {', '.join(targets)} in "
            return [*_laid_out(head, iterable, ":", indent), *lines_of(body, indent + INDENT)]


def _commented(lines: list[str], comment: str, indent: str) -> list[str]:
    """Put a comment behind a statement of one line where it fits, else above it."""
    if len(lines) == 1 and len(lines[0]) + len(comment) + 4 <= WIDTH:
        return [f"{lines[0]}  # {comment}"]
    return [f"{indent}# {comment}", *lines]


def _laid_out(before: str, expr: Expr, after: str, indent: str) -> list[str]:
    """Return an expression between two texts, broken at its outermost bracket if too long."""
    line = before + flat(expr) + after
    if len(line) <= WIDTH:
        return [line]
    inner = indent + INDENT
    match expr:
        case Call(function, arguments, keywords) if arguments or keywords:
            items = [("", argument) for argument in arguments]
            items += [(f"{name}=", value) for name, value in keywords]
            together = inner + ", ".join(_arguments(expr))
            if len(together) <= WIDTH:
                return [f"{before}{_primary(function)}(", together, f"{indent}){after}"]
            if len(items) == 1:
                sole = _laid_out(inner + items[0][0], items[0][1], "", inner)
                return [f"{before}{_primary(function)}(", *sole, f"{indent}){after}"]
            return _broken(f"{before}{_primary(function)}(", items, f"{indent}){after}", inner)
        case ListOf(values):
            return _broken(f"{before}[", [("", v) for v in values], f"{indent}]{after}", inner)
        case TupleOf(values):
            return _broken(f"{before}(", [("", v) for v in values], f"{indent}){after}", inner)
        case DictOf(entries):
            items = [(f"{quoted(key)}: ", value) for key, value in entries]
            return _broken(f"{before}{{", items, f"{indent}}}{after}", inner)
        case Each(element, targets, iterable):
            clause = f"{indent}for {', '.join(targets)} in "
            return [
                *_laid_out(before, element, "", indent),
                *_laid_out(clause, iterable, after, indent),
            ]
    return [line]


def _broken(first: str, items: list[tuple[str, Expr]], last: str, indent: str) -> list[str]:
    """One item on each line, with a comma after the last."""
    lines = [first]
    for label, value in items:
        lines += _laid_out(indent + label, value, ",", indent)
    return [*lines, last]


def breaks_well(expr: Expr) -> bool:
    """Say whether an expression that is too long for a line has a bracket to be broken at."""
    if isinstance(expr, Call):
        return not any(isinstance(part, (Call, Binary)) for part in _spine(expr.function))
    return isinstance(expr, (ListOf, TupleOf, DictOf))


def _spine(expr: Expr) -> list[Expr]:
    found: list[Expr] = [expr]
    while isinstance(found[-1], (Attribute, Index, Call)):
        last = found[-1]
        found.append(last.function if isinstance(last, Call) else last.base)
    return found


def signature(head: str, parameters: list[str], tail: str, indent: str) -> list[str]:
    """Return the lines of `head(parameters)tail`, broken as a definition is."""
    line = f"{indent}{head}({', '.join(parameters)}){tail}"
    if len(line) <= WIDTH:
        return [line]
    together = indent + INDENT + ", ".join(parameters)
    if len(together) <= WIDTH:
        return [f"{indent}{head}(", together, f"{indent}){tail}"]
    each = [f"{indent}{INDENT}{parameter}," for parameter in parameters]
    return [f"{indent}{head}(", *each, f"{indent}){tail}"]

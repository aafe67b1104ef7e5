"""Statements to lines, broken as `ruff format` breaks them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attnc.compiler.emit.code import (
    Assign,
    Attribute,
    Binary,
    Call,
    DictOf,
    Do,
    Each,
    Expr,
    For,
    If,
    Index,
    ListOf,
    Name,
    Ref,
    Return,
    Statement,
    TupleOf,
)
from attnc.compiler.emit.text import arguments, flat, operands, primary, quoted

WIDTH = 88
"""Columns of a line: what most formatters allow."""
INDENT = "    "

Labelled = tuple[str, Expr]
"""An argument or item with what stands before it: `dim=`."""


def lines_of(statements: tuple[Statement, ...], indent: str) -> list[str]:
    """Return the lines of statements."""
    return [line for statement in statements for line in _statement(statement, indent)]


def _statement(statement: Statement, indent: str) -> list[str]:
    match statement:
        case Assign(targets, value, shape, unpack):
            left = ", ".join(flat(target) for target in targets)
            left += "," if unpack and len(targets) == 1 else ""
            return _noted(laid_out(f"{indent}{left} = ", value, "", indent), shape)
        case Do(value):
            return laid_out(indent, value, "", indent)
        case Return(TupleOf(items)) if len(items) > 1 and _fits(statement, indent):
            return [f"{indent}return {', '.join(map(flat, items))}"]
        case Return(value):
            return laid_out(f"{indent}return ", value, "", indent)
        case If(condition, body):
            return [f"{indent}if {flat(condition)}:", *lines_of(body, indent + INDENT)]
        case For(targets, iterable, body):
            head = f"{indent}for {', '.join(targets)} in "
            return [*laid_out(head, iterable, ":", indent), *lines_of(body, indent + INDENT)]


def _fits(statement: Return, indent: str) -> bool:
    return len(f"{indent}return {flat(statement.value)}") - 2 <= WIDTH


def _noted(lines: list[str], shape: ListOf | None) -> list[str]:
    """Put a shape behind a statement of one line, where it fits."""
    noted = f"{lines[0]}  # {flat(shape)}" if shape and len(lines) == 1 else ""
    return [noted] if noted and len(noted) <= WIDTH else lines


# Breaking ---------------------------------------------------------------------------------


def laid_out(
    before: str, expr: Expr, after: str, indent: str, is_inside: bool = False
) -> list[str]:
    """Return an expression between two texts, broken at its outermost bracket if too long.

    Args:
        is_inside: whether it stands on lines of its own inside a bracket.
    """
    line = before + flat(expr) + after
    if len(line) <= WIDTH:
        return [line]
    match expr:
        case Call() | Attribute() | Index():
            return _chain(before, links(expr), after, indent)
        case ListOf(values):
            return _broken(f"{before}[", _plain(values), f"{indent}]{after}", indent)
        case TupleOf(values):
            return _broken(f"{before}(", _plain(values), f"{indent}){after}", indent)
        case DictOf(entries):
            items = [(f"{quoted(key)}: ", value) for key, value in entries]
            return _broken(f"{before}{{", items, f"{indent}}}{after}", indent)
        case Each(element, targets, iterable):
            clause = f"{indent}for {', '.join(targets)} in "
            first = laid_out(before, element, "", indent, is_inside=True)
            return [*first, *laid_out(clause, iterable, after, indent, is_inside=True)]
        case Binary() if is_inside:
            return _terms(before, expr, after, indent)
        case Binary():
            return _hugged(before, expr, after, indent)
    return [line]


def _terms(before: str, expr: Binary, after: str, indent: str) -> list[str]:
    """Put each term on a line."""
    (first, *terms), operators = operands(expr)
    rest = [f"{indent}{each} {term}" for each, term in zip(operators, terms, strict=True)]
    return [before + first, *rest[:-1], rest[-1] + after]


def _hugged(before: str, expr: Binary, after: str, indent: str) -> list[str]:
    """Break two terms at the bracket that ends the second; put others in parentheses."""
    terms, operators = operands(expr)
    head = f"{before}{terms[0]} {operators[0]} "
    if len(terms) == 2 and len(head) < WIDTH:
        if terms[1].startswith("("):
            return _bracketed(f"{head}(", expr.right, f"){after}", indent)
        if isinstance(expr.right, Call):
            return _shortest(head, links(expr.right), after, indent)
    return _bracketed(f"{before}(", expr, f"){after}", indent)


def _bracketed(first: str, expr: Expr, last: str, indent: str) -> list[str]:
    """Put an expression between brackets on lines of its own."""
    inner = indent + INDENT
    return [first, *laid_out(inner, expr, "", inner, is_inside=True), f"{indent}{last}"]


def _plain(values: tuple[Expr, ...]) -> list[Labelled]:
    return [("", value) for value in values]


def _broken(first: str, items: list[Labelled], last: str, indent: str) -> list[str]:
    """One item on each line, with a comma after the last."""
    lines = [first]
    for label, value in items:
        lines += laid_out(indent + INDENT + label, value, ",", indent + INDENT, is_inside=True)
    return [*lines, last]


@dataclass(frozen=True, slots=True)
class Link:
    """A part of a chain of calls: `.flatten(2)`, `x.topk(4).values[0]`.

    Attributes:
        head: up to the bracket of the last call.
        call: the last call, for its arguments.
        tail: what follows it.
    """

    head: str
    call: Call | None = None
    tail: str = ""

    @property
    def text(self) -> str:
        """The link on one line."""
        inside = f"({', '.join(arguments(self.call))})" if self.call else ""
        return self.head + inside + self.tail


def links(expr: Expr) -> list[Link]:
    """Return a chain of calls link by link; a link begins at a `.` behind a bracket."""
    match expr:
        case Call(function):
            *before, last = links(function)
            return [*before, Link(last.text, expr)]
        case Index(base):
            *before, last = links(base)
            return [*before, replace(last, tail=last.tail + flat(expr)[len(primary(base)) :])]
        case Attribute(Name() | Ref() | Attribute() as base, name):
            *before, last = links(base)
            return [*before, replace(last, tail=f"{last.tail}.{name}")]
        case Attribute(base, name):
            return [*links(base), Link(f".{name}")]
    return [Link(primary(expr))]


def _chain(before: str, chain: list[Link], after: str, indent: str) -> list[str]:
    """Break a chain of three links and more at the links, a shorter one at a bracket."""
    if len(chain) < 3:
        return _shortest(before, chain, after, indent)
    inner = indent + INDENT
    line = inner + "".join(link.text for link in chain)
    lines = [line]
    if len(line) > WIDTH:
        placed = [replace(link, head=inner + link.head) for link in chain]
        lines = [line for link in placed for line in _link(link, inner)]
    return [f"{before}(", *lines, f"{indent}){after}"]


def _shortest(before: str, chain: list[Link], after: str, indent: str) -> list[str]:
    """Break at the last bracket that the line has room for."""
    for at in reversed(range(len(chain))):
        head = before + "".join(link.text for link in chain[:at]) + chain[at].head
        tail = chain[at].tail + "".join(link.text for link in chain[at + 1 :]) + after
        if len(head) < WIDTH and chain[at].call is not None:
            break
    return _link(replace(chain[at], head=head, tail=tail), indent)


def _link(link: Link, indent: str) -> list[str]:
    if len(link.text) <= WIDTH or link.call is None:
        return [link.text]
    items = _plain(link.call.arguments)
    items += [(f"{name}=", value) for name, value in link.call.keywords]
    inner = indent + INDENT
    first, last = f"{link.head}(", f"{indent}){link.tail}"
    together = inner + ", ".join(arguments(link.call))
    if len(together) <= WIDTH:
        return [first, together, last]
    if len(items) == 1:
        label, value = items[0]
        return [first, *laid_out(inner + label, value, "", inner, is_inside=True), last]
    return _broken(first, items, last, indent)


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

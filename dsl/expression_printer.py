"""Expressions as text, with no more parentheses than needed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attnc.dsl import tree
from attnc.dsl.grammar import words
from attnc.dsl.layout import Brackets, Item, Layout, flat
from attnc.dsl.lexer import is_name
from attnc.dsl.literals import number_text, quoted
from attnc.dsl.operators import BINARY, COMPARISON, CONDITIONAL, POSTFIX, PREFIX, RIGHT_TO_LEFT
from attnc.dsl.tree import Expr

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expression_text(expr: Expr) -> str:
    """Return an expression on one line."""
    return flat(expression(expr)) or ""


def expression(expr: Expr) -> Layout:
    """Return the layout of an expression."""
    match expr:
        case tree.Number(value):
            return (number_text(value),)
        case tree.Text(text):
            return (quoted(text),)
        case tree.Flag(value):
            return ("true" if value else "false",)
        case tree.Nothing():
            return ("none",)
        case tree.Name(name):
            return (name,)
        case tree.Star(name):
            return (f"*{name}",)
        case tree.ListOf(items):
            return (_list(items),)
        case tree.MapOf():
            return (map_layout(expr, commented=False),)
        case tree.Call(function, arguments):
            listed = tuple(Item(_argument(argument)) for argument in arguments)
            return (*_within(function, POSTFIX), Brackets("(", listed, ")"))
        case tree.Use(call):
            return ("use ", *expression(call))
        case tree.Slice(start, stop, step):
            return _slice(start, stop, step)
        case tree.Index(base, items):
            return (*_within(base, POSTFIX), _list(items))
        case tree.Attribute(tree.Number() as base, name):
            return ("(", *expression(base), ")", f".{name}")
        case tree.Attribute(base, name):
            return (*_within(base, POSTFIX), f".{name}")
        case tree.Unary(operator, operand):
            word = f"{operator} " if operator.isalpha() else operator
            return (word, *_within(operand, PREFIX[operator]))
        case tree.Binary(operator, left, right):
            return _binary(operator, left, right)
        case tree.Conditional(condition, then, otherwise):
            return (
                *_within(then, CONDITIONAL + 1), " if ", *_within(condition, CONDITIONAL + 1),
                " else ", *expression(otherwise),
            )  # fmt: skip
        case tree.Labelled(value, label):
            shown = label if is_name(label, words()) else quoted(label)
            return (*_within(value, POSTFIX), f" @{shown}")


def map_layout(expr: tree.MapOf, commented: bool) -> Brackets:
    """Return the layout of a map, with the comments above its entries where they belong to it."""
    entries = []
    for at, (key, value) in enumerate(expr.items):
        comments = expr.comments[at] if commented and at < len(expr.comments) else ()
        layout = data(value) if commented else expression(value)
        entries.append(Item((f"{key_text(key)}: ", *layout), comments))
    return Brackets("{", tuple(entries), "}")


def data(expr: Expr) -> Layout:
    """Return the layout of plain data, with its comments."""
    match expr:
        case tree.MapOf():
            return (map_layout(expr, commented=True),)
        case tree.ListOf(items):
            return (Brackets("[", tuple(_data_item(item) for item in items), "]"),)
    return expression(expr)


def _data_item(expr: Expr) -> Item:
    """Comments above the first entry of a map in a list stand above the map."""
    if isinstance(expr, tree.MapOf) and expr.comments:
        first, *others = expr.comments
        bare = tree.MapOf(expr.items, expr.span, expr.key_spans, ((), *others))
        return Item(data(bare), first)
    return Item(data(expr))


def key_text(key: str) -> str:
    """Return a key of a map, quoted where it is no word."""
    return key if _NAME.fullmatch(key) else quoted(key)


def _list(items: Sequence[Expr]) -> Brackets:
    return Brackets("[", tuple(Item(expression(item)) for item in items), "]")


def _argument(argument: tree.Argument) -> Layout:
    value = expression(argument.value)
    return value if argument.name is None else (f"{argument.name}=", *value)


def _slice(start: Expr | None, stop: Expr | None, step: Expr | None) -> Layout:
    first, second, third = (expression(part) if part else () for part in (start, stop, step))
    return (*first, ":", *second, *((":", *third) if third else ()))


def _binary(operator: str, left: Expr, right: Expr) -> Layout:
    strength = BINARY[operator]
    to_left = strength + (strength == COMPARISON)
    to_right = strength + 1
    if operator in RIGHT_TO_LEFT:
        to_left, to_right = POSTFIX, PREFIX["-"]
    return (*_within(left, to_left), f" {operator} ", *_within(right, to_right))


def _within(expr: Expr, strength: int) -> Layout:
    """Return an operand, in parentheses where it binds less tightly than its place asks for."""
    inner = expression(expr)
    return inner if _strength(expr) >= strength else ("(", *inner, ")")


def _strength(expr: Expr) -> int:
    match expr:
        case tree.Binary(operator):
            return BINARY[operator]
        case tree.Unary(operator):
            return PREFIX[operator]
        case tree.Conditional():
            return CONDITIONAL
        case tree.Number(value) if value < 0:
            return PREFIX["-"]
    return POSTFIX

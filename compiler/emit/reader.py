"""Python text to expressions: constructors of modules, calls of kernels, parts of a spec."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache

from attnc.compiler.emit.code import (
    Attribute,
    Binary,
    Call,
    DictOf,
    Dots,
    Expr,
    Index,
    ListOf,
    Literal,
    Name,
    Slice,
    TupleOf,
    Unary,
)

OPERATORS: Mapping[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.USub: "-", ast.Invert: "~", ast.Not: "not", ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<",
    ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


@lru_cache(maxsize=4096)
def read_expression(text: str) -> Expr:
    """Parse one expression.

    Raises:
        ValueError: it is none, or uses what emitted code never does.
    """
    try:
        return _read(ast.parse(text, mode="eval").body)
    except SyntaxError as wrong:
        raise ValueError(f"not an expression: {text}") from wrong


@lru_cache(maxsize=4096)
def read_spec(text: str) -> Expr | None:
    """Parse a text of a spec, which is much like Python; none where it is not.

    Where the language says more than emitted code can, what it says it about is put in a tuple.
    """
    try:
        return _loosely(ast.parse(text, mode="eval").body)
    except SyntaxError:
        return None


def _loosely(tree: ast.AST) -> Expr:
    try:
        return _read(tree)
    except ValueError:
        inner = (each for each in ast.iter_child_nodes(tree) if isinstance(each, ast.expr))
        return TupleOf(tuple(map(_loosely, inner)))


def _read(tree: ast.AST) -> Expr:
    try:
        return _RULES[type(tree)](tree)
    except KeyError:
        raise ValueError(f"emitted code has no {type(tree).__name__}") from None


def _constant(tree: ast.Constant) -> Expr:
    if tree.value is ...:
        return Dots()
    if isinstance(tree.value, (int, float, bool, str, type(None))):
        return Literal(tree.value)
    raise ValueError(f"emitted code has no constant {tree.value!r}")


def _call(tree: ast.Call) -> Expr:
    keywords = tuple((each.arg or "", _read(each.value)) for each in tree.keywords)
    return Call(_read(tree.func), tuple(map(_read, tree.args)), keywords)


def _index(tree: ast.Subscript) -> Expr:
    items = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
    return Index(_read(tree.value), tuple(map(_read, items)))


def _slice(tree: ast.Slice) -> Expr:
    parts = (tree.lower, tree.upper, tree.step)
    return Slice(*(None if part is None else _read(part) for part in parts))


def _unary(tree: ast.UnaryOp) -> Expr:
    operand = _read(tree.operand)
    negated = isinstance(operand, Literal) and isinstance(tree.op, ast.USub)
    if negated and isinstance(operand, Literal) and isinstance(operand.value, (int, float)):
        return Literal(-operand.value)
    return Unary(OPERATORS[type(tree.op)], operand)


def _compare(tree: ast.Compare) -> Expr:
    (operator,), (right,) = tree.ops, tree.comparators
    return Binary(OPERATORS[type(operator)], _read(tree.left), _read(right))


def _dict(tree: ast.Dict) -> Expr:
    keys = [ast.literal_eval(key) for key in tree.keys if key is not None]
    return DictOf(tuple(zip(keys, map(_read, tree.values), strict=True)))


_RULES: Mapping[type[ast.AST], Callable[..., Expr]] = {
    ast.Constant: _constant,
    ast.Name: lambda tree: Name(tree.id),
    ast.Attribute: lambda tree: Attribute(_read(tree.value), tree.attr),
    ast.Call: _call,
    ast.Subscript: _index,
    ast.Slice: _slice,
    ast.Tuple: lambda tree: TupleOf(tuple(map(_read, tree.elts))),
    ast.List: lambda tree: ListOf(tuple(map(_read, tree.elts))),
    ast.Dict: _dict,
    ast.BinOp: lambda tree: Binary(OPERATORS[type(tree.op)], _read(tree.left), _read(tree.right)),
    ast.UnaryOp: _unary,
    ast.Compare: _compare,
}

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
    Each,
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
        return read_tree(ast.parse(text, mode="eval").body)
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
        return read_tree(tree)
    except ValueError:
        inner = (each for each in ast.iter_child_nodes(tree) if isinstance(each, ast.expr))
        return TupleOf(tuple(map(_loosely, inner)))


def read_tree(tree: ast.AST) -> Expr:
    """Read what Python has parsed.

    Raises:
        ValueError: it uses what emitted code never does.
    """
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
    if any(each.arg is None for each in tree.keywords):
        raise ValueError("emitted code has no ** in calls")
    keywords = tuple((each.arg or "", read_tree(each.value)) for each in tree.keywords)
    if len(tree.args) == 1 and isinstance(tree.args[0], ast.GeneratorExp) and not keywords:
        return Call(read_tree(tree.func), (_each(tree.args[0]),))
    return Call(read_tree(tree.func), tuple(map(read_tree, tree.args)), keywords)


def _each(tree: ast.GeneratorExp) -> Each:
    (clause,) = tree.generators
    if clause.ifs:
        raise ValueError("emitted code has no conditions in generators")
    targets = clause.target.elts if isinstance(clause.target, ast.Tuple) else [clause.target]
    names = tuple(each.id for each in targets if isinstance(each, ast.Name))
    return Each(read_tree(tree.elt), names, read_tree(clause.iter))


def _index(tree: ast.Subscript) -> Expr:
    items = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
    return Index(read_tree(tree.value), tuple(map(read_tree, items)))


def _slice(tree: ast.Slice) -> Expr:
    parts = (tree.lower, tree.upper, tree.step)
    return Slice(*(None if part is None else read_tree(part) for part in parts))


def _unary(tree: ast.UnaryOp) -> Expr:
    operand = read_tree(tree.operand)
    negated = isinstance(operand, Literal) and isinstance(tree.op, ast.USub)
    if negated and isinstance(operand, Literal) and isinstance(operand.value, (int, float)):
        return Literal(-operand.value)
    return Unary(OPERATORS[type(tree.op)], operand)


def _compare(tree: ast.Compare) -> Expr:
    (operator,), (right,) = tree.ops, tree.comparators
    return Binary(OPERATORS[type(operator)], read_tree(tree.left), read_tree(right))


def _dict(tree: ast.Dict) -> Expr:
    keys = [ast.literal_eval(key) for key in tree.keys if key is not None]
    return DictOf(tuple(zip(keys, map(read_tree, tree.values), strict=True)))


_RULES: Mapping[type[ast.AST], Callable[..., Expr]] = {
    ast.Constant: _constant,
    ast.Name: lambda tree: Name(tree.id),
    ast.Attribute: lambda tree: Attribute(read_tree(tree.value), tree.attr),
    ast.Call: _call,
    ast.GeneratorExp: lambda tree: Call(Name(""), (_each(tree),)),
    ast.Subscript: _index,
    ast.Slice: _slice,
    ast.Tuple: lambda tree: TupleOf(tuple(map(read_tree, tree.elts))),
    ast.List: lambda tree: ListOf(tuple(map(read_tree, tree.elts))),
    ast.Dict: _dict,
    ast.BinOp: lambda tree: Binary(
        OPERATORS[type(tree.op)], read_tree(tree.left), read_tree(tree.right)
    ),
    ast.UnaryOp: _unary,
    ast.Compare: _compare,
}

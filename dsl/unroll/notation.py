"""Arguments of nodes as expressions: what a node holds, written down again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from attnc.dsl import tree
from attnc.dsl.diagnostics import Collector
from attnc.dsl.dims import Dim, Size
from attnc.dsl.graph import Arg, Value
from attnc.dsl.resolved import literal
from attnc.dsl.spans import Source, Span
from attnc.dsl.text_reader import read_expression

HERE = Span(Source("unrolled", ""), 0, 0)
"""Where all of an unrolled spec stands: in no file."""

Called = Mapping[Value, str]
"""What tensors are called in a body."""


@cache
def parsed(text: str) -> tree.Expr:
    """Return the tree of an expression that is known to be one."""
    expr = read_expression(Source("unrolled", text), 0, len(text), Collector())
    assert expr is not None, f"{text!r} is no expression"
    return expr


def name(word: str) -> tree.Name:
    """Return a name."""
    return tree.Name(word, HERE)


def size(value: Size) -> tree.Expr:
    """Return a size: `384`, `n`, `(h - 1) // 2 + 1`."""
    return parsed(str(value)) if isinstance(value, Dim) else tree.Number(value, HERE)


def listed(items: Iterable[tree.Expr]) -> tree.ListOf:
    """Return `[a, b]`."""
    return tree.ListOf(tuple(items), HERE)


def assign(target: tree.Expr, value: tree.Expr) -> tree.Assign:
    """Return `target = value`."""
    return tree.Assign((target,), "=", value, None, HERE)


def argument(value: Arg, called: Called) -> tree.Expr:
    """Return the expression for an argument of a node; lists may hold tensors and sizes."""
    match value:
        case Value():
            return name(called[value])
        case Dim():
            return size(value)
        case tuple():
            return listed(argument(item, called) for item in value)
    return literal(value, HERE)


def call(
    function: str,
    positional: Iterable[tree.Expr] = (),
    named: Mapping[str, tree.Expr] | None = None,
) -> tree.Call:
    """Return `function(positional, name=named)`."""
    arguments = [tree.Argument(None, value, HERE) for value in positional]
    arguments += [tree.Argument(key, value, HERE) for key, value in (named or {}).items()]
    return tree.Call(name(function), tuple(arguments), HERE)

"""Score trees as text, and expression templates filled without needless parentheses."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from functools import cache

from attnc.dsl.attention import (
    L1,
    Among,
    Apply,
    Constant,
    Coordinate,
    Dot,
    Extent,
    Load,
    Result,
    ScoreTree,
    Weight,
)
from attnc.dsl.scorelang.functions import FUNCTIONS, HOLES
from attnc.dsl.scorelang.walk import loads, rename


def fill(template: str, *arguments: str) -> str:
    """Put expressions into the holes `{a} {b} {c}` of a template.

    Template, arguments and result are Python expressions: `fill("{a} * {b}", "x + 1", "2")` is
    `(x + 1) * 2`.
    """
    parts = {f"hole_{hole}": _parsed(text) for hole, text in zip(HOLES, arguments, strict=False)}
    names = {hole: f"hole_{hole}" for hole in HOLES}
    return ast.unparse(_Filler(parts).visit(ast.parse(template.format(**names), mode="eval").body))


def text(tree: ScoreTree) -> str:
    """Return the tree as the score language writes it: `qk * 0.125 + bias[h, i - j]`."""
    names = list(loads(tree))
    # a tensor may be called `lambda`, which is no Python expression
    safe = rename(tree, {name: f"tensor_{number}_" for number, name in enumerate(names)})
    return re.sub(r"\btensor_(\d+)_", lambda found: names[int(found[1])], _text(safe))


def _text(tree: ScoreTree) -> str:
    match tree:
        case Constant(bool() as value):
            return "true" if value else "false"
        case Constant(value):
            return repr(value)
        case Extent(size):
            return ast.unparse(_parsed(str(size)))
        case Coordinate(name):
            return name
        case Dot():
            return "qk"
        case L1():
            return "l1(q, k)"
        case Weight():
            return "w"
        case Result():
            return "o"
        case Load(tensor, ()):
            return tensor
        case Load(tensor, indices):
            return f"{tensor}[{', '.join(map(_text, indices))}]"
        case Among(value, row):
            return fill("{a} in {b}", _text(value), _text(row))
        case Apply(function):
            return fill(FUNCTIONS[function].surface, *map(_text, _unconverted(tree)))


def _unconverted(tree: Apply) -> Sequence[ScoreTree]:
    """Return the arguments without those conversions of ints that typing puts back."""
    kinds = FUNCTIONS[tree.function].arguments
    arguments = list(tree.arguments)
    for at, kind in enumerate(kinds):
        others = (arguments[k].type for k in range(len(kinds)) if k != at and kinds[k] == "number")
        match arguments[at]:
            case Apply("float", (inner,)) if inner.type == "int":
                if kind == "float" or (kind == "number" and "float" in others):
                    arguments[at] = inner
    return arguments


@cache
def _parsed(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


class _Filler(ast.NodeTransformer):
    def __init__(self, parts: Mapping[str, ast.expr]) -> None:
        self._parts = parts

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._parts.get(node.id, node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        """Write `a and (b and c)` without the parentheses."""
        self.generic_visit(node)
        values: list[ast.expr] = []
        for value in node.values:
            match value:
                case ast.BoolOp(operator, inner) if type(operator) is type(node.op):
                    values.extend(inner)
                case _:
                    values.append(value)
        return ast.BoolOp(node.op, values)

"""Score expressions with variables, read from rule texts such as `a * da + b`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Union

from attnc.dsl.attention import Apply, Constant, ScoreTree
from attnc.dsl.scorelang.functions import binary
from attnc.dsl.scorelang.walk import is_scalar


@dataclass(frozen=True, slots=True)
class Variable:
    """Stands for a tree. `i j` stand for ints only, `k` for a scalar, `x` for anything but one."""

    name: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A function of terms; types come when the variables are replaced."""

    function: str
    arguments: tuple[Term, ...]


Term = Union[Variable, Pattern, Constant]
Bindings = Mapping[str, ScoreTree]

_ADMITS: Mapping[str, Callable[[ScoreTree], bool]] = {
    "i": lambda tree: tree.type == "int",
    "j": lambda tree: tree.type == "int",
    "k": is_scalar,
    "x": lambda tree: not is_scalar(tree),
}
_SYMBOLS: Mapping[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_NAMED: Mapping[type[ast.AST], str] = {
    ast.USub: "neg", ast.Not: "not", ast.And: "and", ast.Or: "or",
}  # fmt: skip


@cache
def term(rule: str) -> Term:
    """Read a rule text, which is written as the score language is."""
    return _term(ast.parse(rule, mode="eval").body)


def match(pattern: Term, tree: ScoreTree) -> dict[str, ScoreTree] | None:
    """Return what the variables of `pattern` stand for in `tree`; none where it differs."""
    bindings: dict[str, ScoreTree] = {}
    return bindings if _match(pattern, tree, bindings) else None


def instantiate(pattern: Term, bindings: Bindings, make: Callable[..., ScoreTree]) -> ScoreTree:
    """Replace the variables; `make(function, *arguments)` builds each Apply."""
    match pattern:
        case Variable(name):
            return bindings[name]
        case Pattern(function, arguments):
            return make(function, *(instantiate(part, bindings, make) for part in arguments))
        case Constant():
            return pattern


def _match(pattern: Term, tree: ScoreTree, bindings: dict[str, ScoreTree]) -> bool:
    match pattern, tree:
        case Variable(name), _:
            admitted = name not in _ADMITS or _ADMITS[name](tree)
            return admitted and bindings.setdefault(name, tree) == tree
        case Pattern(function, parts), Apply(applied, arguments):
            return function == applied and all(
                _match(part, argument, bindings)
                for part, argument in zip(parts, arguments, strict=True)
            )
        case Constant(), Constant():
            same_kind = (pattern.type == "bool") == (tree.type == "bool")
            return same_kind and pattern.value == tree.value
    return False


def _term(node: ast.expr) -> Term:
    match node:
        case ast.Name("true" | "false" as name):
            return Constant(name == "true")
        case ast.Name(name):
            return Variable(name)
        case ast.Constant(int() | float() as value):
            return Constant(value)
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
            return Constant(-value)
        case ast.UnaryOp(operator, operand):
            return Pattern(_NAMED[type(operator)], (_term(operand),))
        case ast.BinOp(left, operator, right) | ast.Compare(left, [operator], [right]):
            return Pattern(binary(_SYMBOLS[type(operator)]), (_term(left), _term(right)))
        case ast.BoolOp(operator, [left, right]):
            return Pattern(_NAMED[type(operator)], (_term(left), _term(right)))
        case ast.Call(ast.Name(function), arguments):
            return Pattern(function, tuple(_term(argument) for argument in arguments))
    raise ValueError(f"no rule: {ast.unparse(node)}")

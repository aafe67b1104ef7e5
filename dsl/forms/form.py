"""A form: a call of the core whose arguments are not all ordinary values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attnc.dsl import codes, tree
from attnc.dsl.builder import Builder
from attnc.dsl.dims import Dim, Shape
from attnc.dsl.expressions import fail
from attnc.dsl.graph import Value
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.values import noun


@dataclass(frozen=True, slots=True)
class Form:
    """How a form is built, and which calls of its name it takes."""

    build: Callable[[Builder, tree.Call, str | None], object]
    takes: Callable[[tree.Call], bool] = lambda call: True


def arguments(
    expr: tree.Call, name: str, known: tuple[str, ...]
) -> tuple[list[tree.Expr], dict[str, tree.Expr]]:
    """Part the arguments of a form into positional and named ones; unknown names fail."""
    positional = [each.value for each in expr.arguments if each.name is None]
    named: dict[str, tree.Expr] = {}
    for each in expr.arguments:
        if each.name is None:
            continue
        if each.name not in known or each.name in named:
            fail(codes.ARGUMENT.at(
                each.span, op=name, detail=f"has no parameter {each.name!r}"
                if each.name not in known else f"argument {each.name!r} is given twice",
                hint=did_you_mean(each.name, known),
            ))  # fmt: skip
        named[each.name] = each.value
    return positional, named


def tensor(builder: Builder, expr: tree.Expr, name: str) -> Value:
    """Evaluate an argument that must be a tensor."""
    value = builder.evaluate(expr)
    if not isinstance(value, Value):
        fail(codes.NOT_A_TENSOR.at(
            expr.span, detail=f"{name} of attend must be a tensor, not {noun(value)}"
        ))  # fmt: skip
    return value


def sizes(builder: Builder, expr: tree.Expr, op: str, parameter: str, least: int = 1) -> Shape:
    """Evaluate an argument that is a size or a list of sizes, none below `least`."""
    value = builder.evaluate(expr)
    items = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    found = tuple(
        item
        for item in items
        if isinstance(item, Dim) or (isinstance(item, int) and not isinstance(item, bool))
    )
    if (
        not items
        or len(found) < len(items)
        or any(isinstance(item, int) and item < least for item in found)
    ):
        fail(codes.ARGUMENT.at(
            expr.span, op=op,
            detail=f"{parameter} is a size or a list of sizes from {least} on, not {noun(value)}",
        ))  # fmt: skip
    return found

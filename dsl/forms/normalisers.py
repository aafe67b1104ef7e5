"""`normalize = softmax(keys, sink = s)`, `argmax(queries)`, `ratio(eps = 1e-6)` and the like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attnc.dsl import codes, scorelang, tree
from attnc.dsl.attention import (
    ArgmaxKeys,
    ArgmaxQueries,
    Bilinear,
    Normaliser,
    Ratio,
    ReluPower,
    ScoreTree,
    Sigmoid,
    SoftmaxBoth,
    SoftmaxKeys,
    SoftmaxQueries,
    Unnormalised,
)
from attnc.dsl.builder import Builder
from attnc.dsl.expressions import fail
from attnc.dsl.forms.capture import noted, typed_capture
from attnc.dsl.graph import Value
from attnc.dsl.scorelang.construct import as_float
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.values import OpRef, noun

Tensors = dict[str, Value]
Option = Callable[[Builder, tree.Expr, Tensors], object]


@dataclass(frozen=True, slots=True)
class _Row:
    """A normaliser: what makes it, and how each of its options is read."""

    make: Callable[..., Normaliser]
    options: Mapping[str, Option]


def _number(builder: Builder, expr: tree.Expr, tensors: Tensors) -> float | None:
    value = builder.evaluate(expr)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        fail(codes.ARGUMENT.at(
            expr.span, op="attend", detail=f"this takes a number from 0 up, not {noun(value)}"
        ))  # fmt: skip
    return float(value)


def _sink(builder: Builder, expr: tree.Expr, tensors: Tensors) -> ScoreTree | None:
    captured = typed_capture(builder, expr, "float", {})
    if captured is None:
        return None
    sink = captured.tree
    if not scorelang.coordinates(sink) <= {"b", "h"} or scorelang.reads_pair(sink):
        fail(codes.SCORE.at(expr.span, detail="a sink may depend on b and h only"))
    return noted(as_float(sink), captured.tensors, tensors)


NORMALISERS: Mapping[str, _Row] = {
    "softmax": _Row(SoftmaxKeys, {"sink": _sink}),
    "softmax(keys)": _Row(SoftmaxKeys, {"sink": _sink}),
    "softmax(queries)": _Row(SoftmaxQueries, {}),
    "softmax(keys, queries)": _Row(SoftmaxBoth, {}),
    "argmax(keys)": _Row(ArgmaxKeys, {}),
    "argmax(queries)": _Row(ArgmaxQueries, {}),
    "sigmoid": _Row(Sigmoid, {}),
    "relu": _Row(ReluPower, {"power": _number}),
    "none": _Row(Unnormalised, {}),
    "ratio": _Row(Ratio, {"eps": _number, "floor": _number}),
    "bilinear": _Row(Bilinear, {}),
}


def normaliser(builder: Builder, expr: tree.Expr | None, tensors: Tensors) -> Normaliser:
    """Return the normaliser that an expression names; softmax over keys where there is none.

    Tensors that a sink loads are added to `tensors`. A param in scope may hold the name: a text
    such as "softmax(queries)", an operator such as `sigmoid`, or none.
    """
    if expr is None:
        return SoftmaxKeys()
    name, options = _parted(builder, expr)
    row = NORMALISERS.get(name)
    if row is None:
        fail(codes.ARGUMENT.at(
            expr.span, op="attend", detail=f"normalize is one of {'; '.join(NORMALISERS)}",
            hint=did_you_mean(name, NORMALISERS),
        ))  # fmt: skip
    found: dict[str, object] = {}
    for each in options:
        read = row.options.get(each.name or "")
        if read is None or each.name in found:
            fail(codes.ARGUMENT.at(
                each.span, op="attend",
                detail=f"{name} takes {', '.join(row.options) or 'no options'}, each once",
            ))  # fmt: skip
        found[str(each.name)] = read(builder, each.value, tensors)
    return row.make(**{key: value for key, value in found.items() if value is not None})


def _parted(builder: Builder, expr: tree.Expr) -> tuple[str, tuple[tree.Argument, ...]]:
    """Return the name with its axes, as the table has it, and the options."""
    match expr:
        case tree.Text(name):
            return name, ()
        case tree.Nothing():
            return "none", ()
        case tree.Name(name) if name in builder.scope:
            return _held(builder.scope[name]), ()
        case tree.Name(name):
            return name, ()
        case tree.Call(tree.Name(name), arguments):
            axes = [each.value.span.text for each in arguments if each.name is None]
            options = tuple(each for each in arguments if each.name is not None)
            return (f"{name}({', '.join(axes)})" if axes else name), options
    return expr.span.text, ()


def _held(value: object) -> str:
    match value:
        case None:
            return "none"
        case OpRef(name) | str(name):
            return name
    return noun(value)

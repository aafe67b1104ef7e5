"""Domains by name: `causal(offset)`, `band(left, right)`, `where(condition)`, and all others."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.dsl import codes, tree
from attnc.dsl.attention import Band, Causal, Where
from attnc.dsl.builder import Builder
from attnc.dsl.dims import Size
from attnc.dsl.expressions import fail
from attnc.dsl.forms.capture import typed_capture
from attnc.dsl.forms.form import Form
from attnc.dsl.forms.indexed import INDEXED
from attnc.dsl.forms.spatial import SPATIAL
from attnc.dsl.values import DomainValue


def _causal(builder: Builder, expr: tree.Call, label: str | None) -> object:
    return DomainValue(Causal(*_sizes(builder, expr, "causal", ("offset",))))


def _band(builder: Builder, expr: tree.Call, label: str | None) -> object:
    left, right = _sizes(builder, expr, "band", ("left", "right"))
    return DomainValue(Band(left, right))


def _where(builder: Builder, expr: tree.Call, label: str | None) -> object:
    captured = typed_capture(builder, expr.arguments[0].value, "bool", {})
    if captured is None:
        return None
    return DomainValue(Where(captured.tree), captured.tensors)


def _sizes(builder: Builder, expr: tree.Call, name: str, parameters: tuple[str, ...]) -> list[Size]:
    found: dict[str, Size] = {}
    for position, argument in enumerate(expr.arguments):
        key = argument.name or (parameters[position] if position < len(parameters) else "")
        if key not in parameters or key in found:
            fail(codes.ARGUMENT.at(
                argument.span, op=name, detail=f"takes {', '.join(parameters)}"
            ))  # fmt: skip
        found[key] = builder.size(argument.value, f"{key} of {name}")
    missing = [key for key in parameters if key not in found]
    if missing:
        fail(codes.ARGUMENT.at(expr.span, op=name, detail=f"argument {missing[0]!r} is missing"))
    return [found[key] for key in parameters]


DOMAINS: Mapping[str, Form] = {
    "causal": Form(_causal),
    "band": Form(_band),
    "where": Form(_where, lambda call: len(call.arguments) == 1),
    **SPATIAL,
    **INDEXED,
}
"""`all` and `causal` alone are constants; `where` of three arguments is an operator."""

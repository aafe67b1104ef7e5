"""Scores, masks and weights: expressions of the score language, built in the scope of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

from attnc.dsl import codes, scorelang, tree
from attnc.dsl.attention import ScoreTree, Weight
from attnc.dsl.builder import Builder
from attnc.dsl.dims import Dim
from attnc.dsl.expressions import fail
from attnc.dsl.graph import Value
from attnc.dsl.values import Captured

Extra = Mapping[str, Union[float, Weight]]
"""Names with a meaning in one place: `scale` in a score, also `w` in a post expression."""


@dataclass(slots=True)
class _Scope:
    """What names mean inside a score: the builder's scope, and tensors noted as they are used."""

    builder: Builder
    extra: Extra
    tensors: dict[str, Value] = field(default_factory=dict)

    def lookup(self, name: str) -> scorelang.Known | None:
        """Return a number, a size or the type of a tensor; none for an unknown name."""
        value = self.extra.get(name, self.builder.scope.get(name))
        if isinstance(value, Value):
            self.tensors[name] = value
            return value.type
        if isinstance(value, (bool, int, float, Dim, Weight)):
            return value
        if isinstance(value, (list, tuple)) and all(
            isinstance(item, (bool, int, float, Dim)) for item in value
        ):
            return tuple(value)
        return None


def capture(builder: Builder, expr: tree.Expr, extra: Extra | None = None) -> object:
    """Build the tree of a score, mask or weight expression in the builder's scope.

    A name that stands for a captured expression already, or for none, is passed on.
    """
    if isinstance(expr, tree.Nothing):
        return None
    if isinstance(expr, tree.Name) and isinstance(
        builder.scope.get(expr.id, 0), (Captured, type(None))
    ):
        return builder.scope[expr.id]
    scope = _Scope(builder, extra or {})
    try:
        tree_ = scorelang.build(expr, scope, [*builder.scope, *scope.extra])
    except scorelang.ScoreError as wrong:
        fail(codes.SCORE.at(wrong.span, detail=wrong.detail, hint=wrong.help))
    used = scorelang.loads(tree_)
    kept = tuple((name, value) for name, value in scope.tensors.items() if name in used)
    return Captured(tree_, kept)


def typed_capture(builder: Builder, expr: tree.Expr, kind: str, extra: Extra) -> Captured | None:
    """Build an expression that must be `bool` or a number (`kind`); none stays none."""
    captured = capture(builder, expr, extra)
    if captured is None or not isinstance(captured, Captured):
        return None
    found = captured.tree.type
    if (found == "bool") != (kind == "bool"):
        what = "a truth value" if kind == "bool" else "a number"
        fail(codes.SCORE.at(expr.span, detail=f"this must be {what}, and is of type {found}"))
    return captured


def noted(
    tree_: ScoreTree, used: tuple[tuple[str, Value], ...], tensors: dict[str, Value]
) -> ScoreTree:
    """Add the tensors of a tree to `tensors`; a name taken by another tensor is changed."""
    renamed: dict[str, str] = {}
    for name, value in used:
        chosen, count = name, 0
        while tensors.get(chosen, value) is not value:
            count += 1
            chosen = f"{name}_{count}"
        tensors[chosen] = value
        if chosen != name:
            renamed[name] = chosen
    return scorelang.rename(tree_, renamed) if renamed else tree_

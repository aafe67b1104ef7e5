"""Shapes written in a spec against the shapes of tensors: they bind sizes and check them."""

from __future__ import annotations

from collections.abc import Sequence

from attnc.dsl import codes, tree
from attnc.dsl.builder import Builder
from attnc.dsl.diagnostics import Note
from attnc.dsl.dims import Size, symbol
from attnc.dsl.expressions import fail, is_size
from attnc.dsl.graph import TensorType
from attnc.dsl.spans import Span
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.values import noun


def input_shape(builder: Builder, pattern: tree.ListOf) -> tuple[Size, ...]:
    """Return the shape of a model's input; a name that is no param becomes a symbolic size."""
    for item in pattern.items:
        if isinstance(item, tree.Name) and item.id not in builder.scope:
            size = symbol(item.id)
            builder.scope[item.id] = size
            builder.dims[item.id] = size
    return tuple(_evaluated(builder, item) for item in pattern.items)


def bind_shape(
    builder: Builder, pattern: tree.ListOf, found: TensorType, what: str, where: Span
) -> None:
    """Match a tensor's shape against `[*, n, d]`: new names are bound, the rest must agree.

    Raises:
        Fault: another rank or size; the note shows where a size was bound before.
    """
    items = list(pattern.items)
    shape = list(found.shape)
    if items and isinstance(items[0], tree.Star):
        lead = len(shape) - len(items) + 1
        if lead < 0:
            _wrong_rank(pattern, found, what, where)
        items, shape = items[1:], shape[lead:]
    if len(items) != len(shape):
        _wrong_rank(pattern, found, what, where)
    for item, size in zip(items, shape, strict=True):
        if isinstance(item, tree.Name) and item.id not in builder.scope:
            builder.scope[item.id] = size
            builder.dims[item.id] = size
            builder.bindings[item.id] = (item.span, size)
    _check(builder, items, shape, pattern, found, what, where)


def _check(
    builder: Builder,
    items: Sequence[tree.Expr],
    shape: Sequence[Size],
    pattern: tree.ListOf,
    found: TensorType,
    what: str,
    where: Span,
) -> None:
    for item, size in zip(items, shape, strict=True):
        expected = _evaluated(builder, item)
        if expected != size:
            known = builder.bindings.get(item.id) if isinstance(item, tree.Name) else None
            notes = (
                [Note(f"{item.span.text} = {expected} comes from here", known[0])] if known else []
            )
            wanted = pattern.span.text
            if not isinstance(item, tree.Number):
                wanted += f" with {item.span.text} = {expected}"
            notes.append(Note("the shape stands here", pattern.span))
            fail(codes.SHAPE.at(where, what=what, expected=wanted, found=found, notes=notes))


def _wrong_rank(pattern: tree.ListOf, found: TensorType, what: str, where: Span) -> None:
    fail(codes.RANK.at(
        where, what=what, expected=pattern.span.text, found=found,
        notes=[Note("the shape stands here", pattern.span)],
    ))  # fmt: skip


def _evaluated(builder: Builder, item: tree.Expr) -> Size:
    if isinstance(item, tree.Star):
        fail(codes.ARGUMENT.at(item.span, op="shape", detail="`*` stands first, in ports only"))
    if isinstance(item, tree.Name) and item.id not in builder.scope:
        hint = did_you_mean(item.id, list(builder.scope))
        fail(codes.UNBOUND_DIM.at(item.span, name=item.id, hint=hint))
    if isinstance(item, tree.Binary):
        for name in _names(item):
            if name.id not in builder.scope:
                fail(codes.UNBOUND_DIM.at(name.span, name=name.id))
    size = builder.evaluate(item)
    if not is_size(size):
        fail(codes.NOT_A_TENSOR.at(
            item.span, detail=f"an axis must be a size, not {noun(size)}"
        ))  # fmt: skip
    if isinstance(size, int) and size < 0:
        fail(codes.NOT_A_TENSOR.at(item.span, detail=f"an axis cannot be of size {size}"))
    return size  # type: ignore[return-value]


def _names(expr: tree.Expr) -> list[tree.Name]:
    if isinstance(expr, tree.Name):
        return [expr]
    if isinstance(expr, tree.Binary):
        return _names(expr.left) + _names(expr.right)
    return []

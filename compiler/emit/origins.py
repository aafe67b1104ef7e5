"""What FX nodes know of where they come from."""

from __future__ import annotations

from torch import fx

from attnc.compiler.emit.code import Expr, ListOf, Literal, Role
from attnc.compiler.emit.reader import read_spec
from attnc.compiler.unit import Origin
from attnc.dsl.dims import Size
from attnc.dsl.graph import Body, TensorType
from attnc.dsl.ops import TABLE

_WIDEST = 14
"""Columns that a size may take in a comment."""


def origin(node: fx.Node) -> Origin:
    """Return where a node comes from."""
    about = node.meta.get("attnc")
    return about if isinstance(about, Origin) else Origin()


def said_of(node: fx.Node) -> Expr | None:
    """Return the innermost expression of the spec that a node comes from."""
    spans = origin(node).spans
    return read_spec(spans[-1].text) if spans else None


def turn_of(node: fx.Node) -> tuple[int, ...]:
    """Return the turn of the loops that a call of a module stands in: its places in lists."""
    if node.op != "call_module":
        return ()
    return tuple(int(name) for name in str(node.target).split(".") if name.isdigit())


def given_name(node: fx.Node) -> str | None:
    """Return what the spec calls the result of a node; none where it says the operator alone."""
    names = origin(node).names
    return names[0] if names and names[0] not in TABLE and names[0] != "attend" else None


def shape_note(node: fx.Node, body: Body | None) -> ListOf | None:
    """Return the shape of a node's one result for a comment, in the names of the block.

    A size with a long name is `_`.
    """
    types = origin(node).types
    if len(types) != 1:
        return None
    known: dict[Size, str] = {}
    for name, size in (body.dims if body else {}).items():
        known.setdefault(size, name)
    return ListOf(tuple(_note(size, known) for size in types[0].shape))


def _note(size: Size, known: dict[Size, str]) -> Literal:
    shown = size if isinstance(size, int) else known.get(size, str(size))
    return Literal(shown if len(str(shown)) <= _WIDEST else "_", role=Role.NOTE)


def type_of(node: fx.Node) -> TensorType | None:
    """Return the type of a node's one result, where it has one that is known."""
    types = origin(node).types
    return types[0] if len(types) == 1 else None

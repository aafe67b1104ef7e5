"""Attention nodes of the checked graph as backends see them; needs no torch."""

from __future__ import annotations

from typing import cast

from attnc.compiler.kernel import Site
from attnc.dsl.attention import Attention
from attnc.dsl.graph import Node, Value


def operands(node: Node) -> tuple[Value, ...]:
    """Return the tensors of an `attend` node in the order of a kernel's arguments."""
    q = cast(Value, node.args["q"])
    sources = cast(tuple[tuple[Value, Value], ...], node.args["sources"])
    tensors = cast(tuple[Value, ...], node.args["tensors"])
    return (q, *(value for source in sources for value in source), *tensors)


def site_of(node: Node, name: str = "") -> Site:
    """Return an `attend` node as a backend sees it."""
    q = cast(Value, node.args["q"])
    sources = cast(tuple[tuple[Value, Value], ...], node.args["sources"])
    tensors = cast(tuple[Value, ...], node.args["tensors"])
    return Site(
        name,
        cast(Attention, node.args["attention"]),
        q.type,
        tuple((k.type, v.type) for k, v in sources),
        tuple(tensor.type for tensor in tensors),
    )

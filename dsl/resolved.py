"""A spec with its params settled: what `resolve` prints and an artefact carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import copysign, isinf

from attnc.dsl import tree
from attnc.dsl.graph import Graph
from attnc.dsl.spans import Span
from attnc.dsl.values import BlockRef, OpRef


def resolved_spec(graph: Graph, origins: bool = False) -> tree.Spec:
    """Return the spec with every param's default replaced by its value, and without variants.

    Args:
        origins: note above each param where its value came from.
    """
    params = tuple(settled(param, graph, origins) for param in graph.spec.params)
    return replace(graph.spec, params=params, variants=())


def settled(param: tree.Param, graph: Graph, origins: bool = False) -> tree.Param:
    """Return a param with its value as default."""
    default = literal(graph.params[param.name], param.span)
    comments = param.comments
    if origins:
        comments = (*comments, f"from {graph.origins[param.name]}")
    return replace(param, default=default, comments=comments)


def literal(value: object, span: Span) -> tree.Expr:
    """Return the expression that writes down a compile-time value.

    Raises:
        TypeError: it is a tensor, or something else that has no notation.
    """
    match value:
        case bool():
            return tree.Flag(value, span)
        case int() | float() if copysign(1, value) < 0:
            return tree.Unary("-", literal(-value, span), span)
        case float() if isinf(value):
            large = tree.Number(1e300, span)
            return tree.Binary("*", large, large, span)
        case int() | float():
            return tree.Number(value, span)
        case str():
            return tree.Text(value, span)
        case None:
            return tree.Nothing(span)
        case list() | tuple():
            return tree.ListOf(tuple(literal(item, span) for item in value), span)
        case Mapping():
            items = tuple((str(key), literal(item, span)) for key, item in value.items())
            return tree.MapOf(items, span, (span,) * len(items))
        case OpRef() | BlockRef():
            return tree.Name(value.name, span)
    raise TypeError(f"{value!r} has no notation")

"""Attention nodes of the checked graph as backends see them; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from attnc.compiler.kernel import Site
from attnc.dsl.attention import Attention
from attnc.dsl.dims import Size
from attnc.dsl.graph import Node, TensorType, Value


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


def site_types(site: Site) -> tuple[TensorType, ...]:
    """Return the types of all operands, in the order of a kernel's arguments."""
    return (site.q, *(type_ for source in site.sources for type_ in source), *site.tensors)


def with_types(site: Site, types: Sequence[TensorType]) -> Site:
    """Return the site with other types, given in the order of `site_types`."""
    streams, tensors = types[1 : 1 + 2 * len(site.sources)], types[1 + 2 * len(site.sources) :]
    sources = tuple(zip(streams[::2], streams[1::2], strict=True))
    return replace(site, q=types[0], sources=sources, tensors=tuple(tensors))


def scores_type(site: Site) -> TensorType:
    """Return the type of the scores [b, h, n, m], m over all sources."""
    total: Size = 0
    for k, _ in site.sources:
        total = total + k.shape[2]
    return TensorType((*site.q.shape[:3], total))


def result_types(site: Site) -> tuple[TensorType, ...]:
    """Return the types of the results, in the order of the outputs."""
    rows, width = site.q.shape[:3], site.sources[0][1].shape[3]
    types = {
        "out": TensorType((*rows, width)),
        "weights": scores_type(site),
        "scores": scores_type(site),
        "lse": TensorType(rows),
    }
    return tuple(types[name] for name in site.attention.outputs)

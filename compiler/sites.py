"""Attention nodes of the checked graph as backends see them; needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

from attnc.compiler.kernel import Site
from attnc.dsl.attention import Attention, Sampled
from attnc.dsl.attention_types import identity_key, output_types
from attnc.dsl.dims import Size
from attnc.dsl.graph import Node, TensorType, Value
from attnc.dsl.scorelang import slot_count

Streams = tuple[tuple[Value | None, Value], ...]


def operands(node: Node) -> tuple[Value, ...]:
    """Return the tensors of an `attend` node in the order of a kernel's arguments."""
    q, sources = cast(Value, node.args["q"]), cast(Streams, node.args["sources"])
    vq, tensors = node.args.get("vq"), cast(tuple[Value, ...], node.args["tensors"])
    given = (q, *(each for source in sources for each in source), vq, *tensors)
    return tuple(each for each in given if isinstance(each, Value))


def site_of(node: Node, name: str = "") -> Site:
    """Return an `attend` node as a backend sees it."""
    sources, vq = cast(Streams, node.args["sources"]), node.args.get("vq")
    tensors = cast(tuple[Value, ...], node.args["tensors"])
    return Site(
        name,
        cast(Attention, node.args["attention"]),
        cast(Value, node.args["q"]).type,
        tuple((identity_key(v.type) if k is None else k.type, v.type) for k, v in sources),
        tuple(tensor.type for tensor in tensors),
        vq.type if isinstance(vq, Value) else None,
    )


def site_operands(site: Site) -> Iterator[tuple[str, TensorType]]:
    """Yield the operands as `Kernel.call` names them, with their types, in a kernel's order."""
    yield "q", site.q
    for number, (k, v) in enumerate(site.sources):
        if not site.attention.given:
            yield f"k{number}", k
        yield f"v{number}", v
    if site.vq is not None:
        yield "vq", site.vq
    for number, tensor in enumerate(site.tensors):
        yield f"t{number}", tensor


def site_types(site: Site) -> tuple[TensorType, ...]:
    """Return the types of all operands, in the order of a kernel's arguments."""
    return tuple(type_ for _, type_ in site_operands(site))


def with_types(site: Site, types: Sequence[TensorType]) -> Site:
    """Return the site with other types, given in the order of `site_types`."""
    names = [name for name, _ in site_operands(site)]
    by_name = dict(zip(names, types, strict=True))
    values = [by_name[f"v{number}"] for number in range(len(site.sources))]
    sources = tuple(
        (by_name.get(f"k{number}", identity_key(v)), v) for number, v in enumerate(values)
    )
    tensors = tuple(by_name[f"t{number}"] for number in range(len(site.tensors)))
    return replace(site, q=by_name["q"], sources=sources, tensors=tensors, vq=by_name.get("vq"))


def scores_type(site: Site) -> TensorType:
    """Return the type of the scores [b, h, n, m], m over all sources.

    Of sampled boxes the keys are gathered: m counts their slots.
    """
    total: Size = 0
    for source, (k, _) in zip(site.attention.sources, site.sources, strict=True):
        slots = slot_count(source.domain) if isinstance(source.domain, Sampled) else None
        total = total + (k.shape[2] if slots is None else slots)
    return TensorType((*site.q.shape[:3], total))


def result_types(site: Site) -> tuple[TensorType, ...]:
    """Return the types of the results, in the order of the outputs."""
    return output_types(site.attention, site.q, site.sources, site.vq)

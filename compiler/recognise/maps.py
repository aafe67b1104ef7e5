"""Maps of scores or weights that attentions give, and what they are computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from attnc.compiler.recognise.rewriting import Block, Edits, edited
from attnc.compiler.sites import Streams
from attnc.dsl.attention import (
    All,
    Attention,
    Normaliser,
    SoftmaxKeys,
    SoftmaxQueries,
    Source,
)
from attnc.dsl.graph import Arg, Body, Node, Value
from attnc.dsl.scorelang import loads

MAPS = ("scores", "weights")
"""Outputs with an element for every pair."""


@dataclass(frozen=True, slots=True)
class PairMap:
    """A map of pairs and where it comes from.

    Attributes:
        source: whose score it is.
        normaliser: of the weights; none where the map is one of scores.
        turned: whether it is transposed: [b, h, m, n].
        operands: q [b, h, n, d], k [b, h, m, d] and the tensors that the score reads.
        names: of these tensors.
        edits: of the nodes that compute it, so that they give the operands in its place.
    """

    source: Source
    normaliser: Normaliser | None
    turned: bool
    operands: tuple[Value, ...]
    names: tuple[str, ...]
    edits: Edits


def pair_map(value: Value, block: Block) -> PairMap | None:
    """Return what a value that is read once is a map of; none if it is none."""
    node = block.maker(value, "attend", "transpose", "block")
    if node is None or node.train or block.uses[value] != 1:
        return None
    match node.op:
        case "attend":
            return _given_map(node, value, block)
        case "transpose":
            found = pair_map(cast(Value, node.args["x"]), block) if turns(node) else None
            return None if found is None else replace(found, turned=not found.turned)
    return _map_of_block(node, value, block)


def _given_map(node: Node, value: Value, block: Block) -> PairMap | None:
    attention = cast(Attention, node.args["attention"])
    output = attention.outputs[node.results.index(value)]
    streams = cast(Streams, node.args["sources"])
    if output not in MAPS or len(streams) > 1 or attention.given:
        return None
    (source,), ((k, _),), q = attention.sources, streams, cast(Value, node.args["q"])
    if k is None or source.domain != All() or source.mask is not None or q.shape[1] != k.shape[1]:
        return None
    if output == "weights" and (
        attention.normaliser not in (SoftmaxKeys(), SoftmaxQueries())
        or source.post
        or attention.renormalise
    ):
        return None
    rest = [each for each in node.results if each is not value]
    kept = tuple(each for each in attention.outputs if each != output)
    first = replace(
        node, results=tuple(rest), args={**node.args, "attention": replace(attention, outputs=kept)}
    )
    if {*kept} & {*MAPS} or block.backend(first) == "reference":
        return None
    by_name = dict(
        zip(attention.tensors, cast(tuple[Value, ...], node.args["tensors"]), strict=True)
    )
    names = tuple(loads(source.score))
    operands = (q, k, *(by_name[name] for name in names))
    normaliser = attention.normaliser if output == "weights" else None
    return PairMap(source, normaliser, False, operands, names, {node: [first]})


def _map_of_block(node: Node, value: Value, block: Block) -> PairMap | None:
    """Return a map that a block gives: the block gives its operands instead."""
    body = cast(Body, node.body)
    outputs = body.outputs if isinstance(body.outputs, tuple) else (body.outputs,)
    if body.exits or not all(isinstance(each, Value) for each in outputs):
        return None
    at = node.results.index(value)
    found = pair_map(cast(Value, outputs[at]), Block.of(body, block.machine))
    if found is None:
        return None
    outside = ports(node)
    for inner, outer in zip(outputs, node.results, strict=True):
        outside.setdefault(cast(Value, inner), outer)
    more = [each for each in dict.fromkeys(found.operands) if each not in outside]
    outside.update((each, replace(each)) for each in more)
    inner = (*outputs[:at], *more, *outputs[at + 1 :])
    results = (*node.results[:at], *(outside[each] for each in more), *node.results[at + 1 :])
    lighter = edited(body, found.edits, outputs=inner if len(inner) != 1 else inner[0])
    operands = tuple(outside[each] for each in found.operands)
    call = replace(node, body=lighter, results=results)
    return replace(found, operands=operands, edits={node: [call]})


def ports(node: Node) -> dict[Value, Value]:
    """Return what a call passes for each port that is one tensor."""
    ports, given = cast(Body, node.body).ports.values(), cast(tuple[Arg, ...], node.args["ports"])
    return {
        port: each
        for port, each in zip(ports, given, strict=True)
        if isinstance(port, Value) and isinstance(each, Value)
    }


def turns(node: Node) -> bool:
    """Say whether a transposition of [b, h, n, m] swaps queries and keys."""
    return {cast(int, node.args[axis]) % 4 for axis in "ab"} == {2, 3}

"""A map of scores or weights that serves a second attention is computed there once more.

LookupViT reads one product in both directions: few tokens gather from many, which later read the
few by the same scores, transposed. Stored, the map has all pairs of tokens; as an attention with
the roles of queries and keys swapped, the second reads the two operands of the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from attnc.compiler.recognise.maps import MAPS, PairMap, pair_map, ports, turns
from attnc.compiler.recognise.rewriting import Block, Edits, edited
from attnc.compiler.sites import Streams
from attnc.dsl.attention import (
    All,
    Attention,
    Coordinate,
    Dot,
    Normaliser,
    ScoreTree,
    SoftmaxKeys,
    SoftmaxQueries,
    Unnormalised,
)
from attnc.dsl.graph import Arg, Body, Node, Value
from attnc.dsl.liveness import values
from attnc.dsl.scorelang import has_dot, rename, replaced, simplify


def reused_maps(node: Node, block: Block) -> Edits | None:
    """Recognise a map that one attention gives, and another alone reads, transposed or as it is.

    Either may stand in a block of its own. Both must then be computed without a stored map.
    """
    for value in dict.fromkeys(values(node.args)):
        found = pair_map(value, block) if node.op in ("attend", "block") else None
        second = None if found is None else _reading(node, value, found, block)
        if found is not None and second is not None:
            return {**found.edits, node: [second]}
    return None


def _reading(node: Node | None, value: Value, found: PairMap, block: Block) -> Node | None:
    """Return the node that reads a map, reading its operands instead; none if it cannot."""
    if node is None or node.train:
        return None
    if node.op == "attend":
        second = _attention(node, found) if node.args["q"] is value else None
        return second if second and block.backend(second) != "reference" else None
    return _reading_block(node, value, found, block) if node.op == "block" else None


def _reading_block(node: Node, value: Value, found: PairMap, block: Block) -> Node | None:
    body, given = cast(Body, node.body), cast(tuple[Arg, ...], node.args["ports"])
    inner = Block.of(body, block.machine)
    port = next((port for port, each in ports(node).items() if each is value), None)
    read, reader = port, None if port is None else inner.reader(port)
    while reader is not None and reader.op == "transpose" and turns(reader):
        found = replace(found, turned=not found.turned)
        read = reader.results[0]
        reader = inner.reader(read)
    if port is None or read is None or reader is None:
        return None
    within = {each: replace(each) for each in dict.fromkeys(found.operands)}
    operands = tuple(within[each] for each in found.operands)
    second = _reading(reader, read, replace(found, operands=operands), inner)
    if second is None:
        return None
    held: dict[str, Arg] = {}
    passed: list[Arg] = []
    for (name, each), arg in zip(body.ports.items(), given, strict=True):
        for key, made, outer in (
            ((new.name, new, outer) for outer, new in within.items())
            if each is port else ((name, each, arg),)
        ):  # fmt: skip
            held[_unused(key, {*held, *body.ports} - {name})] = made
            passed.append(outer)
    lighter = edited(body, {reader: [second]}, ports=held)
    return replace(node, body=lighter, args={**node.args, "ports": tuple(passed)})


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _attention(node: Node, found: PairMap) -> Node | None:
    """Return an attention to given products as one that computes them."""
    attention = cast(Attention, node.args["attention"])
    ((_, v),) = cast(Streams, node.args["sources"])
    (source,), (q, k, *more) = attention.sources, found.operands
    if not attention.given or source.domain != All() or source.mask or {*MAPS} & {
        *attention.outputs
    }:  # fmt: skip
        return None
    normaliser = attention.normaliser
    if found.normaliser is not None:
        if normaliser != Unnormalised() or source.score != Dot() or source.post:
            return None
        normaliser = _TURNED[found.normaliser] if found.turned else found.normaliser
    if v.shape[1] != k.shape[1] or any(
        has_dot(tree) for tree in (source.post, attention.renormalise) if tree is not None
    ):
        return None
    names: dict[str, str] = {}
    for name in found.names:
        names[name] = _unused(name, {*attention.tensors, *found.names, *names.values()} - {name})
    score = rename(found.source.score, names)
    if found.turned:
        score, (q, k) = replaced(score, _swapped), (k, q)
    whole = replaced(source.score, lambda part: score if part == Dot() else part)
    args: Mapping[str, Arg] = {
        **node.args,
        "q": q,
        "sources": ((k, v),),
        "tensors": (*more, *cast(tuple[Value, ...], node.args["tensors"])),
        "attention": replace(
            attention,
            sources=(replace(source, score=simplify(whole)),),
            normaliser=normaliser,
            tensors=(*names.values(), *attention.tensors),
            given=False,
        ),
    }
    return replace(node, args=args)


def _swapped(part: ScoreTree) -> ScoreTree:
    return Coordinate({"i": "j", "j": "i"}.get(part.name, part.name)) if isinstance(
        part, Coordinate
    ) else part  # fmt: skip


_TURNED: Mapping[Normaliser, Normaliser] = {
    SoftmaxKeys(): SoftmaxQueries(), SoftmaxQueries(): SoftmaxKeys(),
}  # fmt: skip

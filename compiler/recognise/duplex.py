"""Two streams that read each other by one product of scores are one attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from attnc.compiler.recognise.rewriting import Block, Edits
from attnc.compiler.sites import Streams
from attnc.dsl.attention import (
    All,
    Attention,
    Coordinate,
    ScoreTree,
    SoftmaxBoth,
)
from attnc.dsl.graph import Arg, Node, Value
from attnc.dsl.liveness import values
from attnc.dsl.scorelang import replaced


def duplex(node: Node, block: Block) -> Edits | None:
    """Recognise `attend(q, k, v)` and a later `attend(k, q, u)` of one score.

    They become one with softmax over keys and over queries, if a backend computes both in one go
    and stores no scores; not where two fused calls of torch are faster than tiles.
    """
    if not _is_plain(node):
        return None
    nodes = block.body.nodes
    later = nodes.index(node)
    for first in nodes[:later]:
        if not (_is_plain(first) and _is_reversed(node, first)):
            continue
        place = _place(first, node, nodes[nodes.index(first) : later])
        for one, other in ((first, node), (node, first)) if place is not None else ():
            both = _both(one, other)
            if _gains(block, both, (first, node)):
                return {first: (), node: (), cast(Node, place): (both,)}
    return None


def _gains(block: Block, both: Node, apart: tuple[Node, Node]) -> bool:
    """Say whether one attention is better computed than two."""
    chosen = block.backend(both)
    if chosen == "tiled":
        return "sdpa" not in {block.backend(each) for each in apart}
    return chosen not in (None, "reference")


def _is_plain(node: Node) -> bool:
    """Say whether a node is a softmax over all keys of one source, and gives its result alone."""
    if node.op != "attend" or node.train:
        return False
    attention = cast(Attention, node.args["attention"])
    source = attention.sources[0]
    return attention == Attention(
        (replace(source, domain=All(), mask=None, weight=None, post=None),)
    )


def _is_reversed(node: Node, first: Node) -> bool:
    """Say whether an attention is that of another with queries and keys in each other's role."""
    ((k, v),), ((keys, values_),) = _streams(node), _streams(first)
    if node.args["q"] is not keys or k is not first.args["q"]:
        return False
    heads = {each.shape[1] for each in (cast(Value, node.args["q"]), cast(Value, k), v, values_)}
    return len(heads) == 1 and replaced(_score(node), _swapped) == _score(first)


def _streams(node: Node) -> Streams:
    return cast(Streams, node.args["sources"])


def _score(node: Node) -> ScoreTree:
    return cast(Attention, node.args["attention"]).sources[0].score


def _swapped(part: ScoreTree) -> ScoreTree:
    if isinstance(part, Coordinate):
        return Coordinate({"i": "j", "j": "i"}.get(part.name, part.name))
    return part


def _place(first: Node, node: Node, between: tuple[Node, ...]) -> Node | None:
    """Return where both can stand: operands are there, and no result was read before."""
    made = {value for each in between for value in each.results}
    if made.isdisjoint(values(node.args)):
        return first
    read = {value for each in (*between, node) for value in values(each.args)}
    return node if read.isdisjoint(first.results) else None


def _both(one: Node, other: Node) -> Node:
    """Return the attention whose results are those of one, and of its reverse."""
    attention = cast(Attention, one.args["attention"])
    ((_, u),) = _streams(other)
    args: Mapping[str, Arg] = {
        **one.args,
        "vq": u,
        "attention": replace(attention, normaliser=SoftmaxBoth(), outputs=("out", "back")),
    }
    return replace(one, args=args, results=(*one.results, *other.results))

"""Streams that are joined before they are projected may as well be joined as keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from attnc.compiler.recognise.concatenated import concatenated_keys
from attnc.compiler.recognise.factors import TOKENS, named
from attnc.compiler.recognise.rewriting import Block, Edits, edited, is_whole, made
from attnc.compiler.recognise.tokenwise import computed_of, moved, tokens_of
from attnc.compiler.sites import Streams
from attnc.dsl.attention import Attention
from attnc.dsl.graph import Node, Value
from attnc.dsl.ops.notation import parse


def joined_contexts(node: Node, block: Block) -> Edits | None:
    """Recognise keys and values projected from streams [b, m, c] that are joined along the tokens.

    Each stream is then projected by itself, with the same weights. None unless the streams become
    sources of the attention, and none where something else reads what is joined or projected.
    """
    if node.op != "attend" or node.train or block.target.kind == "cpu":
        return None
    if len(cast(Attention, node.args["attention"]).sources) > 1:
        return None
    apart = _Apart(block)
    for each in dict.fromkeys(cast(Streams, node.args["sources"])[0]):
        if each is None or not apart.joins(each):
            return None
    body = edited(block.body, apart.edits)
    found = is_whole(body) and concatenated_keys(node, Block.of(body, block.machine))
    return apart.edits if found else None


class _Apart:
    """Computes what streams give each by itself, and joins that.

    Attributes:
        edits: of the nodes that compute it of what is joined.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        self.edits: dict[Node, Sequence[Node]] = {}

    def joins(self, keys: Value) -> bool:
        """Join keys or values, rather than what they come from; say whether that can be."""
        parts, node = self._parts(keys), self.block.makers.get(keys)
        if len(parts) < 2 or node is None:
            return False
        last = made("concat", node, (keys,), tensors=parts, axis=TOKENS)
        self.edits[node] = (*self.edits[node], last)
        return True

    def _parts(self, value: Value) -> tuple[Value, ...]:
        """Return a value by streams; none where it is not computed of joined ones, each alone."""
        node = self.block.makers.get(value)
        if node is None or node.train:
            return ()
        if node.op == "concat":
            is_along_tokens = node.args["axis"] in (1, -2) and len(value.shape) == 3
            return cast(tuple[Value, ...], node.args["tensors"]) if is_along_tokens else ()
        name = _stream_of(node)
        if name is None:
            return ()
        if node not in self.edits:
            parts = self._parts(cast(Value, node.args[name]))
            self.edits[node] = tuple(_computed(node, part) for part in parts)
        at = node.results.index(value)
        return tuple(each.results[at] for each in self.edits[node] if each.op == node.op)


def _stream_of(node: Node) -> str | None:
    """Return the parameter with tokens each of which is treated alone, in their order."""
    match node.op:
        case "unbind":
            return "x" if node.args["axis"] == 0 else None
        case "rearrange":
            rank = len(cast(Value, node.args["x"]).shape)
            notation = parse(cast(str, node.args["pattern"])).for_rank(rank)
            tokens = notation.left[-2:-1]
            keeps = tokens == notation.right[-2:-1] and len(tokens[0]) == 1
            return "x" if rank == 3 and keeps else None
    return tokens_of(node)


def _computed(node: Node, part: Value) -> Node:
    if node.op == "unbind":
        return named(made("unbind", node, x=part, axis=0), node)
    return moved(node, part) if node.op == "rearrange" else computed_of(node, part)

"""Tokens that are moved before they are projected may as well be moved behind.

Projections, norms and activations compute each token for itself. What cuts windows before them
cuts them behind as well, and what puts windows together after them may do so before: then both
stand beside the attention, which is where windows are recognised.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import cast

from attnc.compiler.recognise.composing import composed
from attnc.compiler.recognise.rewriting import Block, Edits, edited, is_whole
from attnc.compiler.recognise.tokenwise import (
    computed_of,
    moved,
    moves_before,
    moves_behind,
    readers,
    tokens_of,
)
from attnc.compiler.recognise.windows import windows_in_batch
from attnc.compiler.sites import Streams
from attnc.dsl.graph import Node, Value


def early_windows(node: Node, block: Block) -> Edits | None:
    """Recognise windows that are cut before the projections of an attention.

    None unless the attention becomes one over windows, and none where something else reads what
    is projected.
    """
    if node.op != "attend" or node.train or block.target.kind == "cpu":
        return None
    if windows_in_batch(node, block):
        return None
    edits = _Upstream(block).edits(node)
    edits.update(_downstream(node, block))
    if not edits:
        return None
    body = edited(block.body, edits)
    found = is_whole(body) and windows_in_batch(node, Block.of(body, block.machine))
    return edits if found else None


class _Upstream:
    """Moves what an attention reads: token-wise operators first, then what moves their tokens."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.early: dict[Node, Node] = {}

    def edits(self, attend: Node) -> dict[Node, Sequence[Node]]:
        streams = cast(Streams, attend.args["sources"])
        heads = dict.fromkeys(map(self._heads, (attend.args["q"], *streams[0])))
        edits: dict[Node, Sequence[Node]] = {}
        for node in heads:
            late = None if node is None else self._late(node)
            if node is not None and late is not None:
                edits[node] = late
        edits.update((node, [early]) for node, early in self.early.items())
        return edits

    def _heads(self, operand: object) -> Node | None:
        """Return the rearrangement that q, k or v comes from, alone or with others."""
        apart = self.block.maker(operand, "unbind")
        return self.block.maker(operand if apart is None else apart.args["x"], "rearrange")

    def _late(self, heads: Node) -> list[Node] | None:
        """Return the moves and the rearrangement into heads, behind all token-wise operators."""
        x, moves = self._before(cast(Value, heads.args["x"]))
        return _joined([*moves, heads], x, heads.results) if moves else None

    def _before(self, value: Value) -> tuple[Value, tuple[Node, ...]]:
        """Return what is computed of tokens that were not moved yet, and their moves."""
        node = self.block.makers.get(value)
        moves = moves_before(value, self.block)
        if node is None or moves:
            return (cast(Value, moves[0].args["x"]), moves) if moves else (value, ())
        name = tokens_of(node)
        x, before = (value, ()) if name is None else self._before(cast(Value, node.args[name]))
        if not before:
            return value, ()
        early = self.early.setdefault(node, computed_of(node, x))
        return early.results[node.results.index(value)], before


def _downstream(attend: Node, block: Block) -> Edits:
    """Move what reads an attention: first the moves of tokens, then token-wise operators."""
    merged = block.reader(attend.results[0])
    if merged is None or merged.op != "rearrange" or merged.train:
        return {}
    between = [*takewhile(_is_token_wise, readers(merged, block))]
    moves = moves_behind((merged, *between)[-1], block)
    if not moves:
        return {}
    results = None if between else moves[-1].results
    early = _joined([merged, *moves], cast(Value, merged.args["x"]), results)
    late: list[Node] = []
    for node in between:
        x = (late or early)[-1].results[0]
        results = moves[-1].results if node is between[-1] else None
        late.append(computed_of(node, x, results))
    edits: dict[Node, Sequence[Node]] = dict.fromkeys((*moves, *between), ())
    return {**edits, merged: early, **{old: [new] for old, new in zip(between, late, strict=True)}}


def _is_token_wise(node: Node) -> bool:
    return tokens_of(node) is not None and len(node.results) == 1


def _joined(nodes: Sequence[Node], x: Value, results: tuple[Value, ...] | None) -> list[Node]:
    """Return moves of other tokens; rearrangements that follow each other become one.

    Args:
        results: of the last one; new ones unless given.
    """
    done: list[Node] = []
    for node in nodes:
        last = moved(node, x, results if node is nodes[-1] else None)
        if done and done[-1].op == last.op == "rearrange":
            last = composed(done[-1], last) or last
            done = done[: len(done) - (last.args["x"] is done[-1].args["x"])]
        done.append(last)
        x = last.results[0]
    return done

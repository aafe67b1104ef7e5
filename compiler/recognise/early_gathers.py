"""Tokens that are gathered for each query before they are projected may as well be so behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from attnc.compiler.recognise.factors import Factors, factors, named
from attnc.compiler.recognise.gathered import gathered_keys
from attnc.compiler.recognise.rewriting import Block, Edits, edited, is_whole, made
from attnc.compiler.recognise.tokenwise import computed_of, tokens_of
from attnc.compiler.sites import Streams
from attnc.dsl.graph import Node, Value
from attnc.dsl.scorelang import at_least


def early_gathers(node: Node, block: Block) -> Edits | None:
    """Recognise keys and values projected from tokens [b, n, s, c] gathered for each query.

    All tokens are then projected, and keys and values gathered. None unless these become keys of
    a domain and there are no more tokens than are gathered, and none where something else reads
    what is projected.
    """
    if node.op != "attend" or node.train:
        return None
    late, (streams, *more) = _Late(block), cast(Streams, node.args["sources"])
    if more or not all(each is not None and late.gathers(each) for each in dict.fromkeys(streams)):
        return None
    body = edited(block.body, late.edits)
    found = is_whole(body) and gathered_keys(node, Block.of(body, block.machine))
    return late.edits if found else None


class _Late:
    """Gathers keys and values [b, h, m, e] instead of what they are projected from.

    Attributes:
        edits: of the nodes that compute them.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        self.edits: dict[Node, Sequence[Node]] = {}

    def gathers(self, keys: Value) -> bool:
        """Gather keys or values [(b n), h, s, e]; say whether that can be."""
        heads = factors(keys, self.block)
        if heads is None or [len(group) for group in heads.right] != [2, 1, 1, 1]:
            return False
        (b, n), _, (s,), _ = heads.right
        if heads.left[:3] != ((b,), (n,), (s,)) or len(heads.left) != 4:
            return False
        found = self._projected(cast(Value, heads.node.args["x"]))
        if found is None:
            return False
        x, index = found
        each = self._of_all(heads, x)
        last = heads.node if heads.taken is None else heads.taken[0]
        self.edits[last] = (*self.edits[last], *_gathered(each, index, keys, last))
        return True

    def _of_all(self, heads: Factors, x: Value) -> Value:
        """Return keys or values of all tokens [b, h, m, e]."""
        (b, _), h, m, e = heads.right
        lead = () if heads.taken is None else (heads.lead,)
        if heads.node not in self.edits:
            left, right = ((b,), m, heads.left[3]), (*lead, (b,), h, m, e)
            self.edits[heads.node] = (heads.again(x, left, right),)
        (made_,) = self.edits[heads.node][:1]
        if heads.taken is None:
            return made_.results[0]
        apart, place = heads.taken
        if apart not in self.edits:
            whole = made("unbind", apart, x=made_.results[0], axis=0)
            self.edits[apart] = (named(whole, apart),)
        return self.edits[apart][0].results[place]

    def _projected(self, value: Value) -> tuple[Value, Value] | None:
        """Return what is computed of all tokens, and the index [b, n, s] that gathers of them."""
        node = self.block.makers.get(value)
        if node is None or node.train:
            return None
        if node.op == "gather":
            return self._tokens(node)
        name = tokens_of(node)
        found = None if name is None else self._projected(cast(Value, node.args[name]))
        if found is None:
            return None
        x, index = found
        if node not in self.edits:
            self.edits[node] = (computed_of(node, x),)
        return self.edits[node][0].results[node.results.index(value)], index

    def _tokens(self, gather: Node) -> tuple[Value, Value] | None:
        x = self._without(cast(Value, gather.args["x"]), 1)
        index = self._without(cast(Value, gather.args["index"]), 3)
        if x is None or index is None or gather.args["axis"] not in (2, -2):
            return None
        _, n, s, _ = gather.results[0].shape
        fits = x.shape[0] == index.shape[0] and at_least(n * s, x.shape[1])
        return (x, index) if fits else None

    def _without(self, value: Value, axis: int) -> Value | None:
        """Return a tensor of three axes that got a fourth one of size 1."""
        node = self.block.maker(value, "rearrange", "unsqueeze")
        if node is None or node.train or len(value.shape) != 4:
            return None
        x = cast(Value, node.args["x"])
        if node.op == "unsqueeze":
            return x if cast(int, node.args["axis"]) % 4 == axis else None
        found = Factors.of(node)
        rest = () if found is None else (*found.right[:axis], *found.right[axis + 1 :])
        return x if found is not None and rest == found.left and not found.right[axis] else None


def _gathered(x: Value, index: Value, keys: Value, like: Node) -> list[Node]:
    """Return what gathers keys or values [b, h, m, e] for each query."""
    rows = made("rearrange", like, x=x, pattern="b h m e -> b h 1 m e", sizes={})
    at = made("rearrange", like, x=index, pattern="b n s -> b 1 n s 1", sizes={})
    taken = made("gather", like, x=rows.results[0], index=at.results[0], axis=3)
    flat = "b h n s e -> (b n) h s e"
    last = made("rearrange", like, (keys,), x=taken.results[0], pattern=flat, sizes={})
    return [rows, at, taken, last]

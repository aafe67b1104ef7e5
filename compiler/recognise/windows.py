"""Windows that are moved into the batch for an attention are the domain that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from attnc.compiler.recognise.factors import (
    BATCH,
    RANKS,
    WIDTH,
    Factors,
    factors,
    is_plain,
    named,
)
from attnc.compiler.recognise.parted import Parted, parted_tokens
from attnc.compiler.recognise.regions import is_by_region
from attnc.compiler.recognise.rewriting import Block, Edits, made
from attnc.compiler.recognise.rolled import rolled
from attnc.compiler.sites import Streams
from attnc.dsl import scorelang
from attnc.dsl.attention import Attention, Coordinate, ScoreTree, Source
from attnc.dsl.graph import Arg, Node, TensorType, Value


def windows_in_batch(node: Node, block: Block) -> Edits | None:
    """Recognise q, k and v rearranged so that windows stand in the batch, and the result back.

    The notation names all factors of the axes. Those of the batch that share an axis with tokens
    number the windows of a grid; the order of the others is of no account. That serves kernels
    that find the tokens of a window themselves; on the CPU the copies pay for one long product.
    """
    found = _read(node, block)
    return None if found is None else _in_place(node, *found, block)


def _read(node: Node, block: Block) -> tuple[list[Factors], Factors, Parted] | None:
    """Return the rearrangements of q, k and v, that of the result, and the windows."""
    if (
        node.op != "attend"
        or node.train
        or block.target.kind == "cpu"
        or not is_plain(cast(Attention, node.args["attention"]))
    ):
        return None
    ((k, v),) = cast(Streams, node.args["sources"])
    streams = [read for each in (node.args["q"], k, v) if (read := factors(each, block))]
    back = block.reader(node.results[0])
    if len(streams) < 3 or back is None or back.op != "rearrange" or back.train:
        return None
    behind, parted = Factors.of(back), parted_tokens(streams[0])
    if parted is None or behind is None or len(behind.left) != len(RANKS):
        return None
    if {each.order(each.right) for each in streams} != {behind.order(behind.left)}:
        return None
    return streams, behind, parted


def _in_place(
    node: Node, streams: Sequence[Factors], behind: Factors, parted: Parted, block: Block
) -> Edits | None:
    """Return the attention over windows of tokens that stay where they are."""
    attention = cast(Attention, node.args["attention"])
    tensors = dict(
        zip(attention.tensors, cast(tuple[Value, ...], node.args["tensors"]), strict=True)
    )
    maps: Mapping[Node, Value] = {each.node: cast(Value, each.node.args["x"]) for each in streams}
    source, turned = attention.sources[0], rolled(streams, behind, parted, block)
    back = last = behind.node
    if turned is not None:
        parted, maps, last = turned.parted, turned.maps, turned.back
        if source.mask and is_by_region(source.mask, tensors, streams[0], parted, block):
            source, parted = replace(source, mask=None), parted.cut()
    elif parted.is_view:
        return None
    ahead, operands = _operands(streams, maps, parted)
    attend = _over_windows(node, operands, tensors, _placed(source, streams[0], parted))
    if block.backend(attend) not in KERNELS:
        return None
    left = parted.regrouped(behind.left)
    together = behind.again(attend.results[0], left, behind.right, last.results)
    return {node: [*ahead, attend], back: (), last: [together]}


KERNELS = ("triton",)
"""Backends that find the tokens of a window themselves."""


def _over_windows(
    node: Node, operands: Sequence[Value], tensors: Mapping[str, Value], source: Source
) -> Node:
    """Return the attention of q, k and v with all tokens of the grid."""
    q, k, v = operands
    trees = (source.score, source.mask, source.post)
    read = {name for tree in trees if tree is not None for name in scorelang.loads(tree)}
    kept = {name: tensor for name, tensor in tensors.items() if name in read}
    attention = replace(
        cast(Attention, node.args["attention"]), sources=(source,), tensors=tuple(kept)
    )
    args: Mapping[str, Arg] = {
        **node.args,
        "q": q,
        "sources": ((k, v),),
        "tensors": tuple(kept.values()),
        "attention": attention,
    }
    (old,) = node.results
    type_ = TensorType((*q.shape[:WIDTH], old.shape[WIDTH]))
    return replace(node, args=args, results=(replace(old, type=type_),))


def _operands(
    streams: Sequence[Factors], maps: Mapping[Node, Value], parted: Parted
) -> tuple[list[Node], list[Value]]:
    """Return q, k and v [b, h, n, d] with all tokens of the grid, and what computes them."""
    ahead: dict[Node, Node] = {}
    taken: dict[Node, Node] = {}
    operands: list[Value] = []
    for each in streams:
        if each.node not in ahead:
            lead = () if each.taken is None else (each.lead,)
            right = (*lead, *parted.regrouped(each.right))
            ahead[each.node] = each.again(maps[each.node], each.left, right)
        found = ahead[each.node].results
        if each.taken is not None:
            apart, place = each.taken
            if apart not in taken:
                taken[apart] = named(made("unbind", apart, x=found[0], axis=0), apart)
            found = taken[apart].results[place:]
        operands.append(found[0])
    return [*ahead.values(), *taken.values()], operands


def _placed(source: Source, queries: Factors, parted: Parted) -> Source:
    """Return the source with expressions of pairs of the grid instead of pairs of a window."""
    assert parted.domain.grid is not None
    names = scorelang.place_names(parted.domain, parted.domain.grid)
    known = {"i": names["query_slot"], "j": names["slot"], "b": _batch(queries, parted)}

    def spelt(part: ScoreTree) -> ScoreTree:
        tree = known.get(part.name) if isinstance(part, Coordinate) else None
        return part if tree is None else tree

    def optional(tree: ScoreTree | None) -> ScoreTree | None:
        return None if tree is None else scorelang.simplify(scorelang.replaced(tree, spelt))

    return replace(
        source, domain=parted.domain, score=optional(source.score) or source.score,
        mask=optional(source.mask), post=optional(source.post),
    )  # fmt: skip


def _batch(queries: Factors, parted: Parted) -> ScoreTree:
    """Return the place in the batch that the window of a query had."""
    batch = queries.right[BATCH]
    shape = tuple(queries.sizes[batch[place]] for place in parted.batch)
    numbers = dict(parted.numbers)
    for axis, place in enumerate(parted.batch):
        numbers[place] = scorelang.along("b", shape, axis)
    total = numbers[0]
    for place in range(1, len(batch)):
        size = scorelang.size_tree(queries.sizes[batch[place]])
        total = scorelang.make("add", scorelang.make("mul", total, size), numbers[place])
    return total

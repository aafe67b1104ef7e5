"""Keys that are gathered for each query are the domain that the index describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from attnc.compiler.recognise.factors import (
    BATCH,
    HEADS,
    RANKS,
    TOKENS,
    WIDTH,
    Factors,
    is_plain,
)
from attnc.compiler.recognise.rewriting import Block, Edits
from attnc.compiler.sites import Streams
from attnc.dsl import scorelang
from attnc.dsl.attention import Attention, Coordinate, Grid, Load, RoutedKeys
from attnc.dsl.graph import Arg, Node, TensorType, Value
from attnc.dsl.ops.notation import Group

SKIPPING = ("triton", "tiled")
"""Backends that read the keys of an index where they stand, or few at a time."""


def gathered_keys(node: Node, block: Block) -> Edits | None:
    """Recognise one row of queries over keys and values gathered by one index of the query's own.

    `k` `[b, h, 1, m, d]` is gathered at `[b, 1 or h, n, s, 1]`, and b and n are the batch of the
    attention. The index must come from `topk`: in others a key may stand twice, and counts twice.
    """
    if node.op != "attend" or node.train or not is_plain(cast(Attention, node.args["attention"])):
        return None
    ((k, v),) = cast(Streams, node.args["sources"])
    queries, back = _factors(node.args["q"], block), block.reader(node.results[0])
    found = [each for each in (_gathered(k, block), _gathered(v, block)) if each is not None]
    if queries is None or back is None or back.op != "rearrange" or back.train or len(found) < 2:
        return None
    behind, (keys, values) = Factors.of(back), found
    lone = [queries.right, () if behind is None else behind.left]
    if behind is None or not all(_is_row(groups) for groups in lone):
        return None
    if len({each.order(groups) for each, groups in zip((queries, behind), lone, strict=True)}) > 1:
        return None
    if keys.index is not values.index or not _is_distinct(keys.index, block):
        return None
    ahead = queries.again(cast(Value, queries.node.args["x"]), queries.left, _tokens(queries.right))
    attend = _routed(node, ahead.results[0], keys, values)
    if attend is None or block.backend(attend) not in SKIPPING:
        return None
    result = behind.again(attend.results[0], _tokens(behind.left), behind.right, back.results)
    return {node: [ahead, attend], back: [result]}


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What is gathered: `x` [b, h, m, d] at `index` [b, n, s] or [b, h, n, s]."""

    x: Value
    index: Value


def _factors(value: object, block: Block) -> Factors | None:
    node = block.maker(value, "rearrange")
    found = None if node is None or node.train else Factors.of(node)
    return found if found is not None and len(found.right) >= len(RANKS) else None


def _is_row(groups: tuple[Group, ...]) -> bool:
    """Say whether queries are [(b n), h, 1, d]."""
    return [len(groups[axis]) for axis in RANKS] == [2, 1, 0, 1] if len(groups) == 4 else False


def _tokens(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Return [b, h, n, d] for [(b n), h, 1, d]."""
    batch, token = groups[BATCH]
    return (batch,), groups[HEADS], (token,), groups[WIDTH]


def _gathered(value: Value | None, block: Block) -> _Gathered | None:
    """Read keys or values [(b n), h, s, d]."""
    flat = _factors(value, block)
    if flat is None or [len(group) for group in flat.right] != [2, 1, 1, 1]:
        return None
    (b, n), (h,), (s,), (d,) = flat.right
    gather = block.maker(flat.node.args["x"], "gather")
    if gather is None or flat.left != ((b,), (h,), (n,), (s,), (d,)):
        return None
    if cast(int, gather.args["axis"]) % len(flat.left) != flat.left.index((s,)):
        return None
    x, index = _factors(gather.args["x"], block), _factors(gather.args["index"], block)
    if x is None or index is None or len(x.right) != 5 or len(index.right) != 5:
        return None
    if x.right[2] or x.left != (*x.right[:2], *x.right[3:]) or index.right[-1]:
        return None
    if index.left not in (index.right[:-1], (index.right[0], *index.right[2:-1])):
        return None
    tensor, at = cast(Value, x.node.args["x"]), cast(Value, index.node.args["x"])
    full = (flat.sizes[b], flat.sizes[h], flat.sizes[d])
    is_full = (*tensor.shape[: HEADS + 1], tensor.shape[WIDTH]) == full
    rows = (full[0], *full[1 : len(at.shape) - 2], flat.sizes[n], flat.sizes[s])
    return _Gathered(tensor, at) if is_full and at.shape == rows else None


def _is_distinct(index: Value, block: Block) -> bool:
    """Say whether no row of an index names a key twice."""
    node = block.maker(index, "topk")
    rank = len(index.shape)
    return (
        node is not None
        and node.results.index(index) == 1
        and cast(int, node.args["axis"]) % rank == rank - 1
    )


def _routed(node: Node, q: Value, keys: _Gathered, values: _Gathered) -> Node | None:
    """Return the attention over the keys that the index names."""
    attention = cast(Attention, node.args["attention"])
    (source,), index = attention.sources, keys.index
    if source.mask or source.post or not scorelang.coordinates(source.score) <= {"h"}:
        return None
    name = index.name
    while name in attention.tensors:
        name += "_"
    read = ("b", "h") if len(index.shape) == len(RANKS) else ("b",)
    row = Load(name, tuple(map(Coordinate, read)), "int")
    grid = Grid((q.shape[TOKENS],), (keys.x.shape[TOKENS],))
    domain = RoutedKeys(row, index.shape[-1], grid)
    tensors = cast(tuple[Value, ...], node.args["tensors"])
    args: Mapping[str, Arg] = {
        **node.args,
        "q": q,
        "sources": ((keys.x, values.x),),
        "tensors": (index, *tensors),
        "attention": replace(
            attention,
            sources=(replace(source, domain=domain),),
            tensors=(name, *attention.tensors),
        ),
    }
    (old,) = node.results
    type_ = TensorType((*q.shape[:WIDTH], old.shape[WIDTH]))
    return replace(node, args=args, results=(replace(old, type=type_),))

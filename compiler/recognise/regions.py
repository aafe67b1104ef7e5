"""Masks by region: of windows of a rolled map, the parts that stood together before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from math import prod
from typing import cast

import torch
from torch import Tensor, fx, nn

from attnc.compiler.recognise.factors import BATCH, TOKENS, Factors
from attnc.compiler.recognise.parted import Parted
from attnc.compiler.recognise.rewriting import Block
from attnc.compiler.translate import Translator, Units
from attnc.dsl import scorelang
from attnc.dsl.attention import Apply, Constant, Coordinate, Load, ScoreTree
from attnc.dsl.graph import Body, Node, Value
from attnc.dsl.liveness import values
from attnc.dsl.ops import TABLE
from attnc.dsl.scorelang import FUNCTIONS

Regions = Mapping[tuple[int, int], tuple[bool, ...]]
"""(number of the window, slot of the token) -> along which axes it came in again at the end."""

Tables = Mapping[str, Tensor]


def is_by_region(
    mask: ScoreTree, tensors: Mapping[str, Value], queries: Factors, parted: Parted, block: Block
) -> bool:
    """Say whether a mask of windows [b, i, j] keeps exactly the pairs of one region.

    It is `region[b % windows, i] == region[b % windows, j]`, as many of these as there are axes,
    or a table `same[b % windows, i, j]`. Its tables must be of integers or truth values that are
    known at compile time: then every token is looked at.
    """
    regions = _regions(queries, parted)
    tree = None if regions is None else _of_window(mask, queries, parted)
    if regions is None or tree is None:
        return False
    tables: dict[str, Tensor] = {}
    for name in scorelang.loads(tree):
        table = _table(tensors[name], block)
        if table is None:
            return False
        tables[name] = table
    if isinstance(tree, Load):
        return _is_table(tree, tables, regions)
    conditions = [*_conditions(tree)]
    sides = [side for side in map(_side, conditions) if side is not None]
    return len(sides) == len(conditions) and _are_labels(sides, tables, regions)


def _regions(queries: Factors, parted: Parted) -> Regions | None:
    """Return the region of every token; none where sizes are not numbers."""
    batch, tokens = queries.right[BATCH], queries.right[TOKENS]
    numbers = [name for place, name in enumerate(batch) if place not in parted.batch]
    names = [*numbers, *tokens]
    sizes = {name: size for name in names if isinstance(size := queries.sizes[name], int)}
    if len(sizes) < len(names):
        return None
    regions: dict[tuple[int, int], tuple[bool, ...]] = {}
    for at in product(*(range(sizes[name]) for name in names)):
        place = dict(zip(names, at, strict=True))
        window, slot = (_counted([*each], place, sizes) for each in (numbers, tokens))
        regions[window, slot] = tuple(_wraps(queries, parted, place, sizes))
    return regions


def _counted(names: list[str], place: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    number = 0
    for name in names:
        number = number * sizes[name] + place[name]
    return number


def _wraps(
    queries: Factors, parted: Parted, place: Mapping[str, int], sizes: Mapping[str, int]
) -> Iterator[bool]:
    """Yield for every axis whether a token of a window stood in front before it was rolled."""
    for axis, places in enumerate(parted.axes):
        names = [queries.right[of][at] for of, at in places]
        rolled = _counted(names, place, sizes)
        before = (rolled + parted.shifts[axis]) % prod(sizes[name] for name in names)
        yield before < cast(int, parted.domain.shift[axis])


def _of_window(mask: ScoreTree, queries: Factors, parted: Parted) -> ScoreTree | None:
    """Return the mask by the number of the window instead of `b`; none if it reads more of `b`."""
    batch = queries.right[BATCH]
    others = len(parted.batch)
    if parted.batch != tuple(range(others)):
        return None
    windows = prod(cast(int, queries.sizes[name]) for name in batch[others:])

    def numbered(part: ScoreTree) -> ScoreTree:
        match part:
            case Coordinate("b") if not others:
                return _WINDOW
            case Apply("mod", (Coordinate("b"), Constant(int(count)))) if windows % count == 0:
                return replace(part, arguments=(_WINDOW, Constant(count)))
        return part

    tree = scorelang.replaced(scorelang.simplify(mask), numbered)
    return None if "b" in scorelang.coordinates(tree) else tree


_WINDOW = Coordinate("window")


# What a mask reads ------------------------------------------------------------------------


def _is_table(tree: Load, tables: Tables, regions: Regions) -> bool:
    windows, slots = (1 + max(each) for each in zip(*regions, strict=True))
    own = [[regions[window, slot] for slot in range(slots)] for window in range(windows)]
    region = torch.tensor(own)
    same = (region[:, :, None] == region[:, None]).all(-1)
    table = tables[tree.tensor]
    match tree.indices:
        case (first, Coordinate("i"), Coordinate("j")) if _is_number(first, windows):
            return table.dtype == torch.bool and torch.equal(table, same)
    return False


def _is_number(tree: ScoreTree, windows: int) -> bool:
    return tree in (_WINDOW, Apply("mod", (_WINDOW, Constant(windows)), "int"))


def _conditions(tree: ScoreTree) -> Iterator[ScoreTree]:
    match tree:
        case Apply("and", arguments):
            for each in arguments:
                yield from _conditions(each)
        case _:
            yield tree


def _side(condition: ScoreTree) -> ScoreTree | None:
    """Return what must be the same of query and key, as a tree of the query."""
    match condition:
        case Apply("eq", (one, other)) if one.type == "int":
            query, key = (one, other) if "i" in scorelang.coordinates(one) else (other, one)
            if scorelang.replaced(query, _of_key) == key and "j" not in scorelang.coordinates(
                query
            ):
                return query
    return None


def _of_key(part: ScoreTree) -> ScoreTree:
    return Coordinate("j") if part == Coordinate("i") else part


def _are_labels(sides: list[ScoreTree], tables: Tables, regions: Regions) -> bool:
    """Say whether tokens of a window have the same labels where they are of one region only."""
    lists = {name: table.tolist() for name, table in tables.items()}
    pairs = {
        (window, tuple(_value(side, window, slot, lists) for side in sides), region)
        for (window, slot), region in regions.items()
    }
    labels = {(window, label) for window, label, _ in pairs}
    return len(pairs) == len(labels) == len({(window, region) for window, _, region in pairs})


def _value(tree: ScoreTree, window: int, slot: int, tables: Mapping[str, object]) -> object:
    match tree:
        case Constant(value):
            return value
        case Coordinate(name):
            return window if name == "window" else slot
        case Apply(function, arguments):
            found = [_value(each, window, slot, tables) for each in arguments]
            return FUNCTIONS[function].value(*found)
        case Load(name, indices):
            item = tables[name]
            for index in indices:
                item = cast(list[object], item)[cast(int, _value(index, window, slot, tables))]
            return item
    raise TypeError(f"{tree} has no value at compile time")


# Tables -----------------------------------------------------------------------------------


def _table(value: Value, block: Block) -> Tensor | None:
    """Return a tensor of integers or truth values that depends on no input and no weight."""
    nodes: dict[Node, None] = {}
    if not _is_known(value, block, nodes):
        return None
    ordered = tuple(node for node in block.body.nodes if node in nodes)
    body = Body("table", None, {}, {}, ordered, value)
    unit = Translator(Units(), body, is_top=True).unit(value)
    return cast(Tensor, fx.GraphModule(nn.Module(), unit.graph)())


def _is_known(value: Value, block: Block, nodes: dict[Node, None]) -> bool:
    """Collect the nodes that compute a table; say whether all are exact and read no input."""
    node = block.makers.get(value)
    if node is None or node.op not in TABLE or node.module is not None or node.train:
        return False
    if any(each.type.dtype not in ("int", "bool") for each in node.results):
        return False
    if any(not isinstance(size, int) for each in node.results for size in each.shape):
        return False
    nodes[node] = None
    return all(_is_known(each, block, nodes) for each in values(node.args))

"""Routed regions as blocks: a region of queries sees the regions that an index names for it.

Launchers put the rows of the index in order, and turn it around: which rows name a region.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import mul

from attnc.backends.triton.layouts import SLOT, Layout, Run, View, Views, on_grid
from attnc.dsl.attention import Coordinate, Load, RoutedRegions, ScoreTree
from attnc.dsl.dims import Shape, Size
from attnc.dsl.scorelang import make, replaced, simplify, size_tree


@dataclass(frozen=True, slots=True)
class Derived:
    """An int tensor that launchers make of a captured one.

    Attributes:
        tensor: what trees call it; `stem` ends the name in generated code.
        of: the captured tensor.
        stem: see above.
        shape: its sizes.
        turned: whether it serves keys alone, in the backward pass.
    """

    tensor: str
    of: str
    stem: str
    shape: Shape
    turned: bool


def route_views(domain: RoutedRegions) -> Views:
    """Return the views of regions on a known grid."""
    grid = domain.grid
    assert grid is not None, f"{domain} has no grid"
    index, cut = domain.index, partial(_regions, regions=domain.regions)
    once = replace(index, tensor=once_name(index.tensor))
    starts, rows = (replace(index, tensor=name(index.tensor)) for name in (starts_name, rows_name))
    block = Coordinate("block")
    queries, keys = cut(grid.queries), cut(grid.keys)
    chosen = _at(once, block, _part(keys))
    seen = _through(
        keys, chosen, size_tree(domain.chosen * keys.slots),
        domain.chosen * keys.slots, "Regions that the index names",
    )  # fmt: skip
    named = make("ge", chosen, size_tree(0))  # not again
    first = _at(starts, block)
    count = make("sub", _at(starts, make("add", block, size_tree(1))), first)
    seer = _at(rows, make("add", first, _part(queries)))
    seeing = _through(
        queries, seer, make("mul", count, size_tree(queries.slots)),
        queries.blocks * queries.slots, "Regions whose row of the index names this one",
    )  # fmt: skip
    seen = replace(seen, conditions=(named,))
    return Views(View((queries,), (seen,), exact=True), View((keys,), (seeing,), exact=True))


def derived_of(domain: RoutedRegions, shape: Shape) -> Iterator[Derived]:
    """Yield what launchers make of an index of a given shape."""
    tensor, count = domain.index.tensor, reduce(mul, domain.regions, 1)
    outer, chosen = shape[:-2], shape[-1]
    yield Derived(once_name(tensor), tensor, "once", shape, False)
    yield Derived(starts_name(tensor), tensor, "starts", (*outer, count + 1), True)
    yield Derived(rows_name(tensor), tensor, "rows", (*outer, count * chosen), True)


def once_name(tensor: str) -> str:
    """Return what trees call an index whose rows are in order, -1 for what is named again."""
    return f"{tensor} once"


def starts_name(tensor: str) -> str:
    """Return what trees call the starts of runs of rows that name the same region."""
    return f"{tensor} starts"


def rows_name(tensor: str) -> str:
    """Return what trees call those rows, run by run."""
    return f"{tensor} rows"


def _regions(shape: Shape, regions: Shape) -> Layout:
    runs = []
    for length, count in zip(shape, regions, strict=True):
        side = length // count
        runs.append(Run(count, side, partial(_times, factor=side), 1, length))
    return on_grid(runs, "Regions")


def _through(
    layout: Layout, region: ScoreTree, count: ScoreTree, most: Size, meaning: str
) -> Layout:
    """Return the slots of several regions of a layout, one after the other.

    Args:
        layout: of the tokens by region.
        region: the number of that which holds a slot.
        count: slots of all of them, `most` of any block.
        most: see there.
        meaning: for docstrings.
    """
    inner = make("mod", SLOT, size_tree(layout.slots))

    def change(part: ScoreTree) -> ScoreTree:
        if part == Coordinate("block"):
            return make("max", region, size_tree(0))
        return inner if part == SLOT else part

    places = tuple(simplify(replaced(place, change)) for place in layout.places)
    return replace(
        layout, slots=most, places=places, conditions=(), extents=(count,), meaning=meaning
    )


def _part(layout: Layout) -> ScoreTree:
    """Return which of several regions holds a slot."""
    return make("floordiv", SLOT, size_tree(layout.slots))


def _at(index: Load, *places: ScoreTree) -> ScoreTree:
    return replace(index, indices=(*index.indices, *places))


def _times(tree: ScoreTree, factor: Size) -> ScoreTree:
    return make("mul", tree, size_tree(factor))

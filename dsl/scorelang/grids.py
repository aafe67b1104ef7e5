"""Tokens in space: grid coordinates as trees of `i` and `j`; what a query sees along an axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import mul

from attnc.dsl.attention import (
    Constant,
    Coordinate,
    Grid,
    Neighborhood,
    Overlapping,
    Sampled,
    ScoreTree,
    Windows,
)
from attnc.dsl.dims import Shape, Size
from attnc.dsl.scorelang.ranges import Interval, decide, whole_range
from attnc.dsl.scorelang.simplify import TRUE, make, size_tree

AXES = "zyx"
"""Names of the axes of a grid, the last axis last."""

GRID_COORDINATES = tuple(f"{token}{axis}" for token in "ij" for axis in AXES)
"""`iz iy ix jz jy jx`: positions of query and key along the axes of their grid."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Along an axis a query sees the keys `start + step * t` for `t` below `number`, if they exist.

    Attributes:
        condition: the same as a bool tree.
        start: int tree of the query; in a frame of its own, as `exists` is.
        step: distance of the keys.
        number: of keys where none is missing: the slots.
        exists: first position of a key, and that after the last one.
        slot: int tree of the pair: which `t` the key is.
    """

    condition: ScoreTree
    start: ScoreTree
    step: Size
    number: Size
    exists: tuple[Size, Size]
    slot: ScoreTree


def grid_coordinates(grid: Grid) -> Mapping[str, ScoreTree]:
    """Return the coordinates of query and key by name: `ix` is `i % width`."""
    shapes = {"i": grid.queries, "j": grid.keys}
    return {
        f"{token}{AXES[axis - len(shape)]}": along(token, shape, axis)
        for token, shape in shapes.items()
        for axis in range(len(shape))
    }


def along(token: str, shape: Shape, axis: int) -> ScoreTree:
    """Return the position of token `i` or `j` along an axis of a grid in raster order."""
    tree: ScoreTree = Coordinate(token)
    stride = reduce(mul, shape[axis + 1 :], 1)
    if stride != 1:
        tree = make("floordiv", tree, size_tree(stride))
    return tree if axis == 0 else make("mod", tree, size_tree(shape[axis]))


def ranges(grid: Grid) -> Mapping[str, Interval]:
    """Return what `i` and `j` run over."""
    return {
        "i": whole_range(reduce(mul, grid.queries, 1)),
        "j": whole_range(reduce(mul, grid.keys, 1)),
    }


def reaches(domain: Windows | Neighborhood | Overlapping | Sampled) -> tuple[Reach, ...]:
    """Return what a query sees along each axis of a domain whose grid is known.

    The domain is their product, and slots are counted with the last axis fastest.
    """
    assert domain.grid is not None, f"{domain} has no grid"
    axes = range(len(domain.grid.queries))
    match domain:
        case Windows():
            return tuple(_window(domain, domain.grid, axis) for axis in axes)
        case Neighborhood(edge="clamp"):
            return tuple(_clamped(domain, domain.grid, axis) for axis in axes)
        case Neighborhood():
            return tuple(_truncated(domain, domain.grid, axis) for axis in axes)
        case Overlapping():
            return tuple(_overlapping(domain, domain.grid, axis) for axis in axes)
        case Sampled():
            return tuple(_sampled(domain, domain.grid, axis) for axis in axes)


def query_slots(domain: Windows) -> tuple[ScoreTree, ...]:
    """Return the position of the query in its window along each axis."""
    assert domain.grid is not None, f"{domain} has no grid"
    axes = range(len(domain.grid.queries))
    return tuple(_window_slot(domain, domain.grid, axis, "i") for axis in axes)


# Windows ----------------------------------------------------------------------------------


def window_size(domain: Windows, grid: Grid, axis: int) -> Size:
    """Return the tokens of a window along an axis."""
    size = domain.size[axis]
    return grid.queries[axis] if size is None else size


def window_offset(domain: Windows, grid: Grid, axis: int) -> Size:
    """Return by how much windows of shifted coordinates begin before the first token."""
    if domain.wrap:
        return 0
    return -domain.shift[axis] % (window_size(domain, grid, axis) * domain.dilation[axis])


def _window(domain: Windows, grid: Grid, axis: int) -> Reach:
    size, step = window_size(domain, grid, axis), domain.dilation[axis]
    offset, period = window_offset(domain, grid, axis), size * step
    query, key = (_shifted(domain, grid, axis, token) for token in "ij")
    start = _times(_over(query, period), period)
    same = make("eq", _over(query, period), _over(key, period))
    if step != 1:
        start = make("add", start, make("mod", query, size_tree(step)))
        residues = (make("mod", token, size_tree(step)) for token in (query, key))
        same = make("and", _kept(same, grid), make("eq", *residues))
    return Reach(
        _kept(same, grid), start, step, size, (offset, offset + grid.keys[axis]),
        _window_slot(domain, grid, axis, "j"),
    )  # fmt: skip


def _shifted(domain: Windows, grid: Grid, axis: int, token: str) -> ScoreTree:
    """Return the coordinate in which windows begin at multiples of their length."""
    shape = grid.queries if token == "i" else grid.keys
    tree, shift = along(token, shape, axis), domain.shift[axis]
    if not domain.wrap:
        return make("add", tree, size_tree(window_offset(domain, grid, axis)))
    if shift == 0:
        return tree
    return make("mod", make("sub", tree, size_tree(shift)), size_tree(shape[axis]))


def _window_slot(domain: Windows, grid: Grid, axis: int, token: str) -> ScoreTree:
    size, step = window_size(domain, grid, axis), domain.dilation[axis]
    if domain.size[axis] is None and not domain.wrap and step == 1:
        return _shifted(domain, grid, axis, token)
    within = make("mod", _shifted(domain, grid, axis, token), size_tree(size * step))
    return _over(within, step)


# Neighbourhoods and boxes ----------------------------------------------------------------


def margin(grid: Grid, axis: int) -> Size:
    """Return how far the map of keys reaches beyond that of queries on each side."""
    return (grid.keys[axis] - grid.queries[axis]) // 2


def _truncated(domain: Neighborhood, grid: Grid, axis: int) -> Reach:
    kernel, step = domain.kernel[axis], domain.dilation[axis]
    before = kernel // 2 * step
    query = make("add", along("i", grid.queries, axis), size_tree(margin(grid, axis)))
    key = along("j", grid.keys, axis)
    offset = make("sub", key, query)
    if kernel % 2 == 1:
        near = make("le", make("abs", offset), size_tree(before))
    else:
        near = make(
            "and",
            make("ge", offset, size_tree(-before)),
            make("le", offset, size_tree((kernel - 1) * step - before)),
        )
    start = make("sub", query, size_tree(before))
    return _reach(near, start, step, kernel, key, query, grid, axis)


def _clamped(domain: Neighborhood, grid: Grid, axis: int) -> Reach:
    kernel, step = domain.kernel[axis], domain.dilation[axis]
    query, key = along("i", grid.queries, axis), along("j", grid.keys, axis)
    turn = make("mod", query, size_tree(step)) if step != 1 else size_tree(0)
    # tokens of the query's residue, among which it is number `place`
    length = _over(make("sub", size_tree(grid.keys[axis] + step - 1), turn), step)
    place = make("sub", _over(query, step), size_tree(kernel // 2))
    latest = make("sub", length, size_tree(kernel))
    first = make("max", make("min", place, latest), size_tree(0))
    start = make("add", _times(first, step), turn)
    stop = make("add", start, size_tree(kernel * step))
    return _reach(_inside(start, stop, key), start, step, kernel, key, query, grid, axis)


def _overlapping(domain: Overlapping, grid: Grid, axis: int) -> Reach:
    size, key_size = domain.size[axis], domain.key_size[axis]
    query, key = along("i", grid.queries, axis), along("j", grid.keys, axis)
    before = (key_size - size) // 2 - margin(grid, axis)
    window = _times(_over(query, size), size)
    start = make("sub", window, size_tree(before))
    stop = make("add", window, size_tree(key_size - before))
    return _reach(_inside(start, stop, key), start, 1, key_size, key, query, grid, axis)


def _sampled(domain: Sampled, grid: Grid, axis: int) -> Reach:
    radius, key = domain.radius[axis], along("j", grid.keys, axis)
    corner = make("floor", centre(domain, axis))
    start = make("sub", corner, size_tree(radius))
    stop = make("add", corner, size_tree(radius + 2))
    slot = make("sub", key, start)
    number = 2 * radius + 2
    return Reach(_inside(start, stop, key), start, 1, number, (0, grid.keys[axis]), slot)


def centre(domain: Sampled, axis: int) -> ScoreTree:
    """Return the position around which a query reads, along an axis."""
    return replace(domain.centre, indices=(*domain.centre.indices, Constant(axis)))


def fractions(domain: Sampled) -> tuple[ScoreTree, ...]:
    """Return how far behind a whole position the centre lies, along each axis."""
    positions = [centre(domain, axis) for axis in range(len(domain.radius))]
    return tuple(make("sub", each, make("floor", each)) for each in positions)


def _inside(start: ScoreTree, stop: ScoreTree, key: ScoreTree) -> ScoreTree:
    return make("and", make("ge", key, start), make("lt", key, stop))


def _reach(
    near: ScoreTree,
    start: ScoreTree,
    step: Size,
    number: Size,
    key: ScoreTree,
    query: ScoreTree,
    grid: Grid,
    axis: int,
) -> Reach:
    if step != 1:
        apart = make("mod", make("sub", key, query), size_tree(step))
        near = make("and", near, make("eq", apart, size_tree(0)))
    slot = _over(make("sub", key, start), step)
    return Reach(_kept(near, grid), start, step, number, (0, grid.keys[axis]), slot)


def _kept(condition: ScoreTree, grid: Grid) -> ScoreTree:
    """Return the condition; true where it holds on the whole grid."""
    return TRUE if decide(condition, ranges(grid)) else condition


def _over(tree: ScoreTree, size: Size) -> ScoreTree:
    return tree if size == 1 else make("floordiv", tree, size_tree(size))


def _times(tree: ScoreTree, size: Size) -> ScoreTree:
    return make("mul", tree, size_tree(size))

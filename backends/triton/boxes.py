"""Neighbourhoods and overlapping windows as blocks: a box of tokens, and the box that it sees.

Tokens a dilation apart form grids of their own; a box holds tokens of one of them, so that what it
sees lies as close.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from attnc.backends.triton.layouts import Run, View, Views, on_grid
from attnc.backends.triton.local import Anchor, slot_of
from attnc.dsl.attention import Grid, Neighborhood, Overlapping, ScoreTree
from attnc.dsl.dims import Shape, Size
from attnc.dsl.scorelang import make, size_tree
from attnc.dsl.scorelang.grids import along, margin

SIDES: dict[int, Shape] = {1: (64,), 2: (8, 8), 3: (4, 4, 4)}
"""Tokens of a box along the axes of a grid: a tile of most cards, as round as can be."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """A domain along one axis: a query at `p` sees keys `p + before + step * t`, t below `number`.

    Attributes:
        side: tokens of a box of queries; `key_side` of keys.
        step: distance of tokens in boxes.
        queries: length of the axis; `keys` likewise.
        seen: what a box of queries sees; `seeing` what sees a box of keys.
    """

    side: Size
    step: Size
    queries: Size
    keys: Size
    seen: _Hull
    seeing: _Hull


@dataclass(frozen=True, slots=True)
class _Hull:
    """A run of tokens of the other side along an axis.

    Attributes:
        size: tokens.
        shift: first token, from the first of the box; none where `start` says.
        start: tree of the first token, of the block along the axis.
        extent: tokens that there are, where that depends on the block.
    """

    size: Size
    shift: Size | None = None
    start: Callable[[ScoreTree], ScoreTree] | None = None
    extent: Callable[[ScoreTree], ScoreTree] | None = None


def box_views(domain: Neighborhood | Overlapping) -> Views:
    """Return the views of a domain on a known grid."""
    axes = list(_axes(domain))
    grid = domain.grid
    assert grid is not None, f"{domain} has no grid"
    queries = on_grid([_run(a.side, a.step, a.queries) for a in axes], _boxes(axes, "queries"))
    keys = on_grid([_run(a.side, a.step, a.keys) for a in axes], _boxes(axes, "keys"))
    seen = on_grid([_hull(a, a.seen, a.queries, a.keys) for a in axes], "What a box sees")
    seeing = on_grid([_hull(a, a.seeing, a.keys, a.queries) for a in axes], "What sees a box")
    exact = isinstance(domain, Overlapping)
    return Views(View((queries,), (seen,), exact), View((keys,), (seeing,), exact=False))


def box_anchors(
    domain: Neighborhood | Overlapping,
) -> tuple[tuple[Anchor, ...], tuple[Anchor, ...]]:
    """Return what is known of positions from the boxes of queries, and from those of keys."""
    axes, grid = list(_axes(domain)), domain.grid
    assert grid is not None, f"{domain} has no grid"
    by_query = [(a.side, 0) for a in axes], [(a.seen.size, a.seen.shift) for a in axes]
    by_key = [(a.seeing.size, a.seeing.shift) for a in axes], [(a.side, 0) for a in axes]
    found = []
    for queries, keys in (by_query, by_key):
        sides = (("i", grid.queries, queries), ("j", grid.keys, keys))
        found.append(
            tuple(anchor for each in sides for anchor in _anchors(*each, [a.step for a in axes]))
        )
    return found[0], found[1]


def _anchors(
    token: str, shape: Shape, slots: Sequence[tuple[Size, Size | None]], steps: Sequence[Size]
) -> Iterator[Anchor]:
    sizes = tuple(size for size, _ in slots)
    for axis, (_, shift) in enumerate(slots):
        if shift is not None:
            slot, tree = slot_of(token, sizes, axis), along(token, shape, axis)
            yield Anchor(tree, f"axis {axis}", shift, steps[axis], slot)


def _axes(domain: Neighborhood | Overlapping) -> Iterator[_Axis]:
    grid = domain.grid
    assert grid is not None, f"{domain} has no grid"
    for axis in range(len(grid.queries)):
        match domain:
            case Overlapping():
                yield _overlapping(domain, grid, axis)
            case Neighborhood(edge="clamp"):
                yield _clamped(domain, grid, axis)
            case Neighborhood():
                yield _truncated(domain, grid, axis)


def _overlapping(domain: Overlapping, grid: Grid, axis: int) -> _Axis:
    side, key_side = domain.size[axis], domain.key_size[axis]
    before = (key_side - side) // 2 - margin(grid, axis)
    # windows, counted from that of the same number, whose keys reach into a run of `side` keys
    first, last = (before - key_side + side) // side, (side - 1 + before) // side
    return _Axis(
        side, 1, grid.queries[axis], grid.keys[axis],
        _Hull(key_side, -before), _Hull((last - first + 1) * side, first * side),
    )  # fmt: skip


def _truncated(domain: Neighborhood, grid: Grid, axis: int) -> _Axis:
    kernel, step = domain.kernel[axis], domain.dilation[axis]
    before = margin(grid, axis) - kernel // 2 * step
    side = _side(grid, axis, step)
    size = side - 1 + kernel
    return _Axis(
        side, step, grid.queries[axis], grid.keys[axis],
        _Hull(size, before), _Hull(size, -before - (kernel - 1) * step),
    )  # fmt: skip


def _clamped(domain: Neighborhood, grid: Grid, axis: int) -> _Axis:
    """Near an edge the neighbourhood stands still, and keys there are seen from farther away."""
    kernel, step, tokens = domain.kernel[axis], domain.dilation[axis], grid.keys[axis]
    side = _side(grid, axis, step)

    def parts(block: ScoreTree) -> tuple[ScoreTree, ScoreTree, ScoreTree]:
        """Return the grid of a block along the axis, its length, and the first place there."""
        turn = size_tree(0) if step == 1 else make("mod", block, size_tree(step))
        length = _over(make("sub", size_tree(tokens + step - 1), turn), step)
        return turn, length, make("mul", _over(block, step), size_tree(side))

    def first_key(block: ScoreTree) -> ScoreTree:
        turn, length, place = parts(block)
        latest = make("sub", length, size_tree(kernel))
        first = make("min", make("sub", place, size_tree(kernel // 2)), latest)
        return _placed(make("max", first, size_tree(0)), turn, step)

    def bounds(block: ScoreTree) -> tuple[ScoreTree, ScoreTree]:
        _, length, place = parts(block)
        low = make("sub", place, size_tree(kernel - kernel // 2 - 1))
        low = make("where", make("lt", place, size_tree(kernel)), size_tree(0), low)
        end = make("add", place, size_tree(side))  # behind the last key of the box
        beyond = make("gt", end, make("sub", length, size_tree(kernel)))
        high = make("add", end, size_tree(kernel // 2))
        return low, make("where", beyond, length, high)

    def first_query(block: ScoreTree) -> ScoreTree:
        return _placed(bounds(block)[0], parts(block)[0], step)

    def count(block: ScoreTree) -> ScoreTree:
        low, high = bounds(block)
        return make("max", make("sub", high, low), size_tree(1))

    most = side + 2 * kernel
    return _Axis(
        side, step, tokens, tokens,
        _Hull(side - 1 + kernel, start=first_key), _Hull(most, start=first_query, extent=count),
    )  # fmt: skip


def _run(side: Size, step: Size, length: Size) -> Run:
    count = -(-length // (side * step)) * step
    return Run(count, side, lambda block: _box_start(block, side, step), step, length)


def _hull(axis: _Axis, hull: _Hull, own: Size, length: Size) -> Run:
    def start(block: ScoreTree) -> ScoreTree:
        if hull.start is not None:
            return hull.start(block)
        first = _box_start(block, axis.side, axis.step)
        return make("add", first, size_tree(hull.shift or 0))

    count = _run(axis.side, axis.step, own).count
    return Run(count, hull.size, start, axis.step, length, extent=hull.extent)


def _box_start(block: ScoreTree, side: Size, step: Size) -> ScoreTree:
    turn = size_tree(0) if step == 1 else make("mod", block, size_tree(step))
    return make("add", make("mul", _over(block, step), size_tree(side * step)), turn)


def _placed(place: ScoreTree, turn: ScoreTree, step: Size) -> ScoreTree:
    """Return the position of a place in the grid of tokens `step` apart."""
    return make("add", make("mul", place, size_tree(step)), turn)


def _side(grid: Grid, axis: int, step: Size) -> Size:
    side, length = SIDES[len(grid.queries)][axis], grid.queries[axis]
    if isinstance(length, int) and isinstance(step, int) and isinstance(side, int):
        return min(side, -(-length // step))
    return side


def _over(tree: ScoreTree, step: Size) -> ScoreTree:
    return tree if step == 1 else make("floordiv", tree, size_tree(step))


def _boxes(axes: Sequence[_Axis], what: str) -> str:
    return f"Boxes of {' * '.join(str(axis.side) for axis in axes)} {what}"

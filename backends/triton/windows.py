"""Windows, stripes and dilated groups as blocks: each sees itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnc.backends.triton.layouts import Layout, Run, View, Views, on_grid
from attnc.backends.triton.local import Anchor, slot_of
from attnc.dsl.attention import Grid, ScoreTree, Windows
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import at_least, make, size_tree
from attnc.dsl.scorelang.grids import along, query_slots, reaches, window_offset, window_size


def window_views(domain: Windows) -> Views:
    """Return the views of windows on a known grid, the same for queries and keys."""
    view = View((window_layout(domain),), (window_layout(domain),), exact=True)
    return Views(view, view)


def window_layout(domain: Windows) -> Layout:
    """Return the tokens by window."""
    grid = domain.grid
    assert grid is not None, f"{domain} has no grid"
    axes = range(len(grid.queries))
    sizes = [window_size(domain, grid, axis) for axis in axes]
    meaning = f"Windows of {' * '.join(map(str, sizes))}"
    return on_grid([_run(domain, grid, axis) for axis in axes], meaning)


def _run(domain: Windows, grid: Grid, axis: int) -> Run:
    size, step, length = window_size(domain, grid, axis), domain.dilation[axis], grid.queries[axis]
    offset, period = window_offset(domain, grid, axis), size * step

    def start(block: ScoreTree) -> ScoreTree:
        first = make("mul", block, size_tree(period))
        if step != 1:  # windows of one stretch of `period` tokens interleave
            stretch = make("floordiv", block, size_tree(step))
            first = make("mul", stretch, size_tree(period))
            first = make("add", first, make("mod", block, size_tree(step)))
        return make("sub", first, size_tree(offset))

    turn = domain.shift[axis] if domain.wrap else None
    return Run(_ceil(length + offset, period) * step, size, start, step, length, turn)


def _ceil(size: Size, divisor: Size) -> Size:
    return (size + divisor - 1) // divisor


def window_anchors(domain: Windows) -> tuple[Anchor, ...]:
    """Return what is known of positions in windows, for queries and keys."""
    grid = domain.grid
    assert grid is not None, f"{domain} has no grid"
    sizes = tuple(window_size(domain, grid, axis) for axis in range(len(grid.queries)))
    slots = {"i": query_slots(domain), "j": tuple(each.slot for each in reaches(domain))}
    found: list[Anchor] = []
    for axis, step in enumerate(domain.dilation):
        for token in "ij":
            slot = slot_of(token, sizes, axis)
            found.append(Anchor(slots[token][axis], "", 0, 1, slot))
            base = f"axis {axis}"
            found += _positions(domain, grid, axis, token, Anchor(slot, base, 0, step, slot))
    return tuple(found)


def _positions(
    domain: Windows, grid: Grid, axis: int, token: str, known: Anchor
) -> Iterator[Anchor]:
    """Yield the position of a token along an axis, as far as windows do not break it.

    Positions on a ring that begins where a window does are as good as those on the map itself.
    """
    at, shift, length = along(token, grid.queries, axis), domain.shift[axis], grid.queries[axis]
    if not domain.wrap or shift == 0:
        yield replace(known, tree=at)
    if domain.wrap or at_least(length, shift):
        turned = make("mod", make("sub", at, size_tree(shift)), size_tree(length))
        yield replace(known, tree=turned, base=f"turned {known.base}")

"""Conditions, slots and counts of domains against plain enumeration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.compiler.domain_pairs import DomainPairs
from attnc.compiler.pairs import pairs, pairs_by_heads
from attnc.dsl.attention import (
    Among,
    Apply,
    Band,
    Blocks,
    Causal,
    Constant,
    Coordinate,
    Domain,
    Dot,
    Grid,
    Groups,
    Load,
    Neighborhood,
    Overlapping,
    PerHeads,
    RoutedKeys,
    RoutedRegions,
    ScoreTree,
    Source,
    Where,
    Windows,
)
from attnc.dsl.dims import Shape, symbol
from attnc.dsl.scorelang import (
    FUNCTIONS,
    classify,
    condition,
    every_row_has_key,
    key_count,
    make,
    slot,
    text,
    with_trees,
)
from attnc.dsl.scorelang.domains import query_slot

Tensors = Mapping[str, object]
BATCH, HEAD, QUERY, KEY = (Coordinate(name) for name in "bhij")


def value(tree: ScoreTree, at: Mapping[str, int], tensors: Tensors | None = None) -> int | bool:
    """Evaluate a tree of ints at one pair."""
    match tree:
        case Constant(number):
            return number  # type: ignore[return-value]
        case Coordinate(name):
            return at[name]
        case Load(name, indices):
            found = (tensors or {})[name]
            for index in indices:
                found = found[value(index, at, tensors)]  # type: ignore[index]
            return found  # type: ignore[return-value]
        case Among(inner, row, _):
            return value(inner, at, tensors) in value(row, at, tensors)  # type: ignore[operator]
        case Apply(function, arguments):
            parts = [value(part, at, tensors) for part in arguments]
            return FUNCTIONS[function].value(*parts)  # type: ignore[return-value]
    raise AssertionError(tree)


def seen(
    domain: Domain, n: int, m: int, tensors: Tensors | None = None, h: int = 0
) -> set[tuple[int, int]]:
    """Return the pairs that the condition allows."""
    tree = condition(domain)
    return {
        (i, j)
        for i, j in product(range(n), range(m))
        if tree is None or value(tree, {"b": 0, "h": h, "i": i, "j": j}, tensors)
    }


def check(domain: Domain, grid: Grid, expected: set[tuple[int, int]]) -> None:
    """Check condition, count and, row by row, the order of slots."""
    n, m = (size(shape) for shape in (grid.queries, grid.keys))
    assert seen(domain, n, m) == expected
    count, position = key_count(domain, grid), slot(domain)
    assert count is not None and position is not None
    for i in range(n):
        keys = [j for query, j in sorted(expected) if query == i]
        assert value(count, {"i": i, "h": 0}) == len(keys)
        slots = [value(position, {"i": i, "j": j, "h": 0}) for j in keys]
        assert len(set(slots)) == len(slots)
        assert all(place >= 0 for place in slots)
    counted = pairs(Source(domain, Dot()), n, m).count({})
    assert counted == len(expected)
    if every_row_has_key(Source(domain, Dot()), n, m):
        assert {i for i, _ in expected} == set(range(n))


def size(shape: Shape) -> int:
    total = 1
    for each in shape:
        assert isinstance(each, int)
        total *= each
    return total


def tokens(shape: Shape) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield each token with its coordinates, in raster order."""
    yield from enumerate(product(*(range(size((each,))) for each in shape)))


def along_axes(grid: Grid, allowed: Callable[[int, int, int], bool]) -> set[tuple[int, int]]:
    """Return the pairs that `allowed(axis, y, y')` along every axis."""
    return {
        (i, j)
        for i, query in tokens(grid.queries)
        for j, key in tokens(grid.keys)
        if all(allowed(axis, y, z) for axis, (y, z) in enumerate(zip(query, key, strict=True)))
    }


def square(shape: Shape) -> Grid:
    return Grid(shape, shape)


SHAPES = st.sampled_from([(1,), (7,), (10,), (4, 5), (5, 3), (1, 4), (2, 3, 2)])
SETTINGS = settings(max_examples=40, deadline=None)


# Windows ----------------------------------------------------------------------------------


@SETTINGS
@given(SHAPES, st.integers(1, 5), st.integers(0, 6), st.integers(1, 3))
def test_windows_cut_each_axis_at_the_shift(
    shape: tuple[int, ...], side: int, shift: int, step: int
) -> None:
    def window(y: int) -> int:
        return sum((cut - shift) % (side * step) == 0 for cut in range(1, y + 1))

    def allowed(axis: int, y: int, z: int) -> bool:
        return window(y) == window(z) and (z - y) % step == 0

    grid = square(shape)
    rank = len(shape)
    domain = Windows((side,) * rank, (shift,) * rank, (step,) * rank, False, grid)
    check(domain, grid, along_axes(grid, allowed))


@SETTINGS
@given(st.sampled_from([(6,), (8, 4), (4, 6)]), st.integers(0, 3))
def test_shifted_windows_are_rolled_windows_with_or_without_their_regions(
    shape: tuple[int, ...], shift: int
) -> None:
    """As Swin does: number the windows of the rolled map, and the regions that were together."""
    side, rank, grid = 2, len(shape), square(shape)
    shift = shift % side

    def region(rolled: int, length: int) -> int:
        return (rolled >= length - side) + (rolled >= length - shift)

    def window(axis: int, y: int) -> int:
        return (y - shift) % shape[axis] // side

    def kept(axis: int, y: int, z: int) -> bool:
        length = shape[axis]
        regions = [region((each - shift) % length, length) for each in (y, z)]
        return window(axis, y) == window(axis, z) and regions[0] == regions[1]

    sizes, shifts, steps = (side,) * rank, (shift,) * rank, (1,) * rank
    check(Windows(sizes, shifts, steps, False, grid), grid, along_axes(grid, kept))
    wrapped = along_axes(grid, lambda axis, y, z: window(axis, y) == window(axis, z))
    check(Windows(sizes, shifts, steps, True, grid), grid, wrapped)


def test_slots_and_query_slots_run_row_by_row() -> None:
    grid = square((4, 6))
    domain = Windows((2, 3), (0, 0), (1, 1), False, grid)
    position, own = slot(domain), query_slot(domain)
    assert position is not None and own is not None
    for j, (y, x) in tokens((4, 6)):
        assert value(position, {"i": 0, "j": j}) == y % 2 * 3 + x % 3
        assert value(own, {"i": j}) == y % 2 * 3 + x % 3


def test_windows_over_a_whole_axis_leave_it_out() -> None:
    grid = square((4, 6))
    stripe = Windows((None, 2), (0, 0), (1, 1), False, grid)
    assert text(condition(stripe) or Constant(True)) == "i % 6 // 2 == j % 6 // 2"
    assert condition(Windows((4, 6), (0, 0), (1, 1), False, grid)) is None
    check(stripe, grid, along_axes(grid, lambda axis, y, z: axis == 0 or y // 2 == z // 2))


# Neighbourhoods ---------------------------------------------------------------------------


@SETTINGS
@given(SHAPES, st.integers(1, 5), st.integers(1, 3))
def test_truncated_neighbourhoods_lose_keys_beyond_the_edge(
    shape: tuple[int, ...], kernel: int, step: int
) -> None:
    taps = [step * (tap - kernel // 2) for tap in range(kernel)]
    grid = square(shape)
    rank = len(shape)
    domain = Neighborhood((kernel,) * rank, "truncate", (step,) * rank, grid)
    check(domain, grid, along_axes(grid, lambda axis, y, z: z - y in taps))


@SETTINGS
@given(SHAPES, st.integers(1, 5), st.integers(1, 3))
def test_clamped_neighbourhoods_keep_all_keys_where_there_are_as_many(
    shape: tuple[int, ...], kernel: int, step: int
) -> None:
    def allowed(axis: int, y: int, z: int) -> bool:
        row = list(range(y % step, shape[axis], step))
        place = row.index(y)
        start = max(0, min(place - kernel // 2, len(row) - kernel))
        return z in row[start : start + kernel]

    grid = square(shape)
    rank = len(shape)
    domain = Neighborhood((kernel,) * rank, "clamp", (step,) * rank, grid)
    check(domain, grid, along_axes(grid, allowed))


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_neighbourhood_on_a_padded_map_counts_the_padding(kernel: int) -> None:
    grid = Grid((4, 5), (4 + kernel - 1, 5 + kernel - 1))
    domain = Neighborhood((kernel, kernel), "truncate", (1, 1), grid)
    check(domain, grid, along_axes(grid, lambda axis, y, z: 0 <= z - y < kernel))
    count = key_count(domain, grid)
    assert count == Constant(kernel * kernel)


# Overlapping windows ----------------------------------------------------------------------


@SETTINGS
@given(SHAPES, st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_overlapping_windows_see_a_box_around_the_window(
    shape: tuple[int, ...], side: int, more: int, padded: bool
) -> None:
    outer, before = side + 2 * more, 0 if padded else more
    keys = tuple(each + 2 * more for each in shape) if padded else shape
    grid = Grid(shape, keys)

    def allowed(axis: int, y: int, z: int) -> bool:
        return 0 <= z - (y // side * side - before) < outer

    domain = Overlapping((side,) * len(shape), (outer,) * len(shape), grid)
    check(domain, grid, along_axes(grid, allowed))


# By index ---------------------------------------------------------------------------------


def test_groups_compare_the_numbers_of_query_and_key() -> None:
    tensors = {"g": [[0, 1, 1, 2]], "c": [1, 0]}
    domain = Groups(Load("g", (BATCH, QUERY), "int"), Load("c", (KEY,), "int"))
    assert seen(domain, 4, 2, tensors) == {(0, 1), (1, 0), (2, 0)}
    assert not every_row_has_key(Source(domain, Dot()), 4, 2)
    own = Groups(Load("g", (BATCH, QUERY), "int"), Load("g", (BATCH, KEY), "int"))
    assert every_row_has_key(Source(own, Dot()), 4, 4)


def test_blocks_are_runs_of_given_lengths() -> None:
    domain = Blocks((2, 3, 1), (1, 4, 2))
    grid = Grid((6,), (7,))
    runs = [((0, 2), (0, 1)), ((2, 5), (1, 5)), ((5, 6), (5, 7))]
    expected = {(i, j) for queries, keys in runs for i in range(*queries) for j in range(*keys)}
    check(domain, grid, expected)


def test_routed_regions_see_all_tokens_of_the_regions_chosen() -> None:
    grid, route = Grid((4, 6), (2, 2)), [[[3], [0], [1], [1]]]
    domain = RoutedRegions(Load("r", (BATCH,), "int"), 1, (2, 2), grid)
    expected = {
        (i, j)
        for i, (y, x) in tokens(grid.queries)
        for j, (z, u) in tokens(grid.keys)
        if z * 2 + u in route[0][y // 2 * 2 + x // 3]
    }
    assert seen(domain, 24, 4, {"r": route}) == expected
    assert text(condition(domain) or Constant(True)).endswith(
        "in r[b, i // 6 // 2 * 2 + i % 6 // 3]"
    )
    assert pairs(Source(domain, Dot()), 24, 4).count({}) == len(expected)


def test_routed_keys_see_those_of_the_index() -> None:
    keep = [[[[0, 2], [1, 2], [0, 1]]]]
    domain = RoutedKeys(Load("keep", (BATCH, HEAD), "int"), 2, square((3,)))
    assert seen(domain, 3, 3, {"keep": keep}) == {(0, 0), (0, 2), (1, 1), (1, 2), (2, 0), (2, 1)}
    assert text(condition(domain) or Constant(True)) == "j in keep[b, h, i]"
    assert pairs(Source(domain, Dot()), 3, 3).count({}) == 6


# Bands in other spellings -----------------------------------------------------------------

LINEAR = {
    "2 * j <= 2 * i + 5": make(
        "le",
        make("mul", KEY, Constant(2)),
        make("add", make("mul", QUERY, Constant(2)), Constant(5)),
    ),
    "3 * i < 3 * j + 7": make(
        "lt",
        make("mul", QUERY, Constant(3)),
        make("add", make("mul", KEY, Constant(3)), Constant(7)),
    ),
    **{
        f"(i - j) // 4 {function} 1": make(
            function, make("floordiv", make("sub", QUERY, KEY), Constant(4)), Constant(1)
        )
        for function in ("le", "lt", "ge", "gt", "eq")
    },
}


@pytest.mark.parametrize("spelling", LINEAR)
def test_what_is_linear_in_query_and_key_is_a_band(spelling: str) -> None:
    tree = LINEAR[spelling]
    band = classify(tree)
    assert band is not None
    sides = [None if side is None else value(side, {}) for side in (band.left, band.right)]
    for i, j in product(range(12), range(12)):
        inside = sides[0] is None or i - sides[0] <= j
        inside = inside and (sides[1] is None or j <= i + sides[1])
        assert inside == value(tree, {"i": i, "j": j})


def test_streams_of_different_rate_are_no_band() -> None:
    late = make("floordiv", KEY, Constant(4)), make("floordiv", QUERY, Constant(2))
    assert classify(make("le", *late)) is None
    assert classify(make("le", KEY, make("mul", QUERY, Constant(2)))) is None


# By heads ---------------------------------------------------------------------------------


def test_groups_of_heads_have_domains_of_their_own() -> None:
    grid = square((6,))
    parts = (
        Windows((2,), (0,), (1,), False, grid),
        Causal(),
        Windows((6,), (0,), (1,), False, grid),
    )
    domain = PerHeads(parts, 6)
    counted = pairs_by_heads(Source(domain, Dot()), 6, 6)
    for h in range(6):
        alone = seen(parts[h // 2], 6, 6)
        assert seen(domain, 6, 6, h=h) == alone
        assert counted[h // 2].count({}) == len(alone)
        count = key_count(domain, grid)
        assert count is not None
        assert sum(value(count, {"i": i, "h": h}) for i in range(6)) == len(alone)
    assert slot(domain) is None


def test_counts_of_bands_end_at_the_edges() -> None:
    grid = Grid((7,), (5,))
    check(Band(2, 1), grid, {(i, j) for i, j in product(range(7), range(5)) if -2 <= j - i <= 1})


def test_trees_inside_domains_can_be_changed() -> None:
    grid = square((4,))
    keys = RoutedKeys(Load("keep", (BATCH,), "int"), 2, grid)
    domain = PerHeads((keys, Where(Load("mask", (KEY,), "bool"))), 2)

    def renamed(tree: ScoreTree) -> ScoreTree:
        return (
            Load(f"{tree.tensor}_1", tree.indices, tree.dtype) if isinstance(tree, Load) else tree
        )

    changed = with_trees(domain, renamed)
    shown = text(condition(changed) or Constant(True))
    assert "keep_1[b, i]" in shown and "mask_1[j]" in shown


def test_pairs_stay_symbolic_and_say_what_they_count() -> None:
    h, w = symbol("h"), symbol("w")
    grid = square((h, w))
    domain = Windows((7, 7), (3, 3), (1, 1), False, grid)
    counted = DomainPairs(domain)
    assert str(counted) == "pairs(windows 7*7 on h*w)"
    concrete = Windows((7, 7), (3, 3), (1, 1), False, square((8, 10)))
    assert counted.count({"h": 8, "w": 10}) == len(seen(concrete, 80, 80))
    assert str(DomainPairs(Blocks((2, 3), (4, h)))) == "pairs(2*4 + 3*h)"

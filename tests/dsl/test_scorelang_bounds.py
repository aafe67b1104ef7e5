"""Bands, key ranges and intervals against enumeration of all pairs."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.dsl import scorelang
from attnc.dsl.arithmetic import ArithmeticFault
from attnc.dsl.attention import (
    All,
    Apply,
    Band,
    Causal,
    Constant,
    Coordinate,
    Domain,
    Dot,
    Extent,
    Load,
    ScoreTree,
    Source,
    Where,
)
from attnc.dsl.dims import Size, symbol
from attnc.dsl.scorelang import FUNCTIONS, LinearBand, make

ROW, KEY, HEAD = Coordinate("i"), Coordinate("j"), Coordinate("h")
N, M = symbol("n"), symbol("m")


def number(value: int) -> ScoreTree:
    return Constant(value)


def value(tree: ScoreTree, of: dict[str, int]) -> int:
    """Compute an int or bool tree at one pair; `of` has coordinates and sizes by name."""
    match tree:
        case Constant(int(known)):
            return known
        case Coordinate(name):
            return of[name]
        case Extent(size):
            extent = size if isinstance(size, int) else size.substitute(dict(of))
            assert isinstance(extent, int)
            return extent
        case Apply(function, arguments):
            found = FUNCTIONS[function].value(*(value(part, of) for part in arguments))
            assert isinstance(found, int)
            return found
    raise AssertionError(tree)


def inside(band: LinearBand, i: int, j: int) -> bool:
    left = band.left is None or i - value(band.left, {}) <= j
    right = band.right is None or j <= i + value(band.right, {})
    return left and right


# Bands ------------------------------------------------------------------------------------

offsets = st.integers(-3, 3).map(number)


@st.composite
def inequalities(draw: st.DrawFn) -> ScoreTree:
    """A bound on `i - j` or `j - i` in one of many spellings."""
    one, other = draw(st.permutations([ROW, KEY]))
    left, right = draw(
        st.sampled_from([
            (one, make("add", other, draw(offsets))),
            (make("sub", one, other), draw(offsets)),
            (make("sub", draw(offsets), other), make("neg", one)),
            (make("abs", make("sub", one, other)), number(draw(st.integers(0, 4)))),
            (make("add", make("sub", one, draw(offsets)), draw(offsets)), other),
        ])
    )  # fmt: skip
    if draw(st.booleans()):
        left, right = right, left
    names = ["le", "lt", "ge", "gt", "eq"]
    return scorelang.apply(draw(st.sampled_from(names)), left, right)


@settings(max_examples=150, deadline=None)
@given(st.lists(inequalities(), min_size=1, max_size=3))
def test_a_conjunction_that_is_classified_is_that_band(parts: list[ScoreTree]) -> None:
    condition = parts[0]
    for part in parts[1:]:
        condition = scorelang.apply("and", condition, part)
    band = scorelang.classify(condition)
    for i, j in product(range(-6, 7), repeat=2):
        if band is not None:
            assert inside(band, i, j) == value(condition, {"i": i, "j": j})
    outward = "abs" in str(condition)
    assert band is not None or outward  # |i - j| >= 3 is no band; all else here is


@pytest.mark.parametrize(
    ("domain", "text", "left", "right"),
    [
        (Causal(), "j <= i", None, 0),
        (Causal(M - N), "j <= i + (m - n)", None, M - N),
        (Causal(-2), "j <= i - 2", None, -2),
        (Band(3, 1), "j >= i - 3 and j <= i + 1", 3, 1),
        (Band(N, 0), "j >= i - n and j <= i", N, 0),
    ],
)
def test_domains_and_their_conditions_are_the_same_band(
    domain: Domain, text: str, left: Size | None, right: Size | None
) -> None:
    condition = scorelang.condition(domain)
    assert condition is not None and scorelang.text(condition) == text
    sides = (None if side is None else scorelang.size_tree(side) for side in (left, right))
    expected = LinearBand(*sides)
    assert scorelang.band(domain) == expected
    assert scorelang.classify(condition) == expected
    assert scorelang.band(Where(condition)) == expected


def test_a_window_per_head_is_a_band() -> None:
    window = Load("window", (HEAD,), "int")
    assert scorelang.classify(make("le", make("abs", make("sub", ROW, KEY)), window)) == LinearBand(
        window, window
    )


@pytest.mark.parametrize(
    "condition",
    [
        make("ge", make("floordiv", ROW, number(4)), make("floordiv", KEY, number(4))),
        make("or", make("le", KEY, ROW), make("le", KEY, number(3))),
        make("le", make("mul", KEY, number(2)), ROW),
        make("le", KEY, number(5)),
        make("and", make("le", KEY, ROW), Load("pad", (Coordinate("b"), KEY), "bool")),
        make("ge", make("abs", make("sub", ROW, KEY)), number(3)),
    ],
)
def test_what_is_no_band(condition: ScoreTree) -> None:
    assert scorelang.classify(condition) is None


def test_no_condition() -> None:
    assert scorelang.condition(All()) is None
    assert scorelang.condition(Where(make("eq", ROW, ROW))) is not None
    assert scorelang.condition(Where(make("ge", scorelang.size_tree(N), Extent(N)))) is None
    assert scorelang.band(All()) == LinearBand()
    source = Source(Causal(), Dot(), mask=Load("pad", (KEY,), "bool"))
    allowed = scorelang.allowed(source)
    assert allowed is not None and scorelang.text(allowed) == "j <= i and pad[j]"
    assert scorelang.allowed(Source(All(), Dot())) is None


# Key ranges -------------------------------------------------------------------------------

sides = st.none() | st.integers(-4, 6)


@settings(max_examples=200, deadline=None)
@given(sides, sides, st.integers(0, 9), st.integers(0, 5), st.integers(1, 12))
def test_key_ranges_are_the_closest(
    left: int | None, right: int | None, low: int, more: int, m: int
) -> None:
    band = LinearBand(*(None if side is None else number(side) for side in (left, right)))
    high = low + more
    rows = [[j for j in range(m) if inside(band, i, j)] for i in range(low, high + 1)]
    some = sorted({j for row in rows for j in row})
    every = [j for j in range(m) if all(j in row for row in rows)]
    found = scorelang.key_range(band, low, high, m)
    assert set(some) <= set(range(found.start, found.stop))
    assert list(range(found.full_start, found.full_stop)) == every
    if left is None or right is None or left + right >= 0:
        assert list(range(found.start, found.stop)) == some
    texts = scorelang.key_range_text(band, "low", "high", "m", scorelang.text)
    known = {"low": low, "high": high, "m": m}
    bounds = [eval(text, {}, known) for text in (texts.full_start, texts.full_stop)]
    assert list(range(*bounds)) == every
    assert set(some) <= set(range(eval(texts.start, {}, known), eval(texts.stop, {}, known)))


def test_key_range_text() -> None:
    band = LinearBand(Load("window", (HEAD,), "int"), Extent(N - 1))
    texts = scorelang.key_range_text(
        band, "low", "low + 63", "m", scorelang.text, "tl.minimum({a}, {b})", "tl.maximum({a}, {b})"
    )
    assert texts.start == "tl.maximum(low - window[h], 0)"
    assert texts.stop == "tl.minimum(low + 63 + n, m)"


def test_key_range_of_a_symbolic_side() -> None:
    band = LinearBand(Extent(N), number(0))
    found = scorelang.key_range(band, 9, 10, 20, {"n": 4})
    assert (found.start, found.stop, found.full_start, found.full_stop) == (5, 11, 6, 10)
    with pytest.raises(ValueError, match="not a number"):
        scorelang.key_range(band, 9, 10, 20)


@settings(max_examples=200, deadline=None)
@given(sides, sides, st.integers(1, 6), st.integers(1, 6))
def test_rows_without_a_key_are_foreseen(
    left: int | None, right: int | None, n: int, m: int
) -> None:
    band = LinearBand(*(None if side is None else number(side) for side in (left, right)))
    domain: Domain = All()
    if left is not None or right is not None:
        tests = [
            None if left is None else make("ge", KEY, make("sub", ROW, number(left))),
            None if right is None else make("le", KEY, make("add", ROW, number(right))),
        ]
        domain = Where(next(test for test in tests if test is not None))
        if None not in tests:
            domain = Band(left or 0, right or 0)
    sure = scorelang.every_row_has_key(Source(domain, Dot()), n, m)
    assert sure == all(any(inside(band, i, j) for j in range(m)) for i in range(n))


def test_rows_without_a_key_of_symbolic_sizes() -> None:
    def sure(domain: Domain, n: Size, m: Size, mask: ScoreTree | None = None) -> bool:
        return scorelang.every_row_has_key(Source(domain, Dot(), mask), n, m)

    assert sure(Causal(), N, M)
    assert sure(Causal(N - 1), N, M)
    assert not sure(Causal(M - N), N, M)
    assert sure(Band(2, 2), N, N) and not sure(Band(2, 2), N, M)
    assert sure(Band(N, 0), N, M)
    assert not sure(All(), N, M, Load("pad", (KEY,), "bool"))


# Intervals --------------------------------------------------------------------------------


@st.composite
def int_trees(draw: st.DrawFn, kind: str = "int", depth: int = 3) -> ScoreTree:
    rows = {
        "int": ["add", "sub", "mul", "neg", "floordiv", "mod", "abs", "min", "max", "where"],
        "bool": ["le", "lt", "ge", "gt", "eq", "ne", "and", "or", "not"],
    }
    if kind == "int" and (not depth or draw(st.booleans())):
        leaves = [ROW, KEY, *map(number, (-2, 0, 1, 3)), Extent(N), Extent(N - 1)]
        return draw(st.sampled_from(leaves))
    row = FUNCTIONS[draw(st.sampled_from(rows[kind] if depth else rows[kind][:6]))]
    parts = [
        draw(int_trees("bool" if part == "bool" else "int", depth - 1)) for part in row.arguments
    ]
    return scorelang.apply(row.name, *parts)


RANGES = {"i": scorelang.whole_range(N), "j": scorelang.whole_range(5)}


def values(tree: ScoreTree, n: int) -> list[int]:
    """All values over the pairs of RANGES; those that divide by zero are left out."""
    found = []
    for i, j in product(range(n), range(5)):
        try:
            found.append(value(tree, {"i": i, "j": j, "n": n}))
        except ArithmeticFault:
            continue
    return found


@settings(max_examples=150, deadline=None)
@given(int_trees(), st.integers(1, 6))
def test_intervals_hold_all_values(tree: ScoreTree, n: int) -> None:
    low, high = scorelang.interval(tree, RANGES)
    for found in values(tree, n):
        for bound, sign in ((low, 1), (high, -1)):
            if bound is not None:
                limit = bound if isinstance(bound, int) else bound.substitute({"n": n})
                assert isinstance(limit, int) and sign * (found - limit) >= 0


@settings(max_examples=150, deadline=None)
@given(int_trees("bool"), st.integers(1, 6))
def test_decided_conditions_hold_everywhere(tree: ScoreTree, n: int) -> None:
    decided = scorelang.decide(tree, RANGES)
    if decided is not None:
        assert {bool(found) for found in values(tree, n)} <= {decided}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (make("add", make("sub", ROW, KEY), number(4)), (0, N + 3)),
        (make("sub", make("add", make("sub", ROW, KEY), Extent(N)), number(1)), (N - 5, 2 * N - 2)),
        (make("max", make("min", make("sub", ROW, KEY), number(8)), number(-8)), (-4, 8)),
        (make("mod", ROW, number(3)), (0, 2)),
        (make("floordiv", KEY, number(2)), (0, 2)),
        (make("mul", KEY, number(-2)), (-8, 0)),
        (make("add", make("mul", ROW, number(5)), KEY), (0, 5 * N - 1)),
        (Load("index", (ROW,), "int"), (None, None)),
    ],
)
def test_intervals_are_close(tree: ScoreTree, expected: tuple[Size | None, Size | None]) -> None:
    assert scorelang.interval(tree, RANGES) == expected


def test_at_least() -> None:
    assert scorelang.at_least(N * M, N)
    assert scorelang.at_least(N + M, 2)
    assert not scorelang.at_least(N, 2)
    assert not scorelang.at_least(N, M)
    assert not scorelang.at_least(N // 2, 0 * N + 1)

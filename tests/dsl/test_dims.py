"""Symbolic sizes against plain integers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnc.dsl.dims import Dim, Size, floor_divide, substitute, symbol, symbols

SYMBOLS = ("b", "n", "h")
Expression = Callable[[dict[str, Size]], Size]


def _leaf() -> st.SearchStrategy[Expression]:
    names = st.sampled_from(SYMBOLS).map(lambda name: lambda env: env[name])
    numbers = st.integers(-6, 12).map(lambda number: lambda env: number)
    return names | numbers


def _grow(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        pair.map(lambda ab: lambda env: ab[0](env) + ab[1](env)),
        pair.map(lambda ab: lambda env: ab[0](env) - ab[1](env)),
        pair.map(lambda ab: lambda env: ab[0](env) * ab[1](env)),
        st.tuples(inner, st.integers(1, 6)).map(lambda ak: lambda env: ak[0](env) // ak[1]),
        st.tuples(inner, st.integers(1, 6)).map(lambda ak: lambda env: ak[0](env) % ak[1]),
    )


EXPRESSIONS = st.recursive(_leaf(), _grow, max_leaves=8)


@given(EXPRESSIONS, st.tuples(*[st.integers(1, 20)] * 3))
def test_substituting_gives_what_integers_give(
    expression: Expression, sizes: tuple[int, ...]
) -> None:
    symbolic = expression({name: symbol(name) for name in SYMBOLS})
    values: dict[str, Size] = dict(zip(SYMBOLS, sizes, strict=True))
    assert substitute(symbolic, values) == expression(values)


@given(EXPRESSIONS, st.tuples(*[st.integers(1, 9)] * 3))
def test_the_text_of_a_size_is_python_that_means_the_same(
    expression: Expression, sizes: tuple[int, ...]
) -> None:
    symbolic = expression({name: symbol(name) for name in SYMBOLS})
    values = dict(zip(SYMBOLS, sizes, strict=True))
    assert eval(str(symbolic), {}, values) == substitute(symbolic, dict(values))


b, n, h = (symbol(name) for name in SYMBOLS)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (n + 1 - 1, n),
        (h * n // n, h),
        ((4 * n + 3) // 4, n),
        ((6 * n + 3) // 4, (3 * n + 1) // 2),
        (n - n, 0),
        (n * 0 + 3, 3),
        ((n + 1) * (n - 1), n * n - 1),
        ((b * n) // n // b, 1),
    ],
)
def test_equal_sizes_have_one_form(left: Size, right: Size) -> None:
    assert left == right
    assert hash(left) == hash(right)


def test_a_constant_is_an_int() -> None:
    assert type(n - n + 2) is int


def test_different_sizes_differ() -> None:
    assert n != h
    assert n // 2 != (n + 1) // 2
    assert isinstance(n // 2, Dim)


def test_symbols_are_found_inside_quotients() -> None:
    assert symbols((n + 1) // 2 * b) == {"n", "b"}


def test_division_by_zero_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        floor_divide(n, 0)

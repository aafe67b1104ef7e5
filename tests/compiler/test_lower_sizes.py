from collections.abc import Sequence

import pytest

from attnc.compiler.sizes import Arithmetic, Axis, Recipe, Sizes
from attnc.dsl.dims import Shape, Size, substitute, symbol

b, n, m, h, w = map(symbol, "bnmhw")


def shown(recipe: Recipe | None) -> str:
    match recipe:
        case Arithmetic(operator, left, right):
            return f"({shown(left)} {operator} {shown(right)})"
        case Axis(port, axis):
            return f"{'xyz'[port]}{axis}"
    return str(recipe)


def value(recipe: Recipe | None, shapes: Sequence[Sequence[int]]) -> int:
    match recipe:
        case Arithmetic(operator, left, right):
            result: int = eval(f"{value(left, shapes)} {operator} {value(right, shapes)}")
            return result
        case Axis(port, axis):
            return shapes[port][axis]
    assert isinstance(recipe, int)
    return recipe


@pytest.mark.parametrize(
    ("ports", "size", "expected"),
    [
        ([(b, n, 384)], n, "x1"),
        ([(b, n, 384)], 384, "384"),
        ([(b, n, 384)], n + 1, "(x1 + 1)"),
        ([(b, n)], n - 1, "(x1 - 1)"),
        ([(b, n)], 3 * b * n, "(3 * (x0 * x1))"),
        ([(b, n)], (n + 1) // 2 * 2, "(2 * ((x1 + 1) // 2))"),
        ([(b, 2 * n + 1)], n, "((x1 - 1) // 2)"),
        ([(b, n + m), (b, n)], m, "(x1 - y1)"),
        ([(b, n + m), (b, n)], n - m, "(y1 - (x1 - y1))"),
        ([(b, h * w), (b, h)], w, "(x1 // y1)"),
        ([(b, h * w), (b, h)], h * w + 1, "(x1 + 1)"),
        ([(b, (h - 1) // 2 + 1, w)], ((h - 1) // 2 + 1) * w, "(x1 * x2)"),
        ([(b, (h - 1) // 2 + 1)], (h - 1) // 2, "(x1 - 1)"),
        ([(b, h), (w,)], b * h * w, "((x0 * x1) * y0)"),
        ([(b, n**2)], n**2 + 1, "(x1 + 1)"),
        ([(b, n + m)], n, "None"),
        ([(b, n**2)], n, "None"),
        ([], b, "None"),
    ],
)
def test_recipes(ports: list[Shape], size: Size, expected: str) -> None:
    recipe = Sizes(ports).recipe(size)
    assert shown(recipe) == expected
    if recipe is not None:
        values = {"b": 2, "n": 5, "m": 3, "h": 7, "w": 11}
        shapes = [[number(s, values) for s in port] for port in ports]
        assert value(recipe, shapes) == number(size, values)


def number(size: Size, values: dict[str, int]) -> int:
    result = substitute(size, values)
    assert isinstance(result, int)
    return result

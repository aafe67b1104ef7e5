"""Einops notation: shapes, meaning and text."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attnc.dsl.dims import Size, symbol
from attnc.dsl.graph import TensorType, Value
from attnc.dsl.ops import TABLE, rearrange
from attnc.dsl.ops.notation import parse
from attnc.dsl.ops.row import Mismatch

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _rearrange(d: Draw) -> Args:
    names = d.shuffled(list("abcd"))[: d.integer(1, 4)]
    sizes = {name: d.size() for name in names}
    left, right = _grouped(d, names), _grouped(d, d.shuffled(names))
    shape: list[Size] = []
    for group in left:
        size: Size = 1
        for name in group:
            size = size * sizes[name]
        shape.append(size)
    return {
        "x": d.tensor(*shape, dtypes=d.ANY),
        "pattern": f"{_written(left)} -> {_written(right)}",
        "sizes": {name: sizes[name] for group in left for name in group[:-1]},
    }


def _replicate(d: Draw) -> Args:
    args = _rearrange(d)
    pattern, sizes = str(args["pattern"]), args["sizes"]
    assert isinstance(sizes, dict)
    pattern = d.one_of(f"{pattern} r", pattern.replace("->", "-> r"), f"{pattern} (q r)")
    new = {name: d.size() for name in "qr" if name in pattern}
    return {**args, "pattern": pattern, "sizes": {**sizes, **new}}


def _grouped(d: Draw, names: list[str]) -> list[list[str]]:
    groups: list[list[str]] = []
    for name in names:
        if groups and d.flag():
            groups[-1].append(name)
        else:
            groups.append([name])
    if d.flag():
        groups.insert(d.integer(0, len(groups)), [])
    return groups


def _written(groups: list[list[str]]) -> str:
    shown = ["1" if not g else g[0] if len(g) == 1 else f"({' '.join(g)})" for g in groups]
    return " ".join(shown)


CASES: dict[str, Build] = {"rearrange": _rearrange, "replicate": _replicate}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in rearrange.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


def _by_definition(x: Tensor, pattern: str, sizes: dict[str, int]) -> Tensor:
    """Move every element by its indices: an element of the result is one of x."""
    left, right = parse(pattern).left, parse(pattern).right
    result = torch.empty([prod(sizes[name] for name in group) for group in right])
    for place in np.ndindex(*result.shape):
        names: dict[str, int] = {}
        for group, index in zip(right, place, strict=True):
            values = np.unravel_index(index, [sizes[name] for name in group]) if group else ()
            names.update(zip(group, map(int, values), strict=True))
        source = []
        for group in left:
            index = 0
            for name in group:
                index = index * sizes[name] + names[name]
            source.append(index)
        result[place] = x[tuple(source)]
    return result


PATTERNS = [
    "b (y x) c -> b c y x",
    "b c y x -> b (y x) c",
    "b (y p) (x q) c -> b (y x) (p q c)",
    "b (y x) (p q c) -> b (y p) (x q) c",
    "b y (x c) -> (b x) y c",
    "b c -> (c b)",
    "(b c) y -> c (y b)",
    "b 1 c y -> y b 1 c",
    "(b y c) -> (c y b)",
    "b y x c -> b x y c",
    "b (y x c) p -> b c (y x) p",
    "b y x c -> b c (y x)",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_rearrange_moves_elements_as_defined(pattern: str, compute: Compute) -> None:
    sizes = dict(zip("bcyxpq", (2, 3, 4, 5, 2, 3), strict=True))
    left = parse(pattern).left
    shape = [prod(sizes[name] for name in group) for group in left]
    x = torch.arange(prod(shape)).reshape(shape).double()
    given = {name: sizes[name] for group in left for name in group[1:]}
    (found,) = compute("rearrange", x=x, pattern=pattern, sizes=given)
    assert torch.equal(found, _by_definition(x, pattern, sizes).double())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_rearrangement_moves_elements_as_defined(data: st.DataObject) -> None:
    names = data.draw(st.permutations("abcd"))
    sizes = {name: data.draw(st.integers(1, 3)) for name in names}
    cuts = [data.draw(st.lists(st.booleans(), min_size=3, max_size=3)) for _ in range(2)]
    sides = [_cut(names, cuts[0]), _cut(data.draw(st.permutations(names)), cuts[1])]
    pattern = " -> ".join(map(_written, sides))
    shape = [prod(sizes[name] for name in group) for group in sides[0]]
    x = torch.arange(prod(shape)).reshape(shape).float()
    value = Value("x", TensorType(tuple(shape)))
    template = TABLE["rearrange"].template({"x": value, "pattern": pattern, "sizes": sizes})
    assert template is not None and set(template.holes) == {"x"}
    found = eval(template.text.format(x="x"), {"x": x})
    assert torch.equal(found, _by_definition(x, pattern, sizes))


def _cut(names: list[str], cuts: list[bool]) -> list[list[str]]:
    groups = [[names[0]]]
    for name, cut in zip(names[1:], cuts, strict=True):
        if cut:
            groups.append([name])
        else:
            groups[-1].append(name)
    return groups


@pytest.mark.parametrize("pattern", ["b c -> b r c", "b c -> (b r) c", "b c -> r 1 (c q) b"])
def test_replicate_repeats_along_new_axes(pattern: str, compute: Compute) -> None:
    sizes = {"b": 2, "c": 3, "r": 4, "q": 2}
    x = torch.randn(2, 3, dtype=torch.float64)
    new = {name: sizes[name] for name in "rq" if name in pattern}
    (found,) = compute("replicate", x=x, pattern=pattern, sizes=new)
    expected = _by_definition(x.float(), pattern, sizes)
    assert torch.equal(found.float(), expected)


B, N, H = symbol("b"), symbol("n"), symbol("h")
TEXTS = [
    ("b n (t h d) -> t b h n d", (B, N, 1152), {"t": 3, "h": 6},
     "{x}.unflatten(-1, (3, 6, -1)).permute(2, 0, 3, 1, 4)"),
    ("b h n d -> b n (h d)", (B, 6, N, 64), {}, "{x}.transpose(1, 2).flatten(2)"),
    ("b n (h d) -> b h n d", (B, N, 384), {"h": 6}, "{x}.unflatten(-1, (6, -1)).transpose(1, 2)"),
    ("b c h w -> b (h w) c", (B, 96, H, N), {}, "{x}.flatten(2).transpose(1, 2)"),
    ("b (h w) c -> b c h w", (B, 49, 96), {"h": 7},
     "{x}.unflatten(1, (7, -1)).permute(0, 3, 1, 2)"),
    ("b (h w) c -> b c h w", (B, H * N, 96), {"h": H},
     "{x}.unflatten(1, (-1, {s0})).permute(0, 3, 1, 2)"),
    ("b (h 1) c -> b c h", (B, N, 96), {}, "{x}.transpose(1, 2)"),
    ("b (h w) c -> b c (h w)", (B, N * 7, 96), {"w": 7}, "{x}.transpose(1, 2)"),
    ("b (y p) (x q) c -> b (y x) (p q c)", (B, 7 * H, 7 * N, 96), {"p": 7, "q": 7},
     "{x}.unflatten(2, (-1, 7)).unflatten(1, (-1, 7)).transpose(2, 3).flatten(3).flatten(1, 2)"),
    ("b ... c -> b (...) c", (B, H, N, 96), {}, "{x}.flatten(1, 2)"),
    ("b n c -> b n c", (B, N, 96), {}, "{x}"),
    ("b n -> b 1 n 1", (B, N), {}, "{x}.unsqueeze(1).unsqueeze(-1)"),
    ("b 1 n -> b n", (B, 1, N), {}, "{x}.squeeze(1)"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "shape", "sizes", "text"), TEXTS)
def test_text_reads_well(
    pattern: str, shape: tuple[Size, ...], sizes: dict[str, Size], text: str
) -> None:
    args: Args = {"x": Value("x", TensorType(shape)), "pattern": pattern, "sizes": sizes}
    template = TABLE["rearrange"].template(args)
    assert template is not None
    assert template.text == text


def test_replicate_expands_without_symbolic_sizes_of_its_input() -> None:
    value = Value("x", TensorType((1, N, 96)))
    args: Args = {"x": value, "pattern": "1 n c -> b n c", "sizes": {"b": B}}
    template = TABLE["replicate"].template(args)
    assert template is not None
    assert template.text == "{x}.squeeze(0).unsqueeze(0).expand({s0}, -1, -1)"
    assert template.holes["s0"] == B


@pytest.mark.parametrize(
    ("pattern", "shape", "sizes", "message"),
    [
        ("b c", (2, 3), {}, "there is no ->"),
        ("b (c -> b c", (2, 3), {}, "a parenthesis is not closed"),
        ("b c) -> b c", (2, 3), {}, "')' cannot stand there"),
        ("b b -> b", (2, 2), {}, "a name stands twice on one side"),
        ("b c -> b", (2, 3), {}, "c is lost after the arrow; reduce it first"),
        ("b -> b c", (2,), {}, "c is new after the arrow; use replicate for new axes"),
        ("b c d -> b c d", (2, 3), {}, "the pattern has 3 axes, the tensor 2"),
        ("b (c d) -> b c d", (2, 6), {}, "the sizes of c and d are open: give one of them"),
        ("b (c d) -> b c d", (2, 6), {"c": 4}, "(c d) is 6, not a multiple of c = 4"),
        ("b c -> c b", (2, 6), {"d": 4}, "d is no axis of the pattern"),
        ("b (c d) -> b c d", (2, N), {"c": 4}, "it is not known that 4 divides n"),
    ],
)
def test_wrong_patterns_are_told(
    pattern: str, shape: tuple[Size, ...], sizes: dict[str, Size], message: str
) -> None:
    args: Args = {"x": Value("x", TensorType(shape)), "pattern": pattern, "sizes": sizes}
    with pytest.raises(Mismatch) as caught:
        TABLE["rearrange"].infer(args)
    assert message in caught.value.message


def test_wrong_size_of_an_axis_is_a_shape_conflict() -> None:
    value = Value("x", TensorType((2, 6)))
    with pytest.raises(Mismatch) as caught:
        TABLE["rearrange"].infer({"x": value, "pattern": "b c -> c b", "sizes": {"c": 5}})
    assert (caught.value.kind, caught.value.expected) == ("shape", "(c) = 5")

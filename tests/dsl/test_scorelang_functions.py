"""Each row of the function table, and trees of them, against torch and its autograd."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from attnc.dsl import scorelang
from attnc.dsl.arithmetic import ArithmeticFault
from attnc.dsl.attention import Apply, Constant, Coordinate, Dot, Load, ScoreTree
from attnc.dsl.scorelang import FUNCTIONS, make

torch.set_num_threads(1)

X, Y = Load("x", ()), Load("y", ())
INT, TRUTH = Coordinate("i"), Load("c", (), "bool")
SMOOTH = [name for name, row in FUNCTIONS.items() if "float" in (row.result, row.arguments[0])]
POINTS = [(0.3, 1.7), (1.9, 0.4), (2.5, 2.5), (0.75, 3.0)]


def value(tree: ScoreTree, of: Mapping[str, object]) -> object:
    """Compute a tree as the compiler folds constants; `of` gives the leaves by name."""
    match tree:
        case Constant(number):
            return number
        case Dot():
            return of["qk"]
        case Coordinate(name) | Load(name):
            return of[name]
        case Apply(function, arguments):
            return FUNCTIONS[function].value(*(value(part, of) for part in arguments))
    raise AssertionError(tree)


def in_torch(tree: ScoreTree, of: Mapping[str, Tensor]) -> Tensor:
    """Compute a tree with the torch texts of the table, everything a tensor."""
    match tree:
        case Constant(number):
            kind = torch.float64 if isinstance(number, float) else None
            return torch.tensor(number, dtype=kind)
        case Dot():
            return of["qk"]
        case Coordinate(name) | Load(name):
            return of[name]
        case Apply("float", (inner,)):
            return in_torch(inner, of).double()
        case Apply(function, arguments):
            names = dict(zip("abc", (in_torch(part, of) for part in arguments), strict=False))
            text = scorelang.fill(FUNCTIONS[function].torch, *names)
            result = eval(text, {"torch": torch}, names)
            assert isinstance(result, Tensor)
            return result
    raise AssertionError(tree)


def leaf(given: object) -> Tensor:
    """Make a tensor; a float one collects gradients."""
    if isinstance(given, float):
        return torch.tensor(given, dtype=torch.float64, requires_grad=True)
    return torch.tensor(given)


def arguments_of(name: str) -> list[ScoreTree]:
    """Float variables where the row takes numbers, else an int or a truth value."""
    floats = iter((X, Y))
    leaves: dict[str, ScoreTree] = {"int": INT, "bool": TRUTH, "any": INT}
    return [leaves[kind] if kind in leaves else next(floats) for kind in FUNCTIONS[name].arguments]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("point", POINTS)
def test_value_and_derivative_of_each_row(name: str, point: tuple[float, float]) -> None:
    tree = scorelang.apply(name, *arguments_of(name))
    plain: dict[str, object] = {"x": point[0], "y": point[1], "i": 3, "c": True}
    leaves = {key: leaf(given) for key, given in plain.items()}
    found = in_torch(tree, leaves)
    assert found.item() == pytest.approx(value(tree, plain), rel=1e-14)
    if tree.type != "float" or not found.requires_grad:
        assert scorelang.derivative(tree, X) == Constant(0.0)
        return
    grads = torch.autograd.grad(found, (leaves["x"], leaves["y"]), allow_unused=True)
    for wrt, grad in zip((X, Y), grads, strict=True):
        derived = value(scorelang.derivative(tree, wrt), plain)
        assert derived == pytest.approx(0.0 if grad is None else grad.item(), rel=1e-13)


def test_every_row_has_all_texts() -> None:
    for name, row in FUNCTIONS.items():
        holes = [f"{{{hole}}}" for hole in "abc"[: len(row.arguments)]]
        for template in (row.surface, row.torch, row.triton):
            assert all(hole in template for hole in holes), name


# Random trees -----------------------------------------------------------------------------


@st.composite
def trees(draw: st.DrawFn, kind: str = "float", depth: int = 3) -> ScoreTree:
    leaves: dict[str, list[ScoreTree]] = {
        "float": [Dot(), X, Y, Constant(0.5), Constant(2.0), Constant(0.0), Constant(1.0)],
        "int": [INT, Coordinate("j"), Constant(0), Constant(1), Constant(3)],
        "bool": [TRUTH, Constant(True), Constant(False)],
    }
    rows = [
        row
        for row in FUNCTIONS.values()
        if row.result == kind or (row.result == "number" and kind != "bool")
    ]
    row = draw(st.sampled_from([None, *rows])) if depth else None
    if row is None:
        return draw(st.sampled_from(leaves[kind]))
    number = kind if row.result == "number" else draw(st.sampled_from(["int", "float"]))
    parts = [
        draw(trees({"number": number, "any": "int"}.get(part, part), depth - 1))
        for part in row.arguments
    ]
    return scorelang.apply(row.name, *parts)


points = st.fixed_dictionaries({
    "qk": st.sampled_from([-1.25, 0.0, 0.7, 3.0]),
    "x": st.sampled_from([-0.6, 0.4, 1.3]),
    "y": st.sampled_from([-2.2, 0.9, 1.0]),
    "i": st.integers(0, 4),
    "j": st.integers(0, 4),
    "c": st.booleans(),
})  # fmt: skip


def is_moderate(number: object) -> bool:
    return isinstance(number, (int, float)) and math.isfinite(number) and abs(number) < 1e6


def all_moderate(tree: ScoreTree, of: Mapping[str, object]) -> bool:
    """Whether every part has a value, far from overflow: else nothing is to be compared."""
    try:
        return all(is_moderate(value(part, of)) for part in scorelang.subtrees(tree))
    except (ArithmeticError, ValueError, ArithmeticFault):
        return False


@settings(max_examples=150, deadline=None)
@given(trees(), points)
def test_simplified_trees_have_the_same_value(tree: ScoreTree, of: dict[str, object]) -> None:
    assume(all_moderate(tree, of))
    simple = scorelang.simplify(tree)
    assert simple.type == "float"
    assert value(simple, of) == pytest.approx(value(tree, of), rel=1e-9, abs=1e-9)
    assert scorelang.simplify(simple) == simple


@settings(max_examples=150, deadline=None)
@given(trees("bool"), points)
def test_simplified_conditions_have_the_same_truth(tree: ScoreTree, of: dict[str, object]) -> None:
    assume(all_moderate(tree, of))
    assert value(scorelang.simplify(tree), of) == value(tree, of)


@settings(max_examples=120, deadline=None)
@given(trees(), points)
def test_derivatives_of_trees(tree: ScoreTree, of: dict[str, object]) -> None:
    assume(all_moderate(tree, of))
    leaves = {key: leaf(given) for key, given in of.items()}
    found = in_torch(scorelang.simplify(tree), leaves)  # simplifying orders ties
    assume(found.requires_grad)
    floats = (leaves["qk"], leaves["x"], leaves["y"])
    grads = torch.autograd.grad(found, floats, allow_unused=True)
    variables: tuple[Dot | Load, ...] = (Dot(), X, Y)
    for wrt, grad in zip(variables, grads, strict=True):
        expected = 0.0 if grad is None else grad.item()
        derived = scorelang.derivative(tree, wrt)
        assume(math.isfinite(expected) and all_moderate(derived, of))
        assert value(derived, of) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_branches_not_taken_add_nothing() -> None:
    tree = make("where", make("gt", X, Constant(0.0)), make("sqrt", X), Constant(0.0))
    derived = scorelang.derivative(tree, X)
    assert scorelang.text(derived) == "where(x > 0.0, 1.0 / (2.0 * sqrt(x)), 0.0)"


def test_loads_of_one_tensor_are_told_apart() -> None:
    near = Load("bias", (make("sub", Coordinate("i"), Coordinate("j")),))
    far = Load("bias", (Coordinate("i"),))
    score = make("add", make("mul", Dot(), near), far)
    assert scorelang.derivative(score, near) == Dot()
    assert scorelang.derivative(score, far) == Constant(1.0)
    assert scorelang.derivative(score, Dot()) == near

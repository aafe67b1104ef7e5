"""Slices and their functional update, held against numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from attnc.dsl.dims import Size, symbol
from attnc.dsl.graph import Arg, TensorType, Value
from attnc.dsl.ops import TABLE, slicing
from attnc.dsl.ops.row import Mismatch

if TYPE_CHECKING:
    from tests.dsl.ops.conftest import Args, Build, Check, Compute, Draw


def _spec(d: Draw, rank: int) -> tuple[Arg, ...]:
    """Draw an index of axes that have at least 6 positions."""
    items: list[Arg] = []
    for _ in range(d.integer(0, rank)):
        if d.flag():
            items.append(("index", d.integer(-6, 5)))
        else:
            start, stop = d.one_of((None, 3), (0, 6), (2, -1), (-5, -1), (-5, None), (4, 2))
            items.append(("slice", start, stop, d.one_of(None, 1, 2)))
    return tuple(items)


def _slice(d: Draw) -> Args:
    shape = [d.size(6, 9) for _ in range(d.integer(1, 4))]
    return {"x": d.tensor(*shape, dtypes=d.ANY), "spec": _spec(d, len(shape))}


def _slice_update(d: Draw) -> Args:
    args = _slice(d)
    (part,) = TABLE["slice"].infer(args)
    shape = tuple(d.one_of(size, 1) for size in part.shape)[d.integer(0, len(part.shape)) :]
    return {**args, "value": d.one_of(d.tensor(*shape, dtypes=(part.dtype,)), True, 1)}


CASES: dict[str, Build] = {"slice": _slice, "slice_update": _slice_update}


def test_cases_cover_the_family() -> None:
    assert CASES.keys() == {row.name for row in slicing.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_row_agrees_with_torch(name: str, agrees_with_torch: Check) -> None:
    agrees_with_torch(name, CASES[name])


WHOLE = ("slice", None, None, None)
SPECS = [
    ((WHOLE, ("slice", 0, 1, None)), np.s_[:, 0:1]),
    ((WHOLE, ("index", 0)), np.s_[:, 0]),
    ((("index", -1),), np.s_[-1]),
    ((WHOLE, WHOLE, WHOLE, ("index", 2)), np.s_[..., 2]),
    ((("slice", 1, None, 2), WHOLE, ("slice", -2, None, None)), np.s_[1::2, :, -2:]),
    ((("index", 0), ("slice", None, -1, None), ("index", 1)), np.s_[0, :-1, 1]),
    ((WHOLE, ("slice", 2, 1, None)), np.s_[:, 2:1]),
    ((WHOLE, ("slice", 1, 99, None)), np.s_[:, 1:99]),
    ((), np.s_[:]),
]
X = torch.randn(3, 4, 5, 6, dtype=torch.float64)


@pytest.mark.parametrize(("spec", "index"), SPECS)
def test_slice_is_that_of_python(spec: Arg, index: Any, compute: Compute) -> None:
    (found,) = compute("slice", x=X, spec=spec)
    assert np.array_equal(found.numpy(), X.numpy()[index])


@pytest.mark.parametrize(("spec", "index"), SPECS)
def test_slice_update_is_that_of_python(spec: Arg, index: Any, compute: Compute) -> None:
    kept, expected = X.clone(), X.numpy().copy()
    part = torch.randn(expected[index].shape, dtype=torch.float64)
    last = torch.randn(expected[index].shape[-1:], dtype=torch.float64)
    for value, array in ((part, part.numpy()), (last, last.numpy()), (7, 7)):
        (found,) = compute("slice_update", x=X, spec=spec, value=value)
        expected[index] = array
        assert np.array_equal(found.numpy(), expected)
        assert torch.equal(kept, X)


def test_gradient_reaches_what_was_written_and_what_was_kept(compute: Compute) -> None:
    x = torch.ones(3, 4, dtype=torch.float64, requires_grad=True)
    value = torch.ones(3, 1, dtype=torch.float64, requires_grad=True)
    spec = (WHOLE, ("slice", 0, 1, None))
    compute("slice_update", x=x, spec=spec, value=value)[0].sum().backward()
    assert x.grad is not None and value.grad is not None
    assert x.grad.tolist() == [[0, 1, 1, 1]] * 3
    assert value.grad.tolist() == [[1]] * 3


B, N, W = symbol("b"), symbol("n"), symbol("w")


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ((WHOLE, ("slice", 1, None, None)), (B, N - 1)),
        ((WHOLE, ("slice", None, -W, None)), (B, N - W)),
        ((WHOLE, ("slice", -W, None, None)), (B, W)),
        ((WHOLE, ("slice", W, None, None)), (B, N - W)),
        ((WHOLE, ("slice", None, N, None)), (B, N)),
        ((WHOLE, ("slice", None, None, 2)), (B, (N + 1) // 2)),
        ((WHOLE, ("index", N - 1)), (B,)),
    ],
)
def test_symbolic_bounds_lie_inside_the_axis(spec: Arg, shape: tuple[Size, ...]) -> None:
    (found,) = TABLE["slice"].infer({"x": Value("x", TensorType((B, N))), "spec": spec})
    assert found.shape == shape


def _text(name: str, spec: Arg, rank: int, **more: Arg) -> str:
    value = Value("x", TensorType((8,) * rank))
    template = TABLE[name].template({"x": value, "spec": spec, **more})
    assert template is not None
    return template.text


def test_text_reads_well() -> None:
    assert _text("slice", (WHOLE, ("slice", 0, 1, None)), 3) == "{x}[:, 0:1]"
    assert _text("slice", (*[WHOLE] * 3, ("slice", 1, None, 2)), 4) == "{x}[..., 1::2]"
    assert _text("slice", (WHOLE, ("slice", -W, None, None)), 2) == "{x}[:, {s0}:]"
    assert _text("slice", (WHOLE,), 2) == "{x}"
    first, row = (WHOLE, ("slice", 0, 1, None)), Value("v", TensorType((8, 1)))
    assert (
        _text("slice_update", first, 2, value=row)
        == "{x}.slice_scatter({value}, dim=1, start=0, end=1)"
    )
    assert (
        _text("slice_update", (WHOLE, ("index", 3)), 2, value=0)
        == "{x}.select_scatter(torch.full_like({x}[:, 3], {value}), 1, 3)"
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ((WHOLE, WHOLE, WHOLE), "3 indices for [b, 4]"),
        ((WHOLE, ("index", 4)), "index 4 is out of range for size 4"),
        ((("slice", -2, 1, None),), "whether 1 comes after -2 depends on b"),
        ((WHOLE, ("slice", None, None, -1)), "a step is above 0; use flip to reverse"),
    ],
)
def test_wrong_indices_are_told(spec: Arg, message: str) -> None:
    with pytest.raises(Mismatch) as caught:
        TABLE["slice"].infer({"x": Value("x", TensorType((B, 4))), "spec": spec})
    assert caught.value.message == message


def test_update_takes_the_dtype_and_shape_of_the_slice() -> None:
    args: Args = {"x": Value("x", TensorType((B, 4))), "spec": (WHOLE, ("slice", 0, 2, None))}
    wrong = {
        "shape": Value("v", TensorType((B, 3))),
        "dtype": Value("v", TensorType((B, 2), "int")),
    }
    for kind, value in wrong.items():
        with pytest.raises(Mismatch) as caught:
            TABLE["slice_update"].infer({**args, "value": value})
        assert caught.value.kind == kind

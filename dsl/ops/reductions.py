"""Reductions along axes; along all of them where none is named."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.dsl.dims import Shape
from attnc.dsl.graph import Arg
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.row import Op
from attnc.dsl.ops.shape_rules import positions, replaced, same_axis

FAMILY = "reduction"


def _reduced(bound: Bound, shape: Shape, axis: Arg, keepdim: bool) -> Shape:
    """Rule: without the axes, or with size 1 in their place."""
    for along in sorted(positions(axis, len(shape)), reverse=True):
        shape = replaced(shape, along, *([1] if keepdim else []))
    return shape


def _name_all_axes(bound: Bound) -> Mapping[str, Arg]:
    """Name the axes where all are reduced and kept, for which torch has no default."""
    if bound["axis"] is None and bound["keepdim"]:
        return {"axis": tuple(range(len(bound.shape("s"))))}
    return {}


def _over_axes(name: str, call: str, doc: str, dtype: str = "float", parameters: str = "") -> Op:
    """Return a row for a reduction over one, several or all axes."""
    return Op(
        name,
        FAMILY,
        doc,
        f"x: {dtype}[*s], axis: axes = none, {parameters}keepdim: flag = false "
        f"-> {dtype}[*reduced(s, axis, keepdim)]",
        call,
        rules={"reduced": _reduced},
        derive=_name_all_axes,
    )


def _arg_extreme(name: str, doc: str) -> Op:
    return Op(
        name,
        FAMILY,
        doc,
        "x: real[*s], axis: int = -1, keepdim: flag = false -> int[*reduced(s, axis, keepdim)]",
        f"{{x}}.{name}(dim={{axis}}, keepdim={{keepdim?}})",
        rules={"reduced": _reduced},
    )


ROWS = (
    _over_axes("mean", "{x}.mean(dim={axis?}, keepdim={keepdim?})", "The mean.", "field"),
    _over_axes("sum", "{x}.sum(dim={axis?}, keepdim={keepdim?})", "The sum.", "number"),
    _over_axes(
        "max",
        "{x}.amax(dim={axis?}, keepdim={keepdim?})",
        "The largest element; equal ones share the gradient.",
        "real",
    ),
    _over_axes(
        "min",
        "{x}.amin(dim={axis?}, keepdim={keepdim?})",
        "The smallest element; equal ones share the gradient.",
        "real",
    ),
    _over_axes(
        "norm",
        "torch.linalg.vector_norm({x}, ord={order?}, dim={axis?}, keepdim={keepdim?})",
        "sum(|x| ** order) ** (1 / order).",
        parameters="order: float = 2.0, ",
    ),
    _over_axes(
        "var",
        "{x}.var(dim={axis?}, correction={correction?}, keepdim={keepdim?})",
        "The variance: squares around the mean, over the count less the correction.",
        parameters="correction: int = 1, ",
    ),
    _over_axes(
        "std",
        "{x}.std(dim={axis?}, correction={correction?}, keepdim={keepdim?})",
        "The square root of the variance.",
        parameters="correction: int = 1, ",
    ),
    Op(
        "logsumexp",
        FAMILY,
        "log(sum(exp(x))) without overflow.",
        "x: [*s], axis: axes = -1, keepdim: flag = false -> [*reduced(s, axis, keepdim)]",
        "torch.logsumexp({x}, dim={axis}, keepdim={keepdim?})",
        rules={"reduced": _reduced},
    ),
    _arg_extreme("argmax", "Where along the axis the largest element stands; the first of equals."),
    _arg_extreme(
        "argmin", "Where along the axis the smallest element stands; the first of equals."
    ),
    Op(
        "cumsum",
        FAMILY,
        "Sums of all elements up to each, along the axis.",
        "x: number[*s], axis: int = -1 -> number[*s]",
        "{x}.cumsum({axis})",
        derive=same_axis,
    ),
    Op(
        "logcumsumexp",
        FAMILY,
        "log(sum(exp(x))) of all elements up to each, along the axis, without overflow.",
        "x: [*s], axis: int = -1 -> [*s]",
        "{x}.logcumsumexp({axis})",
        derive=same_axis,
    ),
)

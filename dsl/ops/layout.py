"""The shape and the order of elements: reshape, transpose, expand, roll ..."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.dsl.dims import Dim, Shape
from attnc.dsl.graph import Arg, TensorType
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op, Template
from attnc.dsl.ops.shape_rules import count, exact, per_axis, position, positions, replaced

FAMILY = "layout"


# Reshaping --------------------------------------------------------------------------------


def _solve_shape(bound: Bound) -> Mapping[str, Arg]:
    """Name the shape `to` with -1 solved."""
    sizes, wanted = bound.shape("s"), bound.shape("shape")
    open_axes = [axis for axis, size in enumerate(wanted) if size == -1]
    if len(open_axes) > 1:
        raise Mismatch("argument", "only one size may be -1", parameter="shape")
    rest = count(size for size in wanted if size != -1)
    if open_axes:
        return {"to": replaced(wanted, open_axes[0], exact(bound, count(sizes), rest))}
    if rest != count(sizes):
        raise Mismatch(
            "shape", f"{rest} elements, where x has {count(sizes)}",
            parameter="shape", expected=f"{count(sizes)} elements", found=str(TensorType(wanted)),
        )  # fmt: skip
    return {"to": wanted}


def _reshape(bound: Bound) -> Template:
    """Return the call, with -1 for one symbolic size."""
    wanted = bound.shape("to")
    symbolic = [axis for axis, size in enumerate(wanted) if isinstance(size, Dim)]
    shown = replaced(wanted, symbolic[0], -1) if symbolic else wanted
    return Template("{x}.reshape({shape})", {"shape": shown})


def _expanded(bound: Bound) -> Mapping[str, Arg]:
    """Name the shape `to`, and `shown`, which is -1 for axes that stay."""
    sizes, wanted = bound.shape("s"), bound.shape("shape")
    new = len(wanted) - len(sizes)
    pairs = list(zip((1,) * new + sizes, wanted, strict=True)) if new >= 0 else []
    if new < 0 or -1 in wanted[:new] or any(h not in (1, w) and w != -1 for h, w in pairs):
        raise Mismatch(
            "shape", "only axes of size 1 and new ones in front expand",
            parameter="x", expected=f"what expands to {TensorType(wanted)}",
            found=str(bound.value("x").type),
        )  # fmt: skip
    to = tuple(have if want == -1 else want for have, want in pairs)
    stays = [axis >= new and have == to[axis] for axis, (have, _) in enumerate(pairs)]
    shown = tuple(-1 if stay else size for stay, size in zip(stays, to, strict=True))
    return {"to": to, "shown": shown}


def _squeezed(bound: Bound) -> Mapping[str, Arg]:
    shape = bound.shape("s")
    axis = position(bound.integer("axis"), len(shape))
    if shape[axis] != 1:
        raise Mismatch("argument", f"axis {axis} has size {shape[axis]}, not 1", parameter="axis")
    return {"to": replaced(shape, axis)}


def _unsqueezed(bound: Bound) -> Mapping[str, Arg]:
    shape = bound.shape("s")
    axis = position(bound.integer("axis"), len(shape) + 1)
    return {"to": (*shape[:axis], 1, *shape[axis:])}


# Order of axes and elements ---------------------------------------------------------------


def _swapped(bound: Bound, shape: Shape, a: int, b: int) -> Shape:
    """Rule: axes a and b in each other's place."""
    sizes = list(shape)
    first, second = position(a, len(sizes), "a"), position(b, len(sizes), "b")
    sizes[first], sizes[second] = sizes[second], sizes[first]
    return tuple(sizes)


def _permuted(bound: Bound, shape: Shape, axes: Arg) -> Shape:
    """Rule: all axes in another order."""
    order = positions(axes, len(shape), "axes")
    if len(order) != len(shape):
        raise Mismatch(
            "argument", f"axes names {len(order)} of {len(shape)} axes", parameter="axes"
        )
    return tuple(shape[axis] for axis in order)


def _check_axes(bound: Bound) -> Mapping[str, Arg]:
    positions(bound["axes"], len(bound.shape("s")), "axes")
    return {}


def _check_roll(bound: Bound) -> Mapping[str, Arg]:
    axes = positions(bound["axes"], len(bound.shape("s")), "axes")
    per_axis(bound["shifts"], len(axes), "shifts")
    if isinstance(bound["shifts"], tuple) != isinstance(bound["axes"], tuple):
        return {"shifts": per_axis(bound["shifts"], len(axes), "shifts"), "axes": axes}
    return {}


ROWS = (
    Op(
        "reshape",
        FAMILY,
        "The same elements in another shape; one size may be -1.",
        "x: any[*s], shape: shape -> any[*to]",
        _reshape,
        derive=_solve_shape,
    ),
    Op(
        "transpose",
        FAMILY,
        "Two axes in each other's place, the last two unless stated.",
        "x: any[*s], a: int = -2, b: int = -1 -> any[*swapped(s, a, b)]",
        "{x}.transpose({a}, {b})",
        rules={"swapped": _swapped},
    ),
    Op(
        "permute",
        FAMILY,
        "All axes in another order.",
        "x: any[*s], axes: axes -> any[*permuted(s, axes)]",
        "{x}.permute({axes})",
        rules={"permuted": _permuted},
    ),
    Op(
        "expand",
        FAMILY,
        "Axes of size 1 repeated without a copy, and new axes in front; -1 keeps an axis.",
        "x: any[*s], shape: shape -> any[*to]",
        "{x}.expand({shown})",
        derive=_expanded,
    ),
    Op(
        "squeeze",
        FAMILY,
        "Without an axis of size 1.",
        "x: any[*s], axis: int -> any[*to]",
        "{x}.squeeze({axis})",
        derive=_squeezed,
    ),
    Op(
        "unsqueeze",
        FAMILY,
        "With a new axis of size 1 at that place.",
        "x: any[*s], axis: int -> any[*to]",
        "{x}.unsqueeze({axis})",
        derive=_unsqueezed,
    ),
    Op(
        "roll",
        FAMILY,
        "Elements moved along axes, those that leave coming in at the other end.",
        "x: any[*s], shifts: sizes, axes: axes -> any[*s]",
        "{x}.roll({shifts}, dims={axes})",
        derive=_check_roll,
    ),
    Op(
        "flip",
        FAMILY,
        "Elements in reverse order along axes.",
        "x: any[*s], axes: axes -> any[*s]",
        "{x}.flip({axes})",
        derive=_check_axes,
    ),
)

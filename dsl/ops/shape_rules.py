"""Shape rules that operators of several families use."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from attnc.dsl.dims import Dim, Shape, Size, floor_divide
from attnc.dsl.graph import Arg, TensorType
from attnc.dsl.ops.bound import Bound, as_size, shape_of
from attnc.dsl.ops.mismatch import Mismatch


def count(shape: Iterable[Size]) -> Size:
    """Return the number of elements of a shape."""
    return prod(shape, start=1)


def broadcast(bound: Bound, *operands: Arg) -> Shape:
    """Return the shape that shapes, tensors and numbers broadcast to."""
    shapes = [shape_of(operand) for operand in operands]
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(_common(sizes, shapes) for sizes in zip(*padded, strict=True))


def _common(sizes: tuple[Size, ...], shapes: list[Shape]) -> Size:
    found = list(dict.fromkeys(size for size in sizes if size != 1))
    if len(found) > 1:
        raise Mismatch(
            "shape", f"{found[0]} and {found[1]} do not go together",
            expected="shapes that broadcast",
            found=" and ".join(str(TensorType(shape)) for shape in shapes),
        )  # fmt: skip
    return found[0] if found else 1


def exact(bound: Bound, size: Size, divisor: Size) -> Size:
    """Return `size // divisor`, which must come out even."""
    rest: Size = size % divisor if divisor != 0 else 1
    if rest != 0:
        reason = (
            f"it is not known that {divisor} divides {size}: declare the input's size as a multiple"
            if isinstance(rest, Dim)
            else f"{divisor} does not divide {size}"
        )
        raise Mismatch("argument", reason)
    return floor_divide(size, divisor)


def position(axis: int, rank: int, parameter: str = "axis") -> int:
    """Return an axis counted from the front.

    Raises:
        Mismatch: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise Mismatch(
            "argument", f"{parameter} {axis} is out of range for {rank} axes", parameter=parameter
        )
    return axis % rank


def positions(axes: Arg, rank: int, parameter: str = "axis") -> tuple[int, ...]:
    """Return one axis or several, counted from the front; all of them for none.

    Raises:
        Mismatch: there is no such axis, or one is named twice.
    """
    if axes is None:
        return tuple(range(rank))
    given = axes if isinstance(axes, tuple) else (axes,)
    found = tuple(position(axis, rank, parameter) for axis in given if isinstance(axis, int))
    if len(set(found)) < len(found):
        raise Mismatch("argument", f"{parameter} names an axis twice", parameter=parameter)
    return found


def replaced(shape: Shape, axis: int, *sizes: Size) -> Shape:
    """Return the shape with the axis (counted from the front) replaced by others."""
    return (*shape[:axis], *sizes, *shape[axis + 1 :])


def per_axis(value: Arg, rank: int, parameter: str) -> Shape:
    """Return a value for each of `rank` axes, from one or from a list.

    Raises:
        Mismatch: the list has another length.
    """
    if not isinstance(value, tuple):
        return (as_size(value),) * rank
    if len(value) != rank:
        raise Mismatch(
            "argument", f"{parameter} has {len(value)} numbers for {rank} axes", parameter=parameter
        )
    return shape_of(value)


def sides(bound: Bound, value: Arg, rank: int) -> Shape:
    """Rule: a window's extent along each of `rank` axes."""
    return per_axis(value, rank, "size")


def same_axis(bound: Bound) -> dict[str, Arg]:
    """Check that `axis` is one of `s`."""
    position(bound.integer("axis"), len(bound.shape("s")))
    return {}


def check_written(bound: Bound) -> dict[str, Arg]:
    """Check that a number `value` can be written into `x`."""
    dtype = bound.value("x").type.dtype
    if dtype in ("int", "bool") and isinstance(bound["value"], float):
        raise Mismatch(
            "dtype", f"a fraction does not go into {dtype} tensors; use cast",
            expected="float", found=dtype,
        )  # fmt: skip
    return {}

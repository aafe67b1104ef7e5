"""Slices as in Python, and their functional update.

A symbolic bound is taken to lie inside its axis: counted from the end where none of its terms is
positive, from the front else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Union

from attnc.dsl.dims import Shape, Size, floor_divide
from attnc.dsl.graph import Arg, TensorType, Value
from attnc.dsl.ops.bound import Bound, as_size
from attnc.dsl.ops.holes import Holes
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op, Template
from attnc.dsl.ops.shape_rules import broadcast, check_written

FAMILY = "slicing"


@dataclass(frozen=True, slots=True)
class Range:
    """`start:stop:step` of an axis as written, and the number of positions taken."""

    start: Size | None
    stop: Size | None
    step: int
    count: Size


@dataclass(frozen=True, slots=True)
class Position:
    """One position of an axis, which goes away."""

    index: Size


Item = Union[Range, Position]


def _is_whole(item: Item) -> bool:
    return isinstance(item, Range) and (item.start or 0, item.stop, item.step) == (0, None, 1)


# Shapes -----------------------------------------------------------------------------------


def _items(bound: Bound) -> list[Item]:
    """Return what is taken of each axis.

    Raises:
        Mismatch: an index that the shape does not have.
    """
    shape, spec = bound.shape("s"), bound["spec"]
    assert isinstance(spec, tuple)
    if len(spec) > len(shape):
        raise Mismatch("argument", f"{len(spec)} indices for {TensorType(shape)}", parameter="spec")
    whole = ("slice", None, None, None)
    padded = [*spec, *[whole] * (len(shape) - len(spec))]
    return [_item(size, each) for size, each in zip(shape, padded, strict=True)]


def _item(size: Size, spec: Arg) -> Item:
    match spec:
        case ("slice", start, stop, step):
            return _range(size, start, stop, 1 if step is None else step)
        case ("index", index):
            return _position(size, as_size(index))
    raise Mismatch("argument", "an index is made of slices and positions", parameter="spec")


def _range(size: Size, start: Arg, stop: Arg, step: Arg) -> Range:
    if not isinstance(step, int) or step < 1:
        raise Mismatch("argument", "a step is above 0; use flip to reverse", parameter="spec")
    first = None if start is None else as_size(start)
    last = None if stop is None else as_size(stop)
    length = (size if last is None else _place(last, size)) - _place(first or 0, size)
    if isinstance(length, int):
        length = max(length, 0)
    elif _is_from_end(first or 0) and last is not None and not _is_from_end(last):
        raise Mismatch("argument", f"whether {last} comes after {first} depends on {size}")
    return Range(first, last, step, floor_divide(length + step - 1, step))


def _position(size: Size, index: Size) -> Position:
    if isinstance(size, int) and isinstance(index, int) and not -size <= index < size:
        raise Mismatch("argument", f"index {index} is out of range for size {size}")
    return Position(index)


def _place(bound: Size, size: Size) -> Size:
    """Return a bound counted from the front."""
    place = size + bound if _is_from_end(bound) else bound
    if isinstance(place, int) and isinstance(size, int):
        return min(max(place, 0), size)
    return place


def _is_from_end(bound: Size) -> bool:
    if isinstance(bound, int):
        return bound < 0
    return all(count <= 0 for count in bound.terms.values())


def _taken(items: Sequence[Item]) -> Shape:
    return tuple(item.count for item in items if isinstance(item, Range))


def _sliced(bound: Bound) -> Mapping[str, Arg]:
    """Name the shape `to`."""
    return {"to": _taken(_items(bound))}


def _check_update(bound: Bound) -> Mapping[str, Arg]:
    """Check that the value broadcasts to the slice, and is of the tensor's dtype."""
    value, part = bound["value"], _taken(_items(bound))
    if not isinstance(value, Value):
        return check_written(bound)
    if value.type.dtype != (dtype := bound.value("x").type.dtype):
        raise Mismatch(
            "dtype", f"the tensor is {dtype}; use cast",
            parameter="value", expected=dtype, found=value.type.dtype,
        )  # fmt: skip
    if broadcast(bound, value, part) != part:
        raise Mismatch(
            "shape", "the slice has another shape",
            parameter="value", expected=str(TensorType(part)), found=str(value.type),
        )  # fmt: skip
    return {}


# Text -------------------------------------------------------------------------------------


def _slice(bound: Bound) -> Template:
    holes = Holes()
    return Template("{x}" + _subscript(_items(bound), holes), holes)


def _subscript(items: Sequence[Item], holes: Holes) -> str:
    """Return `[:, 0:1]`, without what is taken whole at the end; `...` for more in front."""
    last = max((axis for axis, item in enumerate(items) if not _is_whole(item)), default=-1)
    shown = [_shown(item, holes) for item in items[: last + 1]]
    front = next((axis for axis, text in enumerate(shown) if text != ":"), 0)
    if front > 2 and last == len(items) - 1:
        shown = ["...", *shown[front:]]
    return f"[{', '.join(shown)}]" if shown else ""


def _shown(item: Item, holes: Holes) -> str:
    match item:
        case Position(index):
            return holes.show(index)
        case Range(start, stop, step):
            text = f"{_optional(start, holes)}:{_optional(stop, holes)}"
            return text if step == 1 else f"{text}:{step}"


def _optional(size: Size | None, holes: Holes) -> str:
    return "" if size is None else holes.show(size)


def _update(bound: Bound) -> Template:
    holes, items, value = Holes(), _items(bound), bound["value"]
    part = "{x}" + _subscript(items, holes)
    if not isinstance(value, Value):
        written = f"torch.full_like({part}, {{value}})"
    elif value.shape == _taken(items):
        written = "{value}"
    else:
        written = f"{{value}}.expand_as({part})"
    return Template(_scattered("{x}", items, written, holes), holes)


def _scattered(base: str, items: Sequence[Item], value: str, holes: Holes) -> str:
    """Return `base` with `value` written at `items`, axis by axis from the first one cut."""
    axis = next((axis for axis, item in enumerate(items) if not _is_whole(item)), None)
    if axis is None:
        return value
    item, whole = items[axis], Range(None, None, 1, 0)
    inner = [*[whole] * (axis + isinstance(item, Range)), *items[axis + 1 :]]
    part = base + _subscript([*items[: axis + 1], whole], holes)
    source = _scattered(part, inner, value, holes)
    if isinstance(item, Position):
        return f"{base}.select_scatter({source}, {axis}, {holes.show(item.index)})"
    bounds = {"dim": axis, "start": item.start, "end": item.stop, "step": item.step}
    shown = [
        f"{name}={holes.show(size)}"
        for name, size in bounds.items()
        if size is not None and (name, size) != ("step", 1)
    ]
    return f"{base}.slice_scatter({source}, {', '.join(shown)})"


ROWS = (
    Op(
        "slice",
        FAMILY,
        "x[:, 0:1]: slices and positions, axis by axis from the first.",
        "x: any[*s], spec: index -> any[*to]",
        _slice,
        derive=_sliced,
    ),
    Op(
        "slice_update",
        FAMILY,
        "x with x[:, 0:1] = value; x itself stays as it is.",
        "x: any[*s], spec: index, value: element -> any[*s]",
        _update,
        derive=_check_update,
    ),
)

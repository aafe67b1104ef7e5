"""Tensors joined along an axis, and parted."""

from __future__ import annotations

from attnc.dsl.dims import Dim, Shape, Size
from attnc.dsl.graph import Arg, TensorType, Value
from attnc.dsl.ops.bound import Bound, shape_of
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op, Template
from attnc.dsl.ops.shape_rules import exact, position, replaced

FAMILY = "joining"


def _joined(bound: Bound, tensors: tuple[Value, ...], axis: int) -> Shape:
    """Rule: the sum of sizes along the axis; all others are equal."""
    first = _first(tensors).shape
    along = position(axis, len(first))
    total: Size = 0
    for tensor in tensors:
        same = len(tensor.shape) == len(first)
        if not same or replaced(tensor.shape, along) != replaced(first, along):
            expected = ", ".join(map(str, (*first[:along], "_", *first[along + 1 :])))
            raise Mismatch(
                "shape" if same else "rank", f"all but axis {along} must be equal",
                parameter="tensors", expected=f"[{expected}]", found=str(tensor.type),
            )  # fmt: skip
        total = total + tensor.shape[along]
    return replaced(first, along, total)


def _stacked(bound: Bound, tensors: tuple[Value, ...], axis: int) -> Shape:
    """Rule: a new axis of the number of tensors, which are all of one shape."""
    first = _first(tensors)
    for tensor in tensors:
        if tensor.shape != first.shape:
            raise Mismatch(
                "shape", "all must have one shape",
                parameter="tensors", expected=str(first.type), found=str(tensor.type),
            )  # fmt: skip
    along = position(axis, len(first.shape) + 1)
    return (*first.shape[:along], len(tensors), *first.shape[along:])


def _first(tensors: tuple[Value, ...]) -> Value:
    if not tensors:
        raise Mismatch("argument", "takes at least one tensor", parameter="tensors")
    return tensors[0]


def _parted(bound: Bound, shape: Shape, parts: Arg, axis: int) -> tuple[Shape, ...]:
    """Rule: a shape for each part."""
    along = position(axis, len(shape))
    if isinstance(parts, tuple):
        sizes = shape_of(parts)
        total = sum(sizes)
        if total != shape[along]:
            raise Mismatch(
                "shape", f"the parts sum to {total}", parameter="parts",
                expected=f"parts that sum to {shape[along]}", found=str(TensorType(sizes)),
            )  # fmt: skip
    elif isinstance(parts, int) and parts > 0:
        sizes = (exact(bound, shape[along], parts),) * parts
    else:
        raise Mismatch("argument", f"{parts} is no number of parts", parameter="parts")
    return tuple(replaced(shape, along, size) for size in sizes)


def _split(bound: Bound) -> Template:
    name = "split" if isinstance(bound["parts"], tuple) else "chunk"
    return Template(f"{{x}}.{name}({{parts}}, dim={{axis}})", {})


def _unbound(bound: Bound, shape: Shape, axis: int) -> tuple[Shape, ...]:
    """Rule: a shape without the axis for each of its positions."""
    along = position(axis, len(shape))
    size = shape[along]
    if isinstance(size, Dim):
        raise Mismatch("argument", f"the number of results would be {size}", parameter="axis")
    return (replaced(shape, along),) * size


ROWS = (
    Op(
        "concat",
        FAMILY,
        "Tensors one after the other along an axis.",
        "*tensors: any[...], axis: int -> any[*joined(tensors, axis)]",
        "torch.cat({tensors}, dim={axis})",
        rules={"joined": _joined},
    ),
    Op(
        "stack",
        FAMILY,
        "Tensors of one shape along a new axis.",
        "*tensors: any[...], axis: int = 0 -> any[*stacked(tensors, axis)]",
        "torch.stack({tensors}, dim={axis?})",
        rules={"stacked": _stacked},
    ),
    Op(
        "split",
        FAMILY,
        "Parts along an axis: that many equal ones, or of the sizes given.",
        "x: any[*s], parts: sizes, axis: int = -1 -> *any[parted(s, parts, axis)]",
        _split,
        rules={"parted": _parted},
        is_tuple=True,
    ),
    Op(
        "chunk",
        FAMILY,
        "That many equal parts along an axis.",
        "x: any[*s], sections: positive, axis: int = -1 -> *any[parted(s, sections, axis)]",
        "{x}.chunk({sections}, dim={axis})",
        rules={"parted": _parted},
        is_tuple=True,
    ),
    Op(
        "unbind",
        FAMILY,
        "The slices at every position of an axis, which goes away.",
        "x: any[*s], axis: int = 0 -> *any[unbound(s, axis)]",
        "{x}.unbind({axis})",
        rules={"unbound": _unbound},
        is_tuple=True,
    ),
)

"""Selection by index tensors, order, and masks."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.dsl.dims import Shape, Size
from attnc.dsl.graph import Arg, Value
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op, Template
from attnc.dsl.ops.shape_rules import broadcast, check_written, position, replaced, same_axis

FAMILY = "indexing"


def _gathered(bound: Bound, shape: Shape, index: Shape, axis: int) -> Shape:
    """Rule: both broadcast, but along the axis, where the index has its own size."""
    if len(index) != len(shape):
        raise Mismatch(
            "rank", "the index has as many axes as x",
            parameter="index", expected=f"{len(shape)} axes", found=str(bound.value("index").type),
        )  # fmt: skip
    along = position(axis, len(shape))
    common = broadcast(bound, replaced(shape, along, 1), replaced(index, along, 1))
    return replaced(common, along, index[along])


def _gather(bound: Bound) -> Template:
    """Return a call of torch's own gather, which broadcasts nothing.

    `torch.take_along_dim` broadcasts, but takes symbolic sizes for those that it is traced with.
    """
    shape, index = bound.shape("s"), bound.shape("t")
    along = position(bound.integer("axis"), len(shape))
    wanted = _gathered(bound, shape, index, along)
    text = ""
    holes: dict[str, Arg] = {}
    for name, sizes in (("x", replaced(shape, along, index[along])), ("index", index)):
        shown = tuple(-1 if own == size else size for own, size in zip(sizes, wanted, strict=True))
        expanded = f"{{{name}}}"
        if sizes != wanted:
            holes[f"{name}_shape"] = shown
            expanded += f".expand({{{name}_shape}})"
        text += f"{expanded}.gather({{axis}}, " if name == "x" else f"{expanded})"
    return Template(text, holes)


def _taken(bound: Bound, shape: Shape, index: Value, axis: int) -> Shape:
    """Rule: the index's axes in place of the axis."""
    return replaced(shape, position(axis, len(shape)), *index.shape)


def _take(bound: Bound) -> Template:
    axis = position(bound.integer("axis"), len(bound.shape("s")))
    return Template(f"{{x}}[{':, ' * axis}{{index}}]", {})


def _limited(bound: Bound, shape: Shape, axis: int, k: Size) -> Shape:
    """Rule: k positions along the axis."""
    along = position(axis, len(shape))
    size = shape[along]
    if isinstance(k, int) and (k < 1 or (isinstance(size, int) and k > size)):
        raise Mismatch("argument", f"k is {k}, of {size} elements", parameter="k")
    return replaced(shape, along, k)


def _scattered(bound: Bound, shape: Shape, index: Shape, values: Shape, axis: int) -> Shape:
    """Rule: that of x; the values have it too but along the axis, where they are as many."""
    along = position(axis, len(shape))
    for name, found in (("index", index), ("values", values)):
        if len(found) != len(shape):
            raise Mismatch(
                "rank", f"{name} has as many axes as x", parameter=name,
                expected=f"{len(shape)} axes", found=str(bound.value(name).type),
            )  # fmt: skip
    expected = replaced(shape, along, index[along])
    fits = all(size in (1, wanted) for size, wanted in zip(index, expected, strict=True))
    if values != expected or not fits:
        name = "index" if values == expected else "values"
        raise Mismatch(
            "shape", "index names a place for every value", parameter=name,
            expected=f"[{', '.join(map(str, expected))}]", found=str(bound.value(name).type),
        )  # fmt: skip
    return shape


def _check_values(bound: Bound) -> Mapping[str, Arg]:
    expected, found = bound.value("x").type.dtype, bound.value("values").type.dtype
    if expected != found:
        raise Mismatch(
            "dtype", f"x is {expected}; use cast",
            parameter="values", expected=expected, found=found,
        )  # fmt: skip
    return {}


_SORTED = "{x}.sort(dim={axis}, descending={descending}, stable={stable})"

ROWS = (
    Op(
        "gather",
        FAMILY,
        "x at index along the axis; other axes of x and index broadcast.",
        "x: any[*s], index: int[*t], axis: int = -1 -> any[*gathered(s, t, axis)]",
        _gather,
        rules={"gathered": _gathered},
    ),
    Op(
        "take",
        FAMILY,
        "Whole slices of x along the axis, whose place the index's axes take.",
        "x: any[*s], index: int[t, *r], axis: int = 0 -> any[*taken(s, index, axis)]",
        _take,
        rules={"taken": _taken},
    ),
    Op(
        "topk",
        FAMILY,
        "The k largest elements along the axis, largest first unless sorted is false, and where "
        "they stand. The order of equal elements is torch's and not defined; argsort is stable "
        "where that matters.",
        "x: real[*s], k: size, axis: int = -1, largest: flag = true, sorted: flag = true "
        "-> real[*limited(s, axis, k)], int[*limited(s, axis, k)]",
        "{x}.topk({k}, dim={axis}, largest={largest?}, sorted={sorted?})",
        rules={"limited": _limited},
        result_fields=("value", "index"),
        is_tuple=True,
    ),
    Op(
        "sort",
        FAMILY,
        "The elements in order along the axis, and where they stood.",
        "x: real[*s], axis: int = -1, descending: flag = false, stable: flag = true "
        "-> real[*s], int[*s]",
        _SORTED,
        derive=same_axis,
        result_fields=("value", "index"),
        is_tuple=True,
    ),
    Op(
        "argsort",
        FAMILY,
        "Where the elements stand, in their order along the axis.",
        "x: real[*s], axis: int = -1, descending: flag = false, stable: flag = true -> int[*s]",
        "{x}.argsort(dim={axis}, descending={descending?}, stable={stable})",
        derive=same_axis,
    ),
    Op(
        "scatter",
        FAMILY,
        "x, but the values at index along the axis; index broadcasts to the values, and may name a "
        "place once.",
        "x: any[*s], index: int[*t], values: any[*u], axis: int = -1 "
        "-> any[*scattered(s, t, u, axis)]",
        "{x}.scatter({axis}, {index}.expand_as({values}), {values})",
        rules={"scattered": _scattered},
        derive=_check_values,
    ),
    Op(
        "where",
        FAMILY,
        "a where the condition holds, b elsewhere.",
        "condition: bool[*c], a: operand, b: operand -> any[*broadcast(c, a, b)]",
        "torch.where({condition}, {a}, {b})",
        rules={"broadcast": broadcast},
    ),
    Op(
        "masked_fill",
        FAMILY,
        "x, but the value where the mask holds.",
        "x: any[*s], mask: bool[*m], value: number -> any[*broadcast(s, m)]",
        "{x}.masked_fill({mask}, {value})",
        rules={"broadcast": broadcast},
        derive=check_written,
    ),
    Op(
        "one_hot",
        FAMILY,
        "1 at the index along a new last axis, 0 elsewhere; int.",
        "index: int[*s], count: positive -> int[*s, count]",
        "F.one_hot({index}, {count})",
    ),
    Op(
        "segment_sum",
        FAMILY,
        "Sums of the rows of x that share an index: [*, n, d] to [*, count, d].",
        "x: [*s, n, d], index: int[*s, n], count: size -> [*s, count, d]",
        "{x}.new_zeros({shape}).scatter_add(-2, {index}.unsqueeze(-1).expand_as({x}), {x})",
        derive=lambda bound: {"shape": (*bound.shape("s"), bound.size("count"), bound.size("d"))},
    ),
)

"""Pooling, resizing and moving pixels into channels."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.dsl.dims import Dim, Shape, Size, floor_divide
from attnc.dsl.graph import Arg
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.convolution import SIDES, positive
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op, Template
from attnc.dsl.ops.shape_rules import exact, per_axis, sides

FAMILY = "pooling"


def _pool(bound: Bound, *sizes: Size) -> Shape:
    """Rule: the number of windows along each axis."""
    rank = len(sizes)
    windows = zip(
        sizes,
        per_axis(bound["kernel"], rank, "kernel"),
        per_axis(bound["kernel" if bound["stride"] is None else "stride"], rank, "stride"),
        per_axis(bound["padding"], rank, "padding"),
        per_axis(bound.get("dilation", 1), rank, "dilation"),
        strict=True,
    )
    count = _ceil_count if bound["ceil_mode"] else _floor_count
    return tuple(positive(count(*window), window[0]) for window in windows)


def _floor_count(size: Size, kernel: Size, stride: Size, padding: Size, dilation: Size) -> Size:
    return floor_divide(size + 2 * padding - dilation * (kernel - 1) - 1, stride) + 1


def _ceil_count(size: Size, kernel: Size, stride: Size, padding: Size, dilation: Size) -> Size:
    """Round up, but let no window start in the padding after the end."""
    reach = dilation * (kernel - 1) + 1
    windows = floor_divide(size + 2 * padding - reach + stride - 1, stride) + 1
    if as_int(stride + padding) <= as_int(reach):
        return windows
    if isinstance(size, Dim) or isinstance(windows, Dim):
        raise Mismatch("argument", f"ceil_mode leaves the result open for size {size}")
    return windows - 1 if (windows - 1) * as_int(stride) >= size + as_int(padding) else windows


def as_int(size: Size) -> int:
    """Narrow a number that is no symbolic size."""
    assert isinstance(size, int)
    return size


def _check_pool(bound: Bound) -> Mapping[str, Arg]:
    rank = len(bound.value("x").shape) - 2
    pairs = zip(
        per_axis(bound["kernel"], rank, "kernel"),
        per_axis(bound["padding"], rank, "padding"),
        strict=True,
    )
    if any(2 * as_int(padding) > as_int(kernel) for kernel, padding in pairs):
        raise Mismatch("argument", "padding is at most half the kernel", parameter="padding")
    return {}


def _pooling(kind: str, rank: int, more: str, doc: str) -> Op:
    names = [part.split(":")[0].strip() for part in more.split(",")]
    options = ", ".join(f"{name}={{{name}?}}" for name in ("stride", "padding", *names))
    return Op(
        f"{kind}_pool{rank}d",
        FAMILY,
        doc,
        f"x: [b, c, {SIDES[rank]}], kernel: window, stride: window = none, padding: margin = 0, "
        f"{more} -> [b, c, *pool({SIDES[rank]})]",
        f"F.{kind}_pool{rank}d({{x}}, {{kernel}}, {options})",
        rules={"pool": _pool},
        derive=_check_pool,
    )


def _adaptive(rank: int) -> Op:
    return Op(
        f"adaptive_avg_pool{rank}d",
        FAMILY,
        "The mean over windows so placed that the result has the given size.",
        f"x: [b, c, {SIDES[rank]}], size: sizes -> [b, c, *sides(size, {rank})]",
        f"F.adaptive_avg_pool{rank}d({{x}}, {{size}})",
        rules={"sides": sides},
    )


_RESIZED_AXES: Mapping[str, tuple[int, ...]] = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "area": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
}
_INTERPOLATING = ("linear", "bilinear", "bicubic", "trilinear")


def _check_resize(bound: Bound) -> Mapping[str, Arg]:
    mode, rank = bound.text("mode"), len(bound.shape("s"))
    if rank not in _RESIZED_AXES[mode]:
        raise Mismatch("argument", f'mode "{mode}" does not go with {rank} spatial axes')
    if bound["align_corners"] and mode not in _INTERPOLATING:
        raise Mismatch("argument", f'align_corners does not go with mode "{mode}"')
    if bound["antialias"] and mode not in ("bilinear", "bicubic"):
        raise Mismatch("argument", f'antialias does not go with mode "{mode}"')
    return {"size": per_axis(bound["size"], rank, "size")}


def _resize(bound: Bound) -> Template:
    corners = ", align_corners={align_corners}" if bound["mode"] in _INTERPOLATING else ""
    text = f"F.interpolate({{x}}, size={{size}}, mode={{mode}}{corners}, antialias={{antialias?}})"
    return Template(text, {})


ROWS = (
    *(
        _pooling(
            "avg",
            rank,
            "ceil_mode: flag = false, count_include_pad: flag = true",
            "The mean of every window.",
        )
        for rank in SIDES
    ),
    *(
        _pooling(
            "max",
            rank,
            "dilation: window = 1, ceil_mode: flag = false",
            "The largest element of every window.",
        )
        for rank in SIDES
    ),
    *map(_adaptive, SIDES),
    Op(
        "resize",
        FAMILY,
        "Resampling of the spatial axes to the given size.",
        f"x: [b, c, *s], size: sizes, mode: {' | '.join(map(repr, _RESIZED_AXES))} = 'bilinear', "
        "align_corners: flag = false, antialias: flag = false -> [b, c, *size]",
        _resize,
        derive=_check_resize,
    ),
    Op(
        "grid_sample",
        FAMILY,
        "Values of a map at given places: [b, y, x, (column, row)] from -1 to 1.",
        "x: [b, c, h, w], grid: [b, i, j, 2], mode: 'bilinear' | 'nearest' | 'bicubic' = "
        "'bilinear', padding_mode: 'zeros' | 'border' | 'reflection' = 'zeros', "
        "align_corners: flag = false -> [b, c, i, j]",
        "F.grid_sample({x}, {grid}, mode={mode?}, padding_mode={padding_mode?}, "
        "align_corners={align_corners})",
    ),
    Op(
        "pixel_shuffle",
        FAMILY,
        "Channels into pixels: [*, c r^2, h, w] to [*, c, h r, w r].",
        "x: any[*, c, h, w], factor: positive "
        "-> any[*, exact(c, factor * factor), h * factor, w * factor]",
        "F.pixel_shuffle({x}, {factor})",
        rules={"exact": exact},
    ),
    Op(
        "pixel_unshuffle",
        FAMILY,
        "Pixels into channels: [*, c, h r, w r] to [*, c r^2, h, w].",
        "x: any[*, c, h, w], factor: positive "
        "-> any[*, c * factor * factor, exact(h, factor), exact(w, factor)]",
        "F.pixel_unshuffle({x}, {factor})",
        rules={"exact": exact},
    ),
)

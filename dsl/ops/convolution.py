"""Convolutions in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnc.dsl.dims import Shape, Size, floor_divide
from attnc.dsl.graph import Arg, Value
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op
from attnc.dsl.ops.shape_rules import count, per_axis, sides

FAMILY = "convolution"
SIDES = {1: "l", 2: "h, w", 3: "t, h, w"}
_WINDOW = "kernel: window, stride: window = 1, padding: padding = {padding}, dilation: window = 1"
_MODES = '"zeros" | "reflect" | "replicate" | "circular"'


def _conv(bound: Bound, *sizes: Size) -> Shape:
    """Rule: (size + 2 padding - dilation (kernel - 1) - 1) // stride + 1 along each axis."""
    if bound["padding"] == "same":
        if set(per_axis(bound["stride"], len(sizes), "stride")) != {1}:
            raise Mismatch("argument", 'padding = "same" needs stride 1', parameter="padding")
        return sizes
    return tuple(
        positive(floor_divide(size + 2 * pad - dilation * (kernel - 1) - 1, stride) + 1, size)
        for size, kernel, stride, pad, dilation in _windows(bound, sizes)
    )


def _conv_transpose(bound: Bound, *sizes: Size) -> Shape:
    """Rule: (size - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1."""
    extra = per_axis(bound["output_padding"], len(sizes), "output_padding")
    return tuple(
        positive((size - 1) * stride - 2 * pad + dilation * (kernel - 1) + more + 1, size)
        for (size, kernel, stride, pad, dilation), more in zip(
            _windows(bound, sizes), extra, strict=True
        )
    )


def _windows(bound: Bound, sizes: Sequence[Size]) -> list[tuple[Size, ...]]:
    """Return (size, kernel, stride, padding, dilation) for each axis."""
    names = ("kernel", "stride", "padding", "dilation")
    return list(zip(sizes, *(per_axis(bound[n], len(sizes), n) for n in names), strict=True))


def positive(result: Size, size: Size) -> Size:
    """Return a size that is known to be positive, or may be.

    Raises:
        Mismatch: the window does not fit into `size`.
    """
    if isinstance(result, int) and result < 1:
        raise Mismatch("argument", f"the kernel does not fit into size {size}", parameter="kernel")
    return result


def _check_conv(bound: Bound) -> Mapping[str, Arg]:
    groups = bound.integer("groups")
    for name in ("i", "out"):
        size = bound[name]
        if isinstance(size, int) and size % groups:
            raise Mismatch("argument", f"{groups} groups do not divide {size} channels")
    return {}


def _conv_flops(bound: Bound, results: Sequence[Value]) -> Size:
    return (
        2 * count(results[0].shape) * floor_divide(bound.size("i"), _groups(bound)) * _taps(bound)
    )


def _conv_transpose_flops(bound: Bound, results: Sequence[Value]) -> Size:
    width = floor_divide(bound.size("out"), _groups(bound))
    return 2 * count(bound.value("x").shape) * width * _taps(bound)


def _depthwise_flops(bound: Bound, results: Sequence[Value]) -> Size:
    return 2 * count(results[0].shape) * _taps(bound)


def _groups(bound: Bound) -> int:
    return bound.integer("groups")


def _taps(bound: Bound) -> Size:
    rank = len(bound.value("x").shape) - 2
    return count(per_axis(bound["kernel"], rank, "kernel"))


def _convolution(rank: int) -> Op:
    return Op(
        f"conv{rank}d",
        FAMILY,
        f"{rank}-D convolution (cross-correlation) of channels first.",
        f"x: [b, i, {SIDES[rank]}], out: positive, {_WINDOW.format(padding=0)}, "
        f"groups: positive = 1, bias: flag = true, padding_mode: {_MODES} = 'zeros' "
        f"-> [b, out, *conv({SIDES[rank]})]",
        module=f"nn.Conv{rank}d({{i}}, {{out}}, {{kernel}}, stride={{stride?}}, "
        "padding={padding?}, dilation={dilation?}, groups={groups?}, bias={bias?}, "
        "padding_mode={padding_mode?})",
        state=f"weight: [out, i // groups, *sides(kernel, {rank})] = linear, bias: [out] = linear",
        rules={"conv": _conv, "sides": sides},
        derive=_check_conv,
        cost=_conv_flops,
    )


def _transposed(rank: int) -> Op:
    return Op(
        f"conv_transpose{rank}d",
        FAMILY,
        f"The transpose of a {rank}-D convolution: scales up by its stride.",
        f"x: [b, i, {SIDES[rank]}], out: positive, kernel: window, stride: window = 1, "
        "padding: margin = 0, output_padding: margin = 0, groups: positive = 1, bias: flag = true, "
        f"dilation: window = 1 -> [b, out, *conv_transpose({SIDES[rank]})]",
        module=f"nn.ConvTranspose{rank}d({{i}}, {{out}}, {{kernel}}, stride={{stride?}}, "
        "padding={padding?}, output_padding={output_padding?}, groups={groups?}, bias={bias?}, "
        "dilation={dilation?})",
        state=f"weight: [i, out // groups, *sides(kernel, {rank})] = linear, bias: [out] = linear",
        rules={"conv_transpose": _conv_transpose, "sides": sides},
        derive=_check_conv,
        cost=_conv_transpose_flops,
    )


ROWS = (
    *map(_convolution, SIDES),
    *map(_transposed, SIDES),
    Op(
        "depthwise",
        FAMILY,
        "2-D convolution of every channel by itself; keeps the size unless padding says otherwise.",
        f"x: [b, c, h, w], {_WINDOW.format(padding=repr('same'))}, bias: flag = true "
        "-> [b, c, *conv(h, w)]",
        module="nn.Conv2d({c}, {c}, {kernel}, stride={stride?}, padding={padding}, "
        "dilation={dilation?}, groups={c}, bias={bias?})",
        state="weight: [c, 1, *sides(kernel, 2)] = linear, bias: [c] = linear",
        rules={"conv": _conv, "sides": sides},
        cost=_depthwise_flops,
    ),
    Op(
        "unfold",
        FAMILY,
        "The windows of a map side by side: [b, c * taps, windows], both row by row.",
        "x: [b, c, h, w], kernel: window, stride: window = 1, padding: margin = 0, "
        "dilation: window = 1 -> [b, c * taps(kernel), windows(h, w)]",
        "F.unfold({x}, {kernel}, dilation={dilation?}, padding={padding?}, stride={stride?})",
        rules={
            "taps": lambda bound, kernel: count(per_axis(kernel, 2, "kernel")),
            "windows": lambda bound, *sizes: count(_conv(bound, *sizes)),
        },
    ),
)

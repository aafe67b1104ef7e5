"""Borders around tensors."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.dsl.dims import Shape, Size
from attnc.dsl.graph import Arg
from attnc.dsl.ops.bound import Bound, as_size
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op, Template

FAMILY = "layout"


def _padded(bound: Bound, shape: Shape, amounts: tuple[Size, ...]) -> Shape:
    """Rule: amounts (before, after), last axis first, are added."""
    if len(amounts) % 2 or len(amounts) > 2 * len(shape):
        raise Mismatch(
            "argument", f"{len(amounts)} amounts are no pairs for up to {len(shape)} axes",
            parameter="amounts",
        )  # fmt: skip
    sizes = list(shape)
    for axis, (before, after) in enumerate(zip(amounts[::2], amounts[1::2], strict=True), start=1):
        _check_border(bound.text("mode"), sizes[-axis], before, after)
        sizes[-axis] = as_size(sizes[-axis] + before + after)
    if any(isinstance(size, int) and size < 0 for size in sizes):
        raise Mismatch("argument", "amounts crop more than there is", parameter="amounts")
    return tuple(sizes)


_REACH = {"reflect": 1, "circular": 0}


def _check_border(mode: str, size: Size, *amounts: Size) -> None:
    """A border is made from the elements inside, of which there must be enough."""
    limit = size - _REACH.get(mode, 0)
    for amount in amounts if mode in _REACH else ():
        if isinstance(amount, int) and isinstance(limit, int) and amount > limit:
            raise Mismatch("argument", f'mode "{mode}" adds at most {limit} to size {size}')


def _check_pad(bound: Bound) -> Mapping[str, Arg]:
    padded, rank = len(bound.shape("amounts")) // 2, len(bound.shape("s"))
    if bound["mode"] != "constant" and (padded > 3 or rank - padded not in (1, 2)):
        raise Mismatch(
            "argument", f'mode "{bound["mode"]}" pads all axes but the first or the first two, '
            f"not {padded} of {rank}",
        )  # fmt: skip
    return {}


def _pad(bound: Bound) -> Template:
    filling = ", value={value?}" if bound["mode"] == "constant" else ", mode={mode}"
    return Template(f"F.pad({{x}}, {{amounts}}{filling})", {})


ROWS = (
    Op(
        "pad",
        FAMILY,
        "A border around the last axes: [before, after] of the last, then of the one before it ...",
        "x: any[*s], amounts: shape, value: number = 0, "
        "mode: 'constant' | 'reflect' | 'replicate' | 'circular' = 'constant' "
        "-> any[*padded(s, amounts)]",
        _pad,
        rules={"padded": _padded},
        derive=_check_pad,
    ),
)

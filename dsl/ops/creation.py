"""Tensors from nothing but sizes and numbers, and changes of the kind of number."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.row import Op, Template

FAMILY = "creation"
_KINDS = '"float" | "int" | "bool"'
_FILLED: Mapping[str, str] = {
    "float": "torch.full({shape}, {value}, dtype={dtype}, device={device})",
    "int": "torch.full({shape}, {value}, dtype=torch.int64, device={device})",
    "bool": "torch.full({shape}, {value}, dtype=torch.bool, device={device})",
}
_CAST: Mapping[str, str] = {"float": "{x}.to({dtype})", "int": "{x}.long()", "bool": "{x}.bool()"}


def _full(bound: Bound) -> Template:
    return Template(_FILLED[bound.text("kind")], {})


def _cast(bound: Bound) -> Template:
    return Template(_CAST[bound.text("to")], {})


ROWS = (
    Op(
        "iota",
        FAMILY,
        "0, 1, ..., n - 1; int.",
        "n: size -> int[n]",
        "torch.arange({n}, device={device})",
    ),
    Op(
        "linspace",
        FAMILY,
        "Numbers from start to stop, both included, at equal distances.",
        "start: float, stop: float, count: size -> [count]",
        "torch.linspace({start}, {stop}, {count}, dtype={dtype}, device={device})",
    ),
    Op(
        "full",
        FAMILY,
        "One number in every place.",
        f"shape: shape, value: number, kind: {_KINDS} = 'float' -> kind[*shape]",
        _full,
    ),
    Op(
        "zeros",
        FAMILY,
        "0 in every place.",
        "shape: shape -> [*shape]",
        "torch.zeros({shape}, dtype={dtype}, device={device})",
    ),
    Op(
        "ones",
        FAMILY,
        "1 in every place.",
        "shape: shape -> [*shape]",
        "torch.ones({shape}, dtype={dtype}, device={device})",
    ),
    Op(
        "cast",
        FAMILY,
        "The same numbers as the model's float, as int (rounded towards 0) or as bool.",
        f"x: any[*s], to: {_KINDS} -> to[*s]",
        _cast,
    ),
    Op(
        "detach",
        FAMILY,
        "x, through which no gradient flows.",
        "x: any[*s] -> any[*s]",
        "{x}.detach()",
    ),
)

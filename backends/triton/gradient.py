"""d loss / d score of a tile of pairs, its weights recomputed from lse.

With p = exp2(s - lse), dp = grad_out v' and delta = rowsum(grad_out * out) - grad_lse, it is
ds = p * (dp - delta); gradients of q, k and captured tensors are sums of ds times slopes.
"""

from __future__ import annotations

from collections.abc import Mapping

from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.orientation import Orientation, product
from attnc.backends.triton.pieces import (
    axes,
    kept,
    literal,
    needs_product,
    scores,
    times,
)
from attnc.backends.triton.streams import Stream

Slopes = Mapping[str, Formula]
"""Derivatives of the score that a tile multiplies `ds` by; names to hold them."""


def formulas(stream: Stream, slopes: Slopes) -> tuple[Formula, ...]:
    """Return all that a tile computes with."""
    return (stream.score, *([stream.keep] if stream.keep else []), *slopes.values())


def score_gradient(
    stream: Stream, slopes: Slopes, held: Orientation, placed: bool = False
) -> list[str]:
    """Return statements for `p`, `ds` and the slopes; `placed` where coordinates have two axes."""
    computed = formulas(stream, slopes)
    weighted = times("dp", literal(stream.weight, "weight"))
    return [
        *([f"qk = {held.product}"] if needs_product(computed) else []),
        *([] if placed else axes(stream, computed, held)),
        *scores(stream),
        f"p = tl.exp2(s - lse_tile{held.per_query})",
        f"dp = {held.grad_product}",
        f"ds = p * ({weighted} - delta_tile{held.per_query})",
        *(each.assigned(name) for name, each in slopes.items() if literal(each, name) == name),
    ]


def nothing_outside(
    stream: Stream, slopes: Slopes, held: Orientation, inside: str = "", also: str = ""
) -> list[str]:
    """Return statements that leave nothing of pairs outside, infinite slopes included."""
    uneven = [name for name, each in slopes.items() if {"qk", "i", "j"} & {*each.variables}]
    names = [*([also] if also else []), "ds", *uneven]
    return [*kept(stream, held, inside), *(f"{x} = tl.where(keep, {x}, 0.0)" for x in names)]


def sums(slopes: Slopes, along: str = "tl.sum({}, 1)") -> list[str]:
    """Return statements that add ds times the slope of each buffer, summed over a tile's rows."""
    lines = []
    for name, each in slopes.items():
        if name != "slope":
            product_ = times("ds", literal(each, name))
            lines.append(f"{name.removesuffix('_slope')}_sum += {along.format(product_)}")
    return lines


def through(slopes: Slopes, other: str, into: str) -> list[str]:
    """Return statements that add ds, times d score / d qk where that is among them, by `other`."""
    factor = literal(slopes.get("slope"), "slope")
    scaled = [f"ds = ds * {factor}"] if factor else []
    return [*scaled, f"{into} = {product(f'ds.to({other}.dtype)', other, into)}"]


def weight_name(stream: Stream) -> tuple[str, ...]:
    """Return the name that holds the weight of a source, if it is no number."""
    return ("weight",) if literal(stream.weight, "weight") == "weight" else ()

"""d loss / d score of a tile of pairs, its weights recomputed from what the forward pass left.

With dp = grad_out v' the gradient of the weights, softmax has p = exp2(s - lse) and delta =
rowsum(grad_out * out) - grad_lse, and ds = p * (dp - delta). Gradients of q, k and captured
tensors are sums of ds times slopes of the score, and of dp times slopes of the post expression.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.orientation import Orientation, product
from attnc.backends.triton.pieces import (
    assigned,
    axes,
    is_uneven,
    kept,
    literal,
    needs_product,
    only_kept,
    scores,
    times,
    variables,
)
from attnc.backends.triton.rules import Rule
from attnc.backends.triton.streams import Slope, Stream

Slopes = Mapping[str, Slope]
"""Derivatives that a tile multiplies `ds` or `dp` by; names to hold them."""


def formulas(stream: Stream, slopes: Slopes, values: bool = False) -> tuple[Formula, ...]:
    """Return all that a tile computes with; `values` where it needs the weights of values."""
    of_values = (stream.extra, stream.late) if values else ()
    found = (stream.score, stream.keep, stream.share, *of_values)
    return (
        *(each for each in found if each is not None),
        *(each.formula for each in slopes.values()),
    )


def score_gradient(
    rule: Rule,
    stream: Stream,
    slopes: Slopes,
    held: Orientation,
    placed: bool = False,
    values: bool = False,
    centred: bool = True,
) -> list[str]:
    """Return statements for `p`, `ds` and the slopes.

    Args:
        rule: how scores become weights.
        stream: whose scores.
        slopes: to compute.
        held: how the kernel holds the tile.
        placed: whether coordinates have two axes already.
        values: whether `p` becomes what values are multiplied by, before pairs outside leave it.
        centred: whether `ds` counts from delta, as the rule says; else it is p * dp.
    """
    computed = formulas(stream, slopes, values)
    rest = weight_gradient(rule, stream, slopes, held, values, centred)
    return [
        *([f"qk = {held.product}"] if needs_product(computed) else []),
        *([] if placed else axes(stream, computed, held)),
        *(scores(stream) if _reads("s", *rest) else []),
        *rest,
    ]


def weight_gradient(
    rule: Rule,
    stream: Stream,
    slopes: Slopes,
    held: Orientation,
    values: bool = False,
    centred: bool = True,
) -> list[str]:
    """Return the statements of `score_gradient` that come after the scores."""
    computed = formulas(stream, slopes, values)
    share = literal(stream.share, "share")
    weight = literal(stream.weight, "weight")
    dp = times("dp", share)
    pulled = rule.pull(held.per_query, dp) if centred else f"ds = p * {dp}"
    reads_p = values or "w" in variables(computed) or _reads("p", pulled)
    lines = [
        *(each for each in rule.weights(held.per_query) if reads_p or not each.startswith("p = ")),
        f"dp = {held.grad_product}",
        *([f"dp = dp * {weight}"] if weight else []),
        *(["w = p"] if "w" in variables(computed) else []),
        *assigned(stream.share, "share"),
        pulled,
        *(line for name, each in slopes.items() for line in assigned(each.formula, name)),
    ]
    if values and stream.late is not None:
        lines.append(stream.late.assigned("p"))
    elif values and share:
        lines.append(f"p = p * {share}")
    if values and stream.extra is not None:
        lines += [stream.extra.assigned("extra"), "p = p + extra"]
    return lines


def _reads(name: str, *lines: str) -> bool:
    return any(re.search(rf"\b{name}\b", line) for line in lines)


def nothing_outside(
    stream: Stream, slopes: Slopes, held: Orientation, inside: str = "", also: str = ""
) -> list[str]:
    """Return statements that leave nothing of pairs outside, infinite slopes included."""
    return [*kept(stream, held, inside), *only_inside(slopes, also)]


def only_inside(slopes: Slopes, also: str = "") -> list[str]:
    """Return the statements of `nothing_outside` that come after the mask."""
    uneven = [name for name, each in slopes.items() if is_uneven(each.formula)]
    weights = ["dp"] if any(each.base == "dp" for each in slopes.values()) else []
    names = [*([also] if also else []), *weights, "ds", *uneven]
    return [*map(only_kept, names)]


def sums(slopes: Slopes, along: str = "tl.sum({}, 1)") -> list[str]:
    """Return statements that add to each buffer what a tile gives, summed over its rows."""
    lines = []
    for name, each in slopes.items():
        if name not in ("slope", "post_slope"):
            product_ = times(each.base, literal(each.formula, name))
            lines.append(f"{name.removesuffix('_slope')}_sum += {along.format(product_)}")
    return lines


def through(slopes: Slopes, other: str, into: str) -> list[str]:
    """Return statements that add d loss / d qk, as far as slopes of it are given, by `other`."""
    return [*to_product(slopes), f"{into} = {product(f'ds.to({other}.dtype)', other, into)}"]


def to_product(slopes: Slopes) -> list[str]:
    """Return statements that make `ds` d loss / d qk, as far as slopes of it are given."""
    lines = []
    if "slope" in slopes:
        factor = literal(slopes["slope"].formula, "slope")
        lines += [f"ds = ds * {factor}"] if factor else []
    if "post_slope" in slopes:
        factor = literal(slopes["post_slope"].formula, "post_slope")
        lines.append(f"ds = ds + {times('dp', factor)}")
    return lines


def of_rows(names: list[str], at: str) -> list[str]:
    """Return statements that read what a tile needs of each query: statistic and delta."""
    lines = []
    for name in names:
        stem = name.rstrip("0123456789")
        read = f"load_lse({name}, {at})" if stem == "lse" else f"tl.load({name} + {at})"
        lines.append(f"{stem}_tile = {read}")
    return lines


def tiles_of(names: list[str]) -> tuple[str, ...]:
    """Return the names of what `of_rows` reads."""
    return tuple(f"{name.rstrip('0123456789')}_tile" for name in names)


def weight_name(stream: Stream) -> tuple[str, ...]:
    """Return the name that holds the weight of a source, if it is no number."""
    return ("weight",) if literal(stream.weight, "weight") == "weight" else ()

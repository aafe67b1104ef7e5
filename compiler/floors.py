"""The least time that an attention can take on a card, whatever computes it.

Products of matrices, exponentials and bytes are counted once each and held against the best rates
that the card is known to sustain; what takes longest is the floor. Sources and derivation of the
rates: the vendor's units times clock for exponentials, the best measured products and copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from attnc.compiler.cost import site_flops, type_bytes
from attnc.compiler.kernel import Site, Target
from attnc.compiler.pairs import number, pairs_by_heads
from attnc.compiler.sites import result_types, site_types
from attnc.compiler.targets import float_bytes
from attnc.dsl.attention import (
    Apply,
    Ratio,
    Sigmoid,
    SoftmaxBoth,
    SoftmaxKeys,
    SoftmaxQueries,
    Source,
    Unnormalised,
)
from attnc.dsl.dims import Size
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import has_dot, subtrees


@dataclass(frozen=True, slots=True)
class Rates:
    """What a card sustains in half precision, by the second."""

    card: str
    flops: float
    exps: float
    bytes: float


RATES: Mapping[str, Rates] = {"cuda:90": Rates("H200", 790e12, 3.9e12, 4.3e12)}
"""By target. Cards of which no rates are known have no floor."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one pass must do.

    Attributes:
        flops: of products of matrices.
        exps: exponentials, and other functions of the same units.
        bytes: read and written once.
    """

    flops: int
    exps: int
    bytes: int

    def seconds(self, rates: Rates) -> Mapping[str, float]:
        """Return what each part would take alone: `products`, `exponentials`, `memory`."""
        return {
            "products": self.flops / rates.flops,
            "exponentials": self.exps / rates.exps,
            "memory": self.bytes / rates.bytes,
        }


@dataclass(frozen=True, slots=True)
class Floor:
    """The least time of one pass of one call.

    Attributes:
        step: `forward` or `backward`.
        microseconds: on the card.
        bound: `products`, `exponentials` or `memory`.
    """

    step: str
    card: str
    work: Work
    microseconds: float
    bound: str


def floors(site: Site, target: Target, sizes: Mapping[str, int]) -> tuple[Floor, ...]:
    """Return the floors of the forward and of the backward pass; none for an unknown card."""
    rates = RATES.get(str(target))
    if rates is None:
        return ()
    width = float_bytes(target)
    steps = {"forward": forward(site, sizes, width), "backward": backward(site, sizes, width)}
    return tuple(_floor(step, work, rates) for step, work in steps.items())


def _floor(step: str, work: Work, rates: Rates) -> Floor:
    seconds = work.seconds(rates)
    bound = max(seconds, key=lambda name: seconds[name])
    return Floor(step, rates.card, work, 1e6 * seconds[bound], bound)


def forward(site: Site, sizes: Mapping[str, int], width: int) -> Work:
    """Return what a forward pass must do.

    Args:
        sizes: a value for every symbol.
        width: bytes of a float.
    """
    moved = _bytes((*site_types(site), *result_types(site)), sizes, width)
    return Work(_flops(site, sizes), _exps(site, sizes), moved)


def backward(site: Site, sizes: Mapping[str, int], width: int) -> Work:
    """Return what a backward pass must do that keeps no scores.

    Scores once more, then a product for each of the gradients of weights, values, queries and keys:
    five where a forward pass has two. Results are read, and gradients of floats written.
    """
    floats = tuple(each for each in site_types(site) if each.dtype == "float")
    results = result_types(site)
    moved = _bytes((*site_types(site), *results, *results, *floats), sizes, width)
    return Work(5 * _flops(site, sizes) // 2, _exps(site, sizes), moved)


def _bytes(types: Iterable[TensorType], sizes: Mapping[str, int], width: int) -> int:
    return sum(number(type_bytes(each, width), sizes) for each in types)


def _flops(site: Site, sizes: Mapping[str, int]) -> int:
    by_pairs = site_flops(site).at(sizes)
    if not isinstance(site.attention.normaliser, (Unnormalised, Ratio)) or site.attention.given:
        return by_pairs
    return min(by_pairs, number(_by_sums(site), sizes))


def _by_sums(site: Site) -> Size:
    """Return the FLOPs of weights that are products: sums of k v over keys, read by each query."""
    b, h, n, d = site.q.shape
    total: Size = 0
    for k, v in site.sources:
        total = total + 2 * b * h * d * v.shape[3] * (n + k.shape[2])
    return total


def _exps(site: Site, sizes: Mapping[str, int]) -> int:
    b, h, n, _ = site.q.shape
    total = 0
    for source, (k, _v) in zip(site.attention.sources, site.sources, strict=True):
        groups = pairs_by_heads(source, n, k.shape[2])
        each = _of_normaliser(site) + _of_score(source)
        heads = number(b * h, sizes) // len(groups)
        total += each * heads * sum(group.count(sizes) for group in groups)
    return total


def _of_normaliser(site: Site) -> int:
    match site.attention.normaliser:
        case SoftmaxBoth():
            return 2
        case SoftmaxKeys() | SoftmaxQueries() | Sigmoid():
            return 1
    return 0


_FUNCTIONS = frozenset(
    {"exp", "exp2", "log", "log2", "sin", "cos", "tanh", "sigmoid", "softplus", "erf", "pow",
     "sqrt", "rsqrt"}
)  # fmt: skip
"""Of scores; what the same units compute as exponentials."""


def _of_score(source: Source) -> int:
    """Count the functions of the product of a pair; others might be had from parts."""
    found = {each for each in subtrees(source.score) if isinstance(each, Apply)}
    return sum(each.function in _FUNCTIONS and has_dot(each) for each in found)

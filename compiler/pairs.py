"""How many query-key pairs an attention allows: exact for bands, grids, blocks and routes.

Where data decides all pairs count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Union

from attnc.compiler.domain_pairs import DomainPairs
from attnc.dsl import scorelang
from attnc.dsl.attention import (
    Blocks,
    Grid,
    Neighborhood,
    Overlapping,
    PerHeads,
    RoutedKeys,
    RoutedRegions,
    Sampled,
    ScoreTree,
    Source,
    Windows,
)
from attnc.dsl.dims import Size, substitute


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs with `i - left <= j <= i + right` of `n` queries and `m` keys.

    None stands for no bound on that side.
    """

    n: Size
    m: Size
    left: Size | None = None
    right: Size | None = None

    def count(self, sizes: Mapping[str, int]) -> int:
        """Count the pairs. `sizes` has a value for every symbol."""
        n, m = number(self.n, sizes), number(self.m, sizes)
        right = m if self.right is None else number(self.right, sizes)
        left = n if self.left is None else number(self.left, sizes)
        below = _reached(n, m, max(-left, -n) - 1)
        return max(0, _reached(n, m, right) - below) if -left <= right else 0

    def __str__(self) -> str:
        bounds = []
        if self.left is not None:
            bounds.append(f"{_shifted(-self.left)} <= j")
        if self.right is not None:
            bounds.append(f"j <= {_shifted(self.right)}")
        product = f"{_grouped(self.n)}*{_grouped(self.m)}"
        return f"pairs({product} where {' and '.join(bounds)})" if bounds else product


AnyPairs = Union[Pairs, DomainPairs]


def pairs_by_heads(source: Source, n: Size, m: Size) -> tuple[AnyPairs, ...]:
    """Return the pairs of each group of heads; one where all heads have one domain."""
    domain = source.domain
    domains = domain.domains if isinstance(domain, PerHeads) else (domain,)
    return tuple(pairs(replace(source, domain=each), n, m) for each in domains)


def pairs(source: Source, n: Size, m: Size) -> AnyPairs:
    """Return the pairs that a source may allow.

    A condition that is no band (a mask from a tensor, say) is left out: those pairs count.
    """
    allowed = scorelang.allowed(source)
    band = None if allowed is None else scorelang.classify(allowed)
    band = band or scorelang.band(source.domain)
    if band is not None:
        return Pairs(n, m, _side(band.left), _side(band.right))
    match source.domain:
        case Windows() | Neighborhood() | Overlapping() | Blocks():
            return DomainPairs(source.domain)
        case RoutedRegions() | RoutedKeys():
            seen = scorelang.key_count(source.domain, Grid((n,), (m,)))
            return Pairs(n, m if seen is None else _side(seen) or m)
        case Sampled():
            return Pairs(n, scorelang.slot_count(source.domain) or m)
    return Pairs(n, m)


def number(size: Size, sizes: Mapping[str, int]) -> int:
    """Return a size as a number; `sizes` has a value for each of its symbols."""
    value = substitute(size, sizes)
    assert isinstance(value, int), f"{size} is not known from {sizes}"
    return value


def _side(tree: ScoreTree | None) -> Size | None:
    return None if tree is None else scorelang.as_size(scorelang.simplify(tree))


def _reached(n: int, m: int, offset: int) -> int:
    """Count the pairs of `n` queries and `m` keys with j <= i + offset."""

    def keys_up_to(last: int) -> int:
        """Sum how many keys, 0 to m, are below x, for all x up to `last`."""
        inside = min(max(last, 0), m)
        return inside * (inside + 1) // 2 + max(0, last - m) * m

    return keys_up_to(n + offset) - keys_up_to(offset)


def _grouped(size: Size) -> str:
    text = str(size)
    return f"({text})" if " " in text else text


def _shifted(offset: Size) -> str:
    """Return `i`, `i - 3`, `i + (m - n)`."""
    if offset == 0:
        return "i"
    if isinstance(offset, int):
        return f"i - {-offset}" if offset < 0 else f"i + {offset}"
    return f"i + {_grouped(offset)}"

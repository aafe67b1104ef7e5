"""Which keys a query may see, in closed form, so that no n x m mask is ever built for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce

from attnc.dsl.attention import (
    All,
    Apply,
    Band,
    Blocks,
    Causal,
    Constant,
    Coordinate,
    Domain,
    Groups,
    Neighborhood,
    Overlapping,
    PerHeads,
    RoutedKeys,
    RoutedRegions,
    Sampled,
    ScoreTree,
    Source,
    Stripes,
    Where,
    Windows,
)
from attnc.dsl.dims import Size, substitute
from attnc.dsl.scorelang.domains import (
    by_heads,
    indexed_condition,
    sees_itself,
    spatial_condition,
)
from attnc.dsl.scorelang.printing import fill
from attnc.dsl.scorelang.ranges import at_least
from attnc.dsl.scorelang.simplify import TRUE, as_size, make, simplify, size_tree
from attnc.dsl.scorelang.walk import coordinates, replaced


@dataclass(frozen=True, slots=True)
class LinearBand:
    """The pairs with `i - left <= j <= i + right`; none stands for no bound on that side.

    Both are int trees without `i` and `j`: numbers, sizes, or a load such as `window[h]`.
    """

    left: ScoreTree | None = None
    right: ScoreTree | None = None


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys for a run of queries: `start <= j < stop` may be allowed for some of them, and
    `full_start <= j < full_stop` are allowed for all of them. Either may be empty.
    """

    start: int
    stop: int
    full_start: int
    full_stop: int


@dataclass(frozen=True, slots=True)
class KeyRangeText:
    """A KeyRange as expressions of generated code; an empty range may end before it starts."""

    start: str
    stop: str
    full_start: str
    full_stop: str


def condition(domain: Domain) -> ScoreTree | None:
    """Return the bool tree of `i j h b` that a pair must satisfy; none where all do."""
    tree = _condition(domain)
    return None if tree == TRUE else tree


def _condition(domain: Domain) -> ScoreTree:
    match domain:
        case All() | Causal() | Band():
            return _of_band(_given(domain))
        case Where(tree):
            return simplify(tree)
        case Windows() | Neighborhood() | Overlapping() | Sampled():
            return spatial_condition(domain)
        case Groups() | Blocks() | RoutedRegions() | RoutedKeys():
            return simplify(indexed_condition(domain))
        case PerHeads(domains):
            return by_heads(domain, [_condition(each) for each in domains], _either)
        case Stripes():
            raise ValueError("stripes are windows once their grid is known")


def _either(chosen: ScoreTree, one: ScoreTree, other: ScoreTree) -> ScoreTree:
    """Return `one` where a condition holds, else `other`."""
    return make("or", make("and", chosen, one), make("and", make("not", chosen), other))


def allowed(source: Source) -> ScoreTree | None:
    """Return the condition of domain and mask together; none where all pairs are allowed."""
    mask = TRUE if source.mask is None else simplify(source.mask)
    both = make("and", condition(source.domain) or TRUE, mask)
    return None if both == TRUE else both


def band(domain: Domain) -> LinearBand | None:
    """Return the domain as a band; none where it is not one."""
    match domain:
        case All() | Causal() | Band():
            return _given(domain)
        case _:
            return classify(_condition(domain))


def classify(tree: ScoreTree) -> LinearBand | None:
    """Return the band that a condition is: a conjunction of bounds on `j - i`, in any spelling.

    `j <= i and i - j < 8`, `abs(i - j) <= window[h]`, `i == j` are bands; none for all else.
    """
    found = LinearBand()
    for part in _conjuncts(simplify(tree)):
        one = _bounds(part)
        if one is None:
            return None
        found = LinearBand(_closer(found.left, one.left), _closer(found.right, one.right))
    return found


def key_range(
    inside: LinearBand,
    i_low: int,
    i_high: int,
    m: int,
    sizes: Mapping[str, int] | None = None,
) -> KeyRange:
    """Return the keys for queries `i_low` to `i_high`, both included, of `m` keys.

    Args:
        inside: with numbers or sizes for its sides.
        sizes: the value of each symbol.

    Raises:
        ValueError: a side is not known for these `sizes`.
    """
    left, right = (_number(side, sizes or {}) for side in (inside.left, inside.right))
    start = 0 if left is None else min(max(0, i_low - left), m)
    stop = m if right is None else max(min(m, i_high + right + 1), start)
    full_start = 0 if left is None else min(max(0, i_high - left), m)
    full_stop = m if right is None else max(min(m, i_low + right + 1), full_start)
    return KeyRange(start, stop, full_start, full_stop)


def key_range_text(
    inside: LinearBand,
    i_low: str,
    i_high: str,
    m: str,
    printed: Callable[[ScoreTree], str],
    minimum: str = "min({a}, {b})",
    maximum: str = "max({a}, {b})",
) -> KeyRangeText:
    """Return `key_range` as expressions.

    Args:
        inside: any band.
        i_low: expression of the first query; `i_high` of the last, `m` of the number of keys.
        printed: prints a side of the band.
        minimum: template of the smaller of two ints; `maximum` of the larger:
            `tl.minimum({a}, {b})`.
    """

    def start(i: str) -> str:
        side = inside.left
        return "0" if side is None else fill(maximum, fill("{a} - {b}", i, printed(side)), "0")

    def stop(i: str) -> str:
        side = inside.right
        if side is None:
            return m
        beyond = printed(make("add", side, Constant(1)))
        return fill(minimum, fill("{a} + {b}", i, beyond), m)

    return KeyRangeText(start(i_low), stop(i_high), start(i_high), stop(i_low))


def every_row_has_key(source: Source, n: Size, m: Size) -> bool:
    """Say whether each of `n` queries surely sees one of `m` keys."""
    tree = allowed(source)
    inside = LinearBand() if tree is None else classify(tree)
    if inside is None:
        return source.mask is None and sees_itself(source.domain)
    left = None if inside.left is None else as_size(inside.left)
    right = None if inside.right is None else as_size(inside.right)
    if (left is None) != (inside.left is None) or (right is None) != (inside.right is None):
        return False
    return (
        (right is None or at_least(right, 0))  # the first query
        and (left is None or at_least(left, n - m))  # the last query
        and (left is None or right is None or at_least(left + right, 0))
    )


def every_column_has_query(source: Source, n: Size, m: Size) -> bool:
    """Say whether each of `m` keys is surely seen by one of `n` queries."""
    tree = allowed(source)
    return tree is None or every_row_has_key(Source(Where(_swapped(tree)), source.score), m, n)


def _swapped(tree: ScoreTree) -> ScoreTree:
    """Return the tree with query and key in each other's place."""
    names = {"i": "j", "j": "i"}

    def change(part: ScoreTree) -> ScoreTree:
        return Coordinate(names.get(part.name, part.name)) if isinstance(part, Coordinate) else part

    return simplify(replaced(tree, change))


def _given(domain: All | Causal | Band) -> LinearBand:
    match domain:
        case All():
            return LinearBand()
        case Causal(offset):
            return LinearBand(None, size_tree(offset))
        case Band(left, right):
            return LinearBand(size_tree(left), size_tree(right))


def _of_band(inside: LinearBand) -> ScoreTree:
    i, j = Coordinate("i"), Coordinate("j")
    bounds: list[ScoreTree] = [TRUE]
    if inside.left is not None:
        bounds.append(make("ge", j, make("sub", i, inside.left)))
    if inside.right is not None:
        bounds.append(make("le", j, make("add", i, inside.right)))
    return reduce(lambda a, b: make("and", a, b), bounds)


def _conjuncts(tree: ScoreTree) -> Iterator[ScoreTree]:
    match tree:
        case Apply("and", (left, right)):
            yield from _conjuncts(left)
            yield from _conjuncts(right)
        case _ if tree != TRUE:
            yield tree


@dataclass(frozen=True, slots=True)
class _Linear:
    """`i * of_i + j * of_j + rest`, with any factors."""

    of_i: int
    of_j: int
    rest: ScoreTree


def _bounds(tree: ScoreTree) -> LinearBand | None:
    match tree:
        case Apply("le" | "lt" as function, (Apply("abs", (inner,)), limit)):
            negative = make(function, make("neg", inner), limit)
            return _intersection(make(function, inner, limit), negative)
        case Apply("ge" | "gt" as function, (left, Apply("abs") as right)):
            return _bounds(make({"ge": "le", "gt": "lt"}[function], right, left))
        case Apply(function, (Apply("floordiv", (inner, Constant(int(divisor)))), limit)) if (
            function in _QUOTIENTS and divisor > 0 and not coordinates(limit) & {"i", "j"}
        ):
            bound = make("mul", limit, Constant(divisor))
            return _bounds(_QUOTIENTS[function](inner, bound, Constant(divisor)))
        case Apply("eq", (left, right)):
            return _intersection(make("le", left, right), make("ge", left, right))
        case Apply(function, (left, right)) if function in _EXCESS and left.type == "int":
            return _side(_linear(_EXCESS[function](left, right)))
    return None


_EXCESS: Mapping[str, Callable[[ScoreTree, ScoreTree], ScoreTree]] = {
    "le": lambda a, b: make("sub", a, b),
    "lt": lambda a, b: make("add", make("sub", a, b), Constant(1)),
    "ge": lambda a, b: make("sub", b, a),
    "gt": lambda a, b: make("add", make("sub", b, a), Constant(1)),
}
"""What is not above zero where the comparison of two ints holds."""

_QUOTIENTS: Mapping[str, Callable[[ScoreTree, ScoreTree, ScoreTree], ScoreTree]] = {
    "le": lambda a, bound, divisor: make("lt", a, make("add", bound, divisor)),
    "lt": lambda a, bound, divisor: make("lt", a, bound),
    "ge": lambda a, bound, divisor: make("ge", a, bound),
    "gt": lambda a, bound, divisor: make("ge", a, make("add", bound, divisor)),
}
"""Comparisons of `a // divisor` with a number, as ones of `a` with that number times divisor."""


def _side(excess: _Linear | None) -> LinearBand | None:
    """Return the band of `excess <= 0`."""
    match excess:
        case _Linear(of_i, of_j, rest) if of_i == -of_j and of_i != 0:
            farthest = make("neg", rest)
            if abs(of_i) != 1:
                farthest = make("floordiv", farthest, Constant(abs(of_i)))
            return LinearBand(farthest) if of_i > 0 else LinearBand(None, farthest)
    return None


def _intersection(one: ScoreTree, other: ScoreTree) -> LinearBand | None:
    first, second = _bounds(one), _bounds(other)
    if first is None or second is None:
        return None
    return LinearBand(_closer(first.left, second.left), _closer(first.right, second.right))


def _closer(one: ScoreTree | None, other: ScoreTree | None) -> ScoreTree | None:
    if one is None or other is None:
        return other if one is None else one
    return make("min", one, other)


def _linear(tree: ScoreTree) -> _Linear | None:
    match tree:
        case Coordinate("i"):
            return _Linear(1, 0, Constant(0))
        case Coordinate("j"):
            return _Linear(0, 1, Constant(0))
        case _ if not coordinates(tree) & {"i", "j"}:
            return _Linear(0, 0, tree)
        case Apply("add", (left, right)):
            return _sum(_linear(left), _linear(right), 1)
        case Apply("sub", (left, right)):
            return _sum(_linear(left), _linear(right), -1)
        case Apply("neg", (inner,)):
            return _times(_linear(inner), -1)
        case Apply("mul", (inner, Constant(int(factor))) | (Constant(int(factor)), inner)):
            return _times(_linear(inner), factor)
    return None


def by_offset(tree: ScoreTree, offset: ScoreTree) -> ScoreTree | None:
    """Return a tree with `offset` in place of `i - j`; none where it is no function of that."""
    if not coordinates(tree) & {"i", "j"}:
        return tree
    match _linear(tree), tree:
        case _Linear(of_i, of_j, rest), _ if of_i == -of_j and not coordinates(rest) & {"i", "j"}:
            return make("add", make("mul", offset, Constant(of_i)), rest)
        case _, Apply(_, arguments):
            parts = [by_offset(argument, offset) for argument in arguments]
            known = tuple(part for part in parts if part is not None)
            return replace(tree, arguments=known) if len(known) == len(parts) else None
    return None


def _times(inner: _Linear | None, factor: int) -> _Linear | None:
    if inner is None:
        return None
    rest = make("mul", inner.rest, Constant(factor))
    return _Linear(factor * inner.of_i, factor * inner.of_j, rest)


def _sum(left: _Linear | None, right: _Linear | None, sign: int) -> _Linear | None:
    if left is None or right is None:
        return None
    rest = make("add" if sign > 0 else "sub", left.rest, right.rest)
    return _Linear(left.of_i + sign * right.of_i, left.of_j + sign * right.of_j, rest)


def _number(side: ScoreTree | None, sizes: Mapping[str, int]) -> int | None:
    if side is None:
        return None
    size = as_size(side)
    value = None if size is None else substitute(size, sizes)
    if not isinstance(value, int):
        raise ValueError("a side of the band is not a number")
    return value

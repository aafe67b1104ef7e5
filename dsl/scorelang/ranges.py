"""What can be told of int trees before anything runs: bounds, and truth of comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Union

from attnc.dsl.attention import Apply, Constant, Coordinate, Extent, ScoreTree
from attnc.dsl.dims import Dim, Quotient, Size, floor_divide, symbol, symbols

Bound = Union[Size, None]
Interval = tuple[Bound, Bound]
"""Least and greatest value, both included; none where unknown."""

UNKNOWN: Interval = (None, None)


def interval(tree: ScoreTree, ranges: Mapping[str, Interval]) -> Interval:
    """Bound an int tree.

    Args:
        tree: such as `i - j + 7`.
        ranges: of the coordinates; one that is missing may be anything.
    """
    match tree:
        case Constant(int(value)):
            return value, value
        case Extent(size):
            return size, size
        case Coordinate(name):
            return ranges.get(name, UNKNOWN)
        case Apply(function, arguments) if function in _INTERVALS and tree.type == "int":
            return _INTERVALS[function](*(interval(part, ranges) for part in arguments))
    return UNKNOWN


def decide(tree: ScoreTree, ranges: Mapping[str, Interval]) -> bool | None:
    """Return the truth of a condition if it is the same for all pairs in `ranges`, else none."""
    match tree:
        case Constant(bool(value)):
            return value
        case Apply("and", (left, right)):
            return _both(decide(left, ranges), decide(right, ranges))
        case Apply("or", (left, right)):
            return _opposite(
                _both(_opposite(decide(left, ranges)), _opposite(decide(right, ranges)))
            )
        case Apply("not", (inner,)):
            return _opposite(decide(inner, ranges))
        case Apply(function, (left, right)) if function in _COMPARISONS:
            return _COMPARISONS[function](interval(left, ranges), interval(right, ranges))
    return None


def whole_range(size: Size) -> Interval:
    """Return the range of a coordinate along an axis of `size`."""
    return 0, size - 1


def at_least(left: Size, right: Size) -> bool:
    """Say whether `left >= right` for all sizes, as far as can be told; symbols are >= 1."""
    difference = left - right
    if isinstance(difference, int):
        return difference >= 0
    if any(isinstance(atom, Quotient) for monomial in difference.terms for atom, _ in monomial):
        return False
    shifted = difference.substitute({name: symbol(name) + 1 for name in symbols(difference)})
    return not isinstance(shifted, Dim) or all(count >= 0 for count in shifted.terms.values())


def smaller(left: Bound, right: Bound) -> Bound:
    """Return the smaller of two sizes; none where it depends."""
    if left is None or right is None:
        return None
    return left if at_least(right, left) else right if at_least(left, right) else None


def larger(left: Bound, right: Bound) -> Bound:
    """Return the larger of two sizes; none where it depends."""
    if left is None or right is None:
        return None
    return left if at_least(left, right) else right if at_least(right, left) else None


def _plus(left: Bound, right: Bound) -> Bound:
    return None if left is None or right is None else left + right


def _minus(left: Bound, right: Bound) -> Bound:
    return None if left is None or right is None else left - right


def _times(left: Bound, right: Bound) -> Bound:
    return None if left is None or right is None else left * right


def _over(left: Bound, right: Size) -> Bound:
    return None if left is None else floor_divide(left, right)


def _either(chosen: Bound, left: Bound, right: Bound) -> Bound:
    """Both bound; take the chosen one, or the one that is known, or a plain number."""
    known = [bound for bound in (chosen, left, right) if bound is not None]
    return (
        min(known, key=lambda bound: not isinstance(bound, int))
        if chosen is None and known
        else chosen
    )


def _negated(inner: Interval) -> Interval:
    low, high = inner
    return _minus(0, high), _minus(0, low)


def _multiplied(left: Interval, right: Interval) -> Interval:
    if _is_point(left):
        left, right = right, left
    low, high = right
    if low is not None and at_least(low, 0) and (_is_point(right) or _is_natural(left)):
        return _times(left[0], low), _times(left[1], high)
    if _is_point(right) and high is not None and at_least(0, high):
        return _times(left[1], low), _times(left[0], high)
    return UNKNOWN


def _divided(left: Interval, right: Interval) -> Interval:
    divisor = right[0]
    if divisor is None or not _is_point(right) or not at_least(divisor, 1):
        return UNKNOWN
    return _over(left[0], divisor), _over(left[1], divisor)


def _remainder(left: Interval, right: Interval) -> Interval:
    divisor = right[0]
    if divisor is None or not _is_point(right) or not at_least(divisor, 1):
        return UNKNOWN
    low, high = left
    within = (
        low is not None and high is not None and at_least(low, 0) and at_least(divisor, high + 1)
    )
    return left if within else (0, divisor - 1)


def _absolute(inner: Interval) -> Interval:
    low, high = inner
    if low is not None and at_least(low, 0):
        return inner
    return 0, larger(high, _minus(0, low))


def _is_point(inner: Interval) -> bool:
    return inner[0] is not None and inner[0] == inner[1]


def _is_natural(inner: Interval) -> bool:
    return inner[0] is not None and at_least(inner[0], 0)


_INTERVALS: Mapping[str, Callable[..., Interval]] = {
    "add": lambda a, b: (_plus(a[0], b[0]), _plus(a[1], b[1])),
    "sub": lambda a, b: (_minus(a[0], b[1]), _minus(a[1], b[0])),
    "neg": _negated,
    "mul": _multiplied,
    "floordiv": _divided,
    "mod": _remainder,
    "abs": _absolute,
    "min": lambda a, b: (smaller(a[0], b[0]), _either(smaller(a[1], b[1]), a[1], b[1])),
    "max": lambda a, b: (_either(larger(a[0], b[0]), a[0], b[0]), larger(a[1], b[1])),
    "where": lambda _, b, c: (smaller(b[0], c[0]), larger(b[1], c[1])),
}


def _is_le(left: Interval, right: Interval) -> bool | None:
    """`left <= right`."""
    if left[1] is not None and right[0] is not None and at_least(right[0], left[1]):
        return True
    if left[0] is not None and right[1] is not None and at_least(left[0], right[1] + 1):
        return False
    return None


def _is_eq(left: Interval, right: Interval) -> bool | None:
    return _both(_is_le(left, right), _is_le(right, left))


def _both(left: bool | None, right: bool | None) -> bool | None:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _opposite(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


_COMPARISONS: Mapping[str, Callable[[Interval, Interval], bool | None]] = {
    "le": _is_le,
    "ge": lambda a, b: _is_le(b, a),
    "lt": lambda a, b: _opposite(_is_le(b, a)),
    "gt": lambda a, b: _opposite(_is_le(a, b)),
    "eq": _is_eq,
    "ne": lambda a, b: _opposite(_is_eq(a, b)),
}

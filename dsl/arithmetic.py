"""Total arithmetic on compile-time values: numbers, sizes, texts, lists, maps."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from attnc.dsl.dims import Dim, floor_divide
from attnc.dsl.values import noun

LIMIT_ITEMS = 1_000_000
LIMIT_BITS = 4096
LIMIT_DIGITS = 18
LIMIT_POWER = 8
"""The largest power of a symbolic size."""

LIMIT_TERMS = 10_000
"""Terms that a product of symbolic sizes may have before like ones are added up."""


class ArithmeticFault(Exception):
    """An operation without a value; the text says why."""


class Undecided(ArithmeticFault):
    """A comparison that depends on the input's size."""

    def __init__(self, left: object, relation: str, right: object) -> None:
        super().__init__(f"{left} {relation} {right}")
        self.left, self.relation, self.right = left, relation, right


def binary(symbol: str, left: object, right: object) -> object:
    """Apply an arithmetic or comparison operator.

    Raises:
        ArithmeticFault: the operands do not go with the operator.
    """
    if symbol in _COMPARISONS:
        return _compare(symbol, left, right)
    if symbol == "+" and isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return [*left, *right]
    if symbol == "+" and isinstance(left, str) and isinstance(right, str):
        return left + right
    if symbol == "*" and isinstance(left, (list, tuple)) and type(right) is int:
        return _repeated(left, right)
    if not (_is_number(left) and _is_number(right)):
        raise ArithmeticFault(f"`{symbol}` does not go with {noun(left)} and {noun(right)}")
    try:
        return _ARITHMETIC[symbol](left, right)
    except ZeroDivisionError:
        raise ArithmeticFault(f"{left} {symbol} {right} divides by zero") from None
    except (OverflowError, ValueError):
        raise ArithmeticFault(f"{left} {symbol} {right} is out of range") from None
    except TypeError:
        raise ArithmeticFault(
            f"`{symbol}` of {noun(left)} and {noun(right)} has no value at compile time"
        ) from None


def negate(value: object) -> object:
    """Return `-value`.

    Raises:
        ArithmeticFault: the value is no number.
    """
    if not _is_number(value):
        raise ArithmeticFault(f"`-` does not go with {noun(value)}")
    return -value  # type: ignore[operator]


def truth(value: object) -> bool:
    """Return a truth value as it is.

    Raises:
        ArithmeticFault: anything but a truth value; numbers and lists do not count as one.
    """
    if not isinstance(value, bool):
        raise ArithmeticFault(f"a condition is true or false, not {noun(value)}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Dim)) and not isinstance(value, bool)


def _repeated(items: Sequence[object], count: int) -> list[object]:
    if len(items) * max(count, 0) > LIMIT_ITEMS:
        raise ArithmeticFault(f"a list of {len(items) * count} items is too long")
    return [*items] * count


def _power(left: object, right: object) -> object:
    if isinstance(left, int) and isinstance(right, int) and right >= 0:
        if left.bit_length() * right > LIMIT_BITS:
            raise OverflowError
        return left**right
    if isinstance(left, Dim) and isinstance(right, int):
        if not 0 <= right <= LIMIT_POWER or len(left.terms) ** right > LIMIT_TERMS:
            raise OverflowError
        return left**right
    result = operator.pow(left, right)
    if isinstance(result, complex):
        raise ValueError
    return result


def _multiply(left: object, right: object) -> object:
    sizes = [len(each.terms) for each in (left, right) if isinstance(each, Dim)]
    if math.prod(sizes) > LIMIT_TERMS:
        raise OverflowError
    return operator.mul(left, right)


_ARITHMETIC: Mapping[str, Callable[..., object]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": _multiply,
    "/": operator.truediv,
    "//": lambda left, right: (
        floor_divide(left, right)
        if isinstance(left, Dim) or isinstance(right, Dim)
        else left // right
    ),
    "%": operator.mod,
    "**": _power,
}
_COMPARISONS: Mapping[str, Callable[..., bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _compare(symbol: str, left: object, right: object) -> bool:
    compare = _COMPARISONS[symbol]
    if isinstance(left, Dim) or isinstance(right, Dim):
        if not (_is_number(left) and _is_number(right)):
            return _equality(symbol, left, right)
        difference = left - right  # type: ignore[operator]
        if isinstance(difference, Dim):
            raise Undecided(left, symbol, right)
        return compare(difference, 0)
    if _is_number(left) and _is_number(right):
        return compare(left, right)
    if isinstance(left, str) and isinstance(right, str):
        return compare(left, right)
    return _equality(symbol, left, right)


def _equality(symbol: str, left: object, right: object) -> bool:
    if symbol not in ("==", "!="):
        raise ArithmeticFault(f"`{symbol}` does not go with {noun(left)} and {noun(right)}")
    same_kind = isinstance(left, bool) == isinstance(right, bool)
    return (same_kind and left == right) == (symbol == "==")


def _range(*bounds: object) -> list[object]:
    whole = [bound for bound in bounds if isinstance(bound, int)]
    if len(whole) != len(bounds) or not 1 <= len(whole) <= 3:
        raise ArithmeticFault("range takes one to three whole numbers")
    numbers = range(*whole)
    if len(numbers) > LIMIT_ITEMS:
        raise ArithmeticFault(f"a range of {len(numbers)} items is too long")
    return [*numbers]


def _sum(items: object) -> object:
    total: object = 0
    for item in _items(items):
        total = binary("+", total, item)
    return total


def _items(value: object) -> Sequence[object]:
    if not isinstance(value, (list, tuple)):
        raise ArithmeticFault(f"this takes a list, not {noun(value)}")
    return value


def _extreme(relation: str) -> Callable[..., object]:
    def choose(*values: object) -> object:
        items = _items(values[0]) if len(values) == 1 else values
        if not items:
            raise ArithmeticFault("min and max need at least one number")
        best = items[0]
        for item in items[1:]:
            if _compare(relation, item, best):
                best = item
        return best

    return choose


def _ceil_div(left: object, right: object) -> object:
    return negate(binary("//", negate(left), right))


def _len(value: object) -> int:
    if isinstance(value, (list, tuple, dict, str)):
        return len(value)
    raise ArithmeticFault(f"len takes a list, a map or a text, not {noun(value)}")


def _get(entries: object, key: object, default: object) -> object:
    """Return the value of a key; the default where the map has no such one, or none for it."""
    if not isinstance(entries, Mapping) or not isinstance(key, (str, int)):
        raise ArithmeticFault(
            f"get takes a map, a key and a default, not {noun(entries)} and {noun(key)}"
        )
    value = entries.get(key)
    return default if value is None else value


def _numbers(text: object) -> list[int]:
    if not isinstance(text, str):
        raise ArithmeticFault(f"numbers takes a text, not {noun(text)}")
    found = re.findall(r"[0-9]+", text)
    if any(len(digits) > LIMIT_DIGITS for digits in found):
        raise ArithmeticFault(f"a number in a text has at most {LIMIT_DIGITS} digits")
    return [int(digits) for digits in found]


def _number(function: Callable[[float], object]) -> Callable[[object], object]:
    def apply(value: object) -> object:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise ArithmeticFault(f"this takes a number known at compile time, not {noun(value)}")
        try:
            return function(value)
        except (ValueError, OverflowError):
            raise ArithmeticFault(f"{value} is out of range") from None

    return apply


FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "min": _extreme("<"),
    "max": _extreme(">"),
    "ceil_div": _ceil_div,
    "sum": _sum,
    "len": _len,
    "get": _get,
    "numbers": _numbers,
    "range": _range,
    "zip": lambda *lists: [list(row) for row in zip(*map(_items, lists), strict=False)],
    "enumerate": lambda items: [list(pair) for pair in enumerate(_items(items))],
    "reversed": lambda items: [*reversed(_items(items))],
    "all_of": lambda items: all(truth(item) for item in _items(items)),
    "any_of": lambda items: any(truth(item) for item in _items(items)),
    "int": _number(int),
    "float": _number(float),
    "round": _number(round),
    "ceil": _number(math.ceil),
    "sqrt": _number(math.sqrt),
    "exp": _number(math.exp),
    "log": _number(math.log),
    "log2": _number(math.log2),
    "cos": _number(math.cos),
    "sin": _number(math.sin),
    "abs": _number(abs),
}
"""Compile-time functions; those named like an operator serve where no argument is a tensor."""

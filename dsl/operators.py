"""Operators and how tightly they bind, for the parser and the printer alike."""

from __future__ import annotations

from collections.abc import Mapping

CONDITIONAL = 0
"""The strength of `a if c else b`, below all operators."""

COMPARISON = 4

BINARY: Mapping[str, int] = {
    "or": 1,
    "and": 2,
    "==": COMPARISON, "!=": COMPARISON,
    "<": COMPARISON, "<=": COMPARISON, ">": COMPARISON, ">=": COMPARISON,
    "+": 5, "-": 5,
    "*": 6, "/": 6, "//": 6, "%": 6,
    "**": 8,
}  # fmt: skip

PREFIX: Mapping[str, int] = {"not": 3, "-": 7, "+": 7}

POSTFIX = 9
"""The strength of calls, indices, attributes, labels, and of all that needs no parentheses."""

RIGHT_TO_LEFT = frozenset({"**"})
"""`a ** b ** c` is `a ** (b ** c)`; all others group from the left."""

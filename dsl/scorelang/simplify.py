"""Simplification: constants folded, sizes in normal form, ones and zeros gone, `not` pushed in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, reduce

from attnc.dsl.arithmetic import ArithmeticFault, Undecided, binary
from attnc.dsl.attention import Among, Apply, Constant, Extent, Load, ScoreTree
from attnc.dsl.dims import Dim, Size
from attnc.dsl.scorelang.construct import apply, as_float
from attnc.dsl.scorelang.functions import FUNCTIONS
from attnc.dsl.scorelang.printing import text
from attnc.dsl.scorelang.terms import Pattern, Term, instantiate, match, term

TRUE = Constant(True)

WHOLE_POWERS = range(1, 9)
"""Exponents for which a power of an int is an int, written as a product."""

_RULES = (
    ("a + 0", "a"), ("0 + a", "a"), ("a - 0", "a"), ("0 - a", "-a"), ("a - a", "0"),
    ("a * 1", "a"), ("1 * a", "a"), ("a * 0", "0"), ("0 * a", "0"), ("a * -1", "-a"),
    ("-1 * a", "-a"), ("a / 1", "a"), ("0 / a", "0"), ("a ** 0", "1"), ("a ** 1", "a"),
    ("a ** 2", "square(a)"), ("-(-a)", "a"), ("-(i - j)", "j - i"),
    ("i - (j - k)", "i + k - j"), ("a + -b", "a - b"), ("-a + b", "b - a"),
    ("a - -b", "a + b"), ("min(k, x)", "min(x, k)"), ("max(k, x)", "max(x, k)"),
    ("min(a, a)", "a"), ("max(a, a)", "a"),
    ("where(true, a, b)", "a"), ("where(false, a, b)", "b"), ("where(a, b, b)", "b"),
    ("a and true", "a"), ("true and a", "a"), ("a and false", "false"), ("false and a", "false"),
    ("a or true", "true"), ("true or a", "true"), ("a or false", "a"), ("false or a", "a"),
    ("a and a", "a"), ("a or a", "a"), ("not (not a)", "a"),
    ("not (a and b)", "not a or not b"), ("not (a or b)", "not a and not b"),
    # of ints only: a NaN is neither below nor above
    ("not (i < j)", "i >= j"), ("not (i <= j)", "i > j"), ("not (i > j)", "i <= j"),
    ("not (i >= j)", "i < j"), ("not (i == j)", "i != j"), ("not (i != j)", "i == j"),
)  # fmt: skip


def simplify(tree: ScoreTree) -> ScoreTree:
    """Return an equal tree in a simpler form.

    Equal for finite values: `a * 0` is 0. What has no value at compile time, such as `log(-1)`,
    stays as it is.
    """
    match tree:
        case Extent(int() as size):
            return Constant(size)
        case Load(_, indices):
            return replace(tree, indices=tuple(simplify(index) for index in indices))
        case Among(value, row):
            indices = tuple(simplify(index) for index in row.indices)
            return replace(tree, value=simplify(value), row=replace(row, indices=indices))
        case Apply(_, arguments):
            inner = replace(tree, arguments=tuple(simplify(argument) for argument in arguments))
            try:
                return _reduced(inner)
            except ArithmeticFault:
                return inner
    return tree


def make(name: str, *arguments: ScoreTree) -> ScoreTree:
    """Apply a function to simplified trees and simplify the result.

    Raises:
        ScoreTypeError: the arguments do not have the right types.
        ArithmeticFault: all arguments are constants and the function has no value for them.
    """
    return _reduced(apply(name, *arguments))


def product(left: ScoreTree, right: ScoreTree) -> ScoreTree:
    """Return `left * right`, simplified."""
    return make("mul", left, right)


def power(base: ScoreTree, exponent: ScoreTree) -> ScoreTree:
    """Return `base ** exponent`, simplified: an int where an int is raised to a small whole power.

    Raises:
        ScoreTypeError, ArithmeticFault: as `make`.
    """
    match base, exponent:
        case Constant(value), Constant(count) if "bool" not in (base.type, exponent.type):
            return _constant(binary("**", value, count))
        case _, Constant(int(2)) if base.type == "int":
            return make("square", base)
        case _, Constant(int(count)) if base.type == "int" and count in WHOLE_POWERS:
            return reduce(product, [base] * count)
    return make("pow", base, exponent)


def size_tree(size: Size) -> ScoreTree:
    """Return a size as a tree."""
    return Extent(size) if isinstance(size, Dim) else Constant(size)


def as_size(tree: ScoreTree) -> Size | None:
    """Return the size that a simplified tree is; none where it is something else."""
    match tree:
        case Constant(int() as value) if tree.type == "int":
            return value
        case Extent(size):
            return size
    return None


def _reduced(tree: ScoreTree) -> ScoreTree:
    if not isinstance(tree, Apply):
        return tree
    folded = _folded(tree)
    if folded is not None:
        return folded
    match tree:
        case Apply("add" | "sub", (left, Constant(value))) if value < 0:
            return make({"add": "sub", "sub": "add"}[tree.function], left, Constant(-value))
        case Apply("div" | "floordiv" | "mod", (_, Constant(0))):
            raise ArithmeticFault(f"`{text(tree)}` divides by zero")
    for before, after in _rules().get(tree.function, ()):
        bindings = match(before, tree)
        if bindings is not None:
            result = instantiate(after, bindings, make)
            return as_float(result) if tree.type == "float" else result
    return tree


@cache
def _rules() -> Mapping[str, list[tuple[Term, Term]]]:
    rules: dict[str, list[tuple[Term, Term]]] = {}
    for before, after in _RULES:
        pattern = term(before)
        assert isinstance(pattern, Pattern), before
        rules.setdefault(pattern.function, []).append((pattern, term(after)))
    return rules


def _folded(tree: Apply) -> ScoreTree | None:
    """Return the value of a function of constants and sizes; none where it is not known."""
    values = [_value(argument) for argument in tree.arguments]
    if any(value is None for value in values):
        return None
    symbolic = any(isinstance(value, Dim) for value in values)
    if symbolic and tree.type == "float":
        return None
    try:
        return _constant(FUNCTIONS[tree.function].value(*values))
    except Undecided:
        return None
    except (OverflowError, ValueError) as wrong:
        raise ArithmeticFault(f"`{text(tree)}` has no value: {wrong}") from None
    except (ArithmeticFault, TypeError):
        if symbolic:
            return None
        raise


def _value(tree: ScoreTree) -> float | Size | None:
    match tree:
        case Constant(value):
            return value
        case Extent(size):
            return size
    return None


def _constant(value: object) -> ScoreTree:
    if isinstance(value, Dim):
        return Extent(value)
    assert isinstance(value, (bool, int, float))
    if not math.isfinite(value):
        raise OverflowError("it is not finite")
    return Constant(value)

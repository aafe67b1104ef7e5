"""Derivatives of scores, by the rules of the function table."""

from __future__ import annotations

from attnc.dsl.arithmetic import ArithmeticFault
from attnc.dsl.attention import L1, Apply, Constant, Dot, Load, Result, ScoreTree, Weight
from attnc.dsl.scorelang.construct import apply
from attnc.dsl.scorelang.functions import FUNCTIONS, HOLES
from attnc.dsl.scorelang.simplify import make, simplify
from attnc.dsl.scorelang.terms import instantiate, term


def derivative(tree: ScoreTree, wrt: Dot | L1 | Load | Weight | Result) -> ScoreTree:
    """Return d tree / d wrt, pair by pair: a simplified float tree.

    Other loads of the same tensor count as constants; sum over all of them for its gradient.
    A branch that `where` does not take adds nothing, even where its own derivative is infinite.
    """
    return _derivative(simplify(tree), wrt)


def _derivative(tree: ScoreTree, wrt: Dot | L1 | Load | Weight | Result) -> ScoreTree:
    if tree == wrt:
        return Constant(1.0)
    if not isinstance(tree, Apply) or tree.type != "float":
        return Constant(0.0)
    bindings = dict(zip(HOLES, tree.arguments, strict=False))
    for hole, argument in zip(HOLES, tree.arguments, strict=False):
        bindings[f"d{hole}"] = _derivative(argument, wrt)
    result = instantiate(term(FUNCTIONS[tree.function].derivative), bindings, _made)
    return Constant(0.0) if isinstance(result, Constant) and result.value == 0 else result


def _made(name: str, *arguments: ScoreTree) -> ScoreTree:
    """Keep a part without a value, such as the `log(0)` of a factor that vanishes."""
    try:
        return make(name, *arguments)
    except ArithmeticFault:
        return apply(name, *arguments)

"""An attention as a formula in one line, for the docstrings of generated functions."""

from __future__ import annotations

from attnc.dsl.attention import Attention, Source
from attnc.dsl.scorelang import allowed, fill, simplify, text


def formula(attention: Attention) -> str:
    """Return `softmax(qk * 0.125) v where j <= i`, or the like of several sources.

    `[a; b]` stands for sources side by side along the keys.
    """
    if len(attention.sources) == 1:
        (source,) = attention.sources
        return _weighted(source, f"softmax({_score(source)}) v") + _where(source)
    numbered = list(enumerate(attention.sources))
    if attention.join == "sum":
        return " + ".join(
            _weighted(source, f"softmax({_score(source)}{_where(source)}) v{number}")
            for number, source in numbered
        )
    scores = "; ".join(f"{_score(source)}{_where(source)}" for _, source in numbered)
    return f"softmax([{scores}]) [{'; '.join(f'v{number}' for number, _ in numbered)}]"


def _score(source: Source) -> str:
    return text(simplify(source.score))


def _where(source: Source) -> str:
    condition = allowed(source)
    return "" if condition is None else f" where {text(condition)}"


def _weighted(source: Source, result: str) -> str:
    if source.weight is None:
        return result
    return f"{fill('{a} * {b}', text(simplify(source.weight)), 'x').removesuffix('x')}{result}"

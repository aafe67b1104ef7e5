"""What is done with scores, as a spec writes it."""

from __future__ import annotations

from attnc.dsl.attention import (
    ArgmaxKeys,
    ArgmaxQueries,
    Attention,
    Bilinear,
    Normaliser,
    Ratio,
    ReluPower,
    Sampled,
    Sigmoid,
    SoftmaxBoth,
    SoftmaxKeys,
    SoftmaxQueries,
    Source,
    Unnormalised,
)
from attnc.dsl.prologues import Prologue
from attnc.dsl.scorelang import allowed, simplify, slot_count, text


def normaliser_text(normaliser: Normaliser) -> str:
    """Return what follows `normalize =`: `softmax`, `argmax(queries)`, `ratio(eps = 1e-06)`."""
    match normaliser:
        case SoftmaxKeys(sink) if sink is not None:
            return f"softmax(keys, sink = {text(simplify(sink))})"
        case SoftmaxQueries():
            return "softmax(queries)"
        case SoftmaxBoth():
            return "softmax(keys, queries)"
        case ArgmaxKeys():
            return "argmax(keys)"
        case ArgmaxQueries():
            return "argmax(queries)"
        case Sigmoid():
            return "sigmoid"
        case ReluPower(power):
            return "relu" if power == 1 else f"relu(power = {power!r})"
        case Unnormalised():
            return "none"
        case Ratio(eps, floor):
            options = [f"eps = {eps!r}"] if eps else []
            options += [] if floor is None else [f"floor = {floor!r}"]
            return f"ratio({', '.join(options)})" if options else "ratio"
        case Bilinear():
            return "bilinear"
    return "softmax"


def domain_text(source: Source) -> str:
    """Return which pairs a source allows: ` where j <= i`; empty where all are."""
    domain, mask = source.domain, source.mask
    if isinstance(domain, Sampled):
        around = f" over {slot_count(domain)} keys around {domain.centre.tensor}"
        return around + ("" if mask is None else f" where {text(simplify(mask))}")
    condition = allowed(source)
    return "" if condition is None else f" where {text(condition)}"


def reduction_text(attention: Attention, source: Source) -> str:
    """Return what becomes of the weights of a source: `, post = w * gate[h], renormalize = true`.

    Empty where they only multiply values.
    """
    post = "" if source.post is None else f", post = {text(simplify(source.post))}"
    rows, after = attention.renormalise, attention.epilogue
    post += "" if rows is None else f", renormalize = {text(simplify(rows))}"
    return post + ("" if after is None else f", then {text(simplify(after))}")


def operand_name(attention: Attention, prologue: Prologue) -> str:
    """Return what the operand of a prologue is called: `q`, `k`, or `k1` of several sources."""
    return "k" if prologue.operand == "k0" and len(attention.sources) == 1 else prologue.operand


def prologue_text(attention: Attention, prologue: Prologue) -> str:
    """Return what an operand is before it is multiplied: `q is rotated(q, cos, sin)`."""
    name = operand_name(attention, prologue)
    return f"{name} is {prologue.text(name)}"

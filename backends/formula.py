"""An attention as a formula in one line, for the docstrings of generated functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnc.backends.torch_function import source_trees
from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    Attention,
    PerHeads,
    Sampled,
    SoftmaxBoth,
    SoftmaxKeys,
    Source,
    Unnormalised,
)
from attnc.dsl.attention_text import (
    domain_text,
    normaliser_text,
    prologue_text,
    reduction_text,
)
from attnc.dsl.scorelang import fill, has_distance, simplify, text


def formula(attention: Attention) -> str:
    """Return `softmax(qk * 0.125) v where j <= i`, or the like of several sources.

    `[a; b]` stands for sources side by side along the keys.
    """
    operands = " and ".join(prologue_text(attention, each) for each in attention.prologues)
    return _bare(attention) + (f", where {operands}" if operands else "")


def _bare(attention: Attention) -> str:
    """Return the formula of operands as they are multiplied."""
    if len(attention.sources) == 1:
        (source,) = attention.sources
        result = _read(attention, _score(source), "v") + domain_text(source)
        return _weighted(source, result) + reduction_text(attention, source)
    numbered = list(enumerate(attention.sources))
    if attention.join == "sum":
        return " + ".join(
            _weighted(
                source, _read(attention, f"{_score(source)}{domain_text(source)}", f"v{number}")
            )
            + reduction_text(attention, source)
            for number, source in numbered
        )
    scores = "; ".join(f"{_score(source)}{domain_text(source)}" for _, source in numbered)
    values = f"[{'; '.join(f'v{number}' for number, _ in numbered)}]"
    return _read(attention, f"[{scores}]", values) + _posts(attention)


def beyond_softmax(site: Site) -> Iterator[str]:
    """Yield why a kernel for softmax over keys of q . k, and its sums, does not serve a site.

    Outputs named `weights`, `scores` and `lse` are left for the kernel to judge.
    """
    attention = site.attention
    if attention.normaliser != SoftmaxKeys():
        yield f"it normalises by softmax over keys, not by {normaliser_text(attention.normaliser)}"
    if any(source.post is not None for source in attention.sources):
        yield "it multiplies values by the weights as they are; here a post expression changes them"
    yield from beyond_products(site)


def beyond_products(site: Site) -> Iterator[str]:
    """Yield why a kernel for weights of q . k does not serve a site, whatever its normaliser."""
    yield from beyond_weights(site)
    yield from beyond_tiles(site)


def beyond_weights(site: Site) -> Iterator[str]:
    """Yield why a kernel for weights of q and k, and their sums, does not serve a site.

    Normalisers and which pairs there are do not count, nor outputs that the kernel may judge.
    """
    attention = site.attention
    if attention.given:
        yield "it computes q . k itself; here the products are given"
    if attention.renormalise is not None:
        yield "it does not divide weights by their sum again"
    beyond = [name for name in ("index", "received", "back") if name in attention.outputs]
    if beyond:
        yield f"it does not give {' or '.join(beyond)}"


def beyond_tiles(site: Site) -> Iterator[str]:
    """Yield why a kernel for tiles of q . k, of keys side by side, does not serve a site.

    Normalisers and outputs are left for the kernel to judge, but for weights by slot.
    """
    attention = site.attention
    if any(has_distance(tree) for source in attention.sources for tree in source_trees(source)):
        yield "it computes q . k; here an expression reads l1(q, k)"
    if any(map(_is_sampled, attention.sources)):
        yield "it reads keys side by side; here each query has a box of keys around its own centre"
    if "slot_weights" in attention.outputs:
        yield "it does not give slot_weights"


def _is_sampled(source: Source) -> bool:
    domain = source.domain
    domains = domain.domains if isinstance(domain, PerHeads) else (domain,)
    return any(isinstance(each, Sampled) for each in domains)


def _read(attention: Attention, score: str, values: str) -> str:
    """Return `softmax(score) v`, or the like for another normaliser."""
    match attention.normaliser:
        case Unnormalised():
            return f"({score}) {values}"
        case SoftmaxBoth():
            return f"softmax({score}) {values}, softmax(queries)({score})^T vq"
        case normaliser:
            return f"{normaliser_text(normaliser)}({score}) {values}"


def _posts(attention: Attention) -> str:
    """Return what is done with the weights of several sources under one normaliser."""
    each = [
        f"post{number} = {text(simplify(source.post))}"
        for number, source in enumerate(attention.sources)
        if source.post is not None
    ]
    shared = reduction_text(attention, replace(attention.sources[0], post=None))
    return "".join(f", {post}" for post in each) + shared


def _score(source: Source) -> str:
    return text(simplify(source.score))


def _weighted(source: Source, result: str) -> str:
    if source.weight is None:
        return result
    return f"{fill('{a} * {b}', text(simplify(source.weight)), 'x').removesuffix('x')}{result}"

"""Which pieces of an attention go together."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.dsl import codes
from attnc.dsl.attention import (
    OVER_QUERIES,
    ArgmaxKeys,
    ArgmaxQueries,
    Attention,
    Bilinear,
    Causal,
    Sampled,
    SoftmaxBoth,
    SoftmaxKeys,
    SoftmaxQueries,
)
from attnc.dsl.attention_text import normaliser_text
from attnc.dsl.expressions import fail
from attnc.dsl.scorelang import allowed, has_distance, slot_count
from attnc.dsl.spans import Span

Conflict = tuple[str, str]
"""What is wrong, and the remedy."""


def check_agreement(attention: Attention, has_vq: bool, span: Span) -> None:
    """Fail where the pieces of an attention contradict each other."""
    for detail, hint in _conflicts(attention, has_vq):
        fail(codes.ARGUMENT.at(span, op="attend", detail=detail, hint=hint))


def _conflicts(attention: Attention, has_vq: bool) -> Iterator[Conflict]:
    yield from _of_join(attention)
    yield from _of_duplex(attention, has_vq)
    yield from _of_outputs(attention)
    yield from _of_sampling(attention)
    yield from _of_given(attention)
    causal = any(isinstance(source.domain, Causal) for source in attention.sources)
    if causal and isinstance(attention.normaliser, OVER_QUERIES):
        yield (
            f"{normaliser_text(attention.normaliser)} under a causal domain lets later queries "
            "change the results of earlier ones",
            "if that is meant, write domain = where(j <= i)",
        )


def _of_join(attention: Attention) -> Iterator[Conflict]:
    weighted = any(source.weight is not None for source in attention.sources)
    if weighted and attention.join != "sum":
        yield (
            "weight needs join = sum",
            "under one softmax, add log(weight) to the score instead",
        )
    if attention.join == "sum" and len(attention.outputs) > 1:
        yield (
            "with join = sum there is one result, out: each source has weights, scores and lse "
            "of its own",
            "attend to each source on its own to get its outputs",
        )


def _of_duplex(attention: Attention, has_vq: bool) -> Iterator[Conflict]:
    is_duplex = isinstance(attention.normaliser, SoftmaxBoth)
    if is_duplex and not has_vq:
        yield (
            "softmax(keys, queries) takes vq, the values of the query side",
            "write out, back = attend(q, k, v, vq = u, normalize = softmax(keys, queries))",
        )
    if has_vq and not is_duplex:
        yield "vq is read with normalize = softmax(keys, queries) only", "leave it out"
    reduces = attention.renormalise is not None or any(s.post for s in attention.sources)
    if is_duplex and reduces:
        yield (
            "post and renormalize would mean two things, as softmax(keys, queries) has two weights",
            "attend once with softmax(keys) and once with softmax(queries)",
        )


def _of_sampling(attention: Attention) -> Iterator[Conflict]:
    alone = len(attention.sources) == 1
    domain = attention.sources[0].domain
    if isinstance(attention.normaliser, Bilinear) and not (alone and isinstance(domain, Sampled)):
        yield (
            "bilinear mixes the corners of a sampled box",
            "write domain = sampled(centre, radius), for one source",
        )
    if "slot_weights" in attention.outputs and (not alone or slot_count(domain) is None):
        yield (
            "slot_weights are those of one source whose domain has a fixed number of slots",
            "take windows, stripes, neighborhood, overlapping, sampled or band; or weights",
        )


def _of_given(attention: Attention) -> Iterator[Conflict]:
    trees = [
        tree
        for source in attention.sources
        for tree in (source.score, allowed(source), source.post)
        if tree is not None
    ]
    if attention.given and any(map(has_distance, trees)):
        yield (
            "l1(q, k) needs q and k; here their product is given",
            "attend to q, k and v",
        )


def _of_outputs(attention: Attention) -> Iterator[Conflict]:
    normaliser = normaliser_text(attention.normaliser)
    has_index = isinstance(attention.normaliser, (ArgmaxKeys, ArgmaxQueries))
    if "index" in attention.outputs and not has_index:
        yield f"{normaliser} has no index", "an index comes with argmax(keys) or argmax(queries)"
    has_lse = isinstance(attention.normaliser, (SoftmaxKeys, SoftmaxQueries, SoftmaxBoth))
    if "lse" in attention.outputs and not has_lse:
        yield f"{normaliser} has no lse", "an lse comes with a softmax"

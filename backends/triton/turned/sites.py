"""Sites with queries and keys swapped, and sites whose weights are read off a known lse."""

from __future__ import annotations

from dataclasses import replace

from attnc.backends.bare import bare
from attnc.backends.torch_function import site_trees
from attnc.backends.triton.rules import with_weight
from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    All,
    Coordinate,
    Load,
    ScoreTree,
    SoftmaxKeys,
    SoftmaxQueries,
    Source,
    Unnormalised,
    Weight,
    Where,
)
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import condition, loads, make, replaced


def is_swappable(site: Site) -> bool:
    """Say whether queries and keys may swap roles: one source, heads of k for those of q."""
    if len(site.sources) > 1 or site.attention.given:
        return False
    (source,), ((k, _),) = site.attention.sources, site.sources
    return source.weight is None and k.shape[1] == site.q.shape[1]


def swapped(site: Site, name: str, values: TensorType) -> Site:
    """Return softmax over keys of a site whose queries and keys have swapped roles.

    Args:
        site: with one source.
        name: behind its own.
        values: one for each query.
    """
    (source,), ((k, _),) = site.attention.sources, site.sources
    inside = condition(source.domain)
    other = Source(
        All() if inside is None else Where(_swapped(inside)),
        _swapped(source.score),
        None if source.mask is None else _swapped(source.mask),
        post=None if source.post is None else _swapped(source.post),
    )
    attention = replace(
        site.attention, sources=(other,), normaliser=SoftmaxKeys(), renormalise=None
    )
    return replace(
        site, name=f"{site.name}_{name}", attention=attention, q=k, sources=((site.q, values),),
        vq=None,
    )  # fmt: skip


def _swapped(tree: ScoreTree) -> ScoreTree:
    other = {"i": Coordinate("j"), "j": Coordinate("i")}

    def change(part: ScoreTree) -> ScoreTree:
        return other.get(part.name, part) if isinstance(part, Coordinate) else part

    return replaced(tree, change)


def reading(site: Site, name: str, token: str) -> tuple[Site, Load]:
    """Return a site with a tensor more, and the read of it for a query `i` or a key `j`."""
    count = site.q.shape[2] if token == "i" else site.sources[0][0].shape[2]
    while name in site.attention.tensors:
        name += "_"
    attention = replace(site.attention, tensors=(*site.attention.tensors, name))
    tensors = (*site.tensors, TensorType((*site.q.shape[:2], count)))
    at = Load(name, (Coordinate("b"), Coordinate("h"), Coordinate(token)))
    return replace(site, attention=attention, tensors=tensors), at


def needed(site: Site) -> Site:
    """Return a site without the tensors that nothing reads."""
    read = {name for tree in site_trees(site) for name in loads(tree)}
    kept = [
        (name, type_)
        for name, type_ in zip(site.attention.tensors, site.tensors, strict=True)
        if name in read
    ]
    attention = replace(site.attention, tensors=tuple(name for name, _ in kept))
    return replace(site, attention=attention, tensors=tuple(type_ for _, type_ in kept))


def turned_sites(site: Site) -> tuple[Site, Site] | None:
    """Return what softmax over queries is computed by; none where it is not.

    Returns:
        The site with the roles swapped, whose values stand for gradients of the result; and that
        of weights exp(s - lse), of which the forward pass alone is needed.
    """
    attention = site.attention
    over_queries = attention.normaliser == SoftmaxQueries() and bare(site) == site
    if not over_queries or not is_swappable(site):
        return None
    ((_, v),) = site.sources
    if {*attention.outputs} - {"out", "lse"} or attention.renormalise is not None:
        return None
    values = TensorType((*site.q.shape[:3], v.shape[3]))
    return swapped(site, "turned", values), _weights(site)


def _weights(site: Site) -> Site:
    made, lse = reading(site, "lse", "j")
    (source,) = site.attention.sources
    weight = make("exp", make("sub", source.score, lse))
    spelt_out = replace(source, score=with_weight(source.post or Weight(), weight), post=None)
    attention = replace(
        made.attention, sources=(spelt_out,), normaliser=Unnormalised(), outputs=("out",)
    )
    return replace(made, name=f"{site.name}_weights", attention=attention)

"""A site for some of its queries alone, with the sizes of one call: for weights of chosen rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from attnc.compiler.kernel import Site
from attnc.compiler.sites import site_types, with_types
from attnc.compiler.sizes import Arithmetic, Axis, Recipe, Sizes
from attnc.dsl.arithmetic import binary
from attnc.dsl.attention import (
    OVER_QUERIES,
    All,
    Among,
    Attention,
    Coordinate,
    Extent,
    Load,
    ScoreTree,
    SoftmaxKeys,
    Source,
)
from attnc.dsl.dims import Shape, Size
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import allowed, replaced, simplify

ROWS = "rows"
"""The captured tensor [r] that tells which query each row is."""


def concrete(site: Site, shapes: Sequence[Shape]) -> Site:
    """Return the site with the sizes of a call; its domains are conditions in the mask.

    Args:
        shapes: of all operands, in a kernel's order.
    """
    known = _sizes(site, shapes)
    types = [
        replace(type_, shape=tuple(shape))
        for type_, shape in zip(site_types(site), shapes, strict=True)
    ]
    attention = _mapped(site.attention, lambda part: _numbered(part, known))
    return replace(with_types(site, types), attention=attention)


def of_rows(site: Site, count: int, outputs: tuple[str, ...]) -> Site:
    """Return a concrete site for `count` of its queries, whose numbers a tensor `rows` holds.

    It is called with those rows of q, without vq, and with `rows` behind all other tensors. Scores
    that are normalised over queries too are so over keys alone.
    """
    names = site.attention.tensors
    name = ROWS
    while name in names:
        name += "_"
    row = Load(name, (Coordinate("i"),), "int")

    def change(part: ScoreTree) -> ScoreTree:
        return row if part == Coordinate("i") else part

    attention = replace(_mapped(site.attention, change), tensors=(*names, name), outputs=outputs)
    if isinstance(attention.normaliser, OVER_QUERIES):
        attention = replace(attention, normaliser=SoftmaxKeys())
    b, h, _, d = site.q.shape
    return replace(
        site,
        attention=attention,
        q=replace(site.q, shape=(b, h, count, d)),
        tensors=(*site.tensors, TensorType((count,), "int")),
        vq=None,
    )


def _mapped(attention: Attention, change: Callable[[ScoreTree], ScoreTree]) -> Attention:
    """Return the attention with `change` applied to every part of every tree."""

    def tree(whole: ScoreTree) -> ScoreTree:
        return simplify(replaced(simplify(whole), change))

    def optional(whole: ScoreTree | None) -> ScoreTree | None:
        return None if whole is None else tree(whole)

    normaliser = attention.normaliser
    if isinstance(normaliser, SoftmaxKeys):
        normaliser = replace(normaliser, sink=optional(normaliser.sink))
    sources = tuple(
        Source(
            All(), tree(each.score), optional(allowed(each)), optional(each.weight),
            optional(each.post),
        )
        for each in attention.sources
    )  # fmt: skip
    return replace(
        attention,
        sources=sources,
        normaliser=normaliser,
        renormalise=optional(attention.renormalise),
    )


def _sizes(site: Site, shapes: Sequence[Shape]) -> Callable[[Size], Size]:
    """Return what tells a size of the site in the call at hand."""
    recipes = Sizes(type_.shape for type_ in site_types(site))

    def value(recipe: Recipe) -> Size:
        match recipe:
            case Axis(port, axis):
                return shapes[port][axis]
            case Arithmetic(operator, left, right):
                return cast(Size, binary(operator, value(left), value(right)))
        return recipe

    def known(size: Size) -> Size:
        recipe = recipes.recipe(size)
        assert recipe is not None, "the reference refused sizes that no axis tells"
        return value(recipe)

    return known


def _numbered(part: ScoreTree, known: Callable[[Size], Size]) -> ScoreTree:
    match part:
        case Extent(size):
            return Extent(known(size))
        case Among(_, _, count):
            return replace(part, count=known(count))
    return part

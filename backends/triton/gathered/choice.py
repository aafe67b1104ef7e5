"""Which sites have lists of keys, and why the template does not compute one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnc.backends.bare import beyond_bare
from attnc.backends.epilogue import without_epilogue
from attnc.backends.formula import beyond_weights
from attnc.backends.torch_function import source_trees
from attnc.backends.triton.gathered.configs import JOINT
from attnc.backends.triton.gathered.lists import listed
from attnc.backends.triton.refusals import (
    of_expressions,
    of_outputs,
    of_routes,
    of_shapes,
    of_weights,
)
from attnc.backends.triton.rules import rule_of
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Bilinear, PerHeads, RoutedKeys, Sampled, SoftmaxKeys, Source
from attnc.dsl.attention_text import normaliser_text
from attnc.dsl.scorelang import has_distance

LISTS = (RoutedKeys, Sampled)
"""Domains by which each query has a list of keys."""

MOST = 64
"""Slots of a box whose corners are mixed."""


def has_lists(site: Site) -> bool:
    """Say whether keys of any source stand in lists."""
    return any(map(_has_list, site.attention.sources))


def reasons_against(site: Site) -> list[str]:
    """Return why a site with lists of keys is not computed; none where it is."""
    bare = without_epilogue(site)
    found = [*_of_weights(site), *beyond_weights(site), *beyond_bare(bare)]
    found += [*of_shapes(site), *of_outputs(site), *of_expressions(site)]
    found += _of_tiled(site)
    for source in filter(_has_list, site.attention.sources):
        found += _of_source(source)
    return [*dict.fromkeys(found)]


def _of_weights(site: Site) -> Iterator[str]:
    attention, mixed = site.attention, isinstance(site.attention.normaliser, Bilinear)
    plain = replace(attention, normaliser=SoftmaxKeys()) if mixed else attention
    yield from of_weights(replace(site, attention=plain))
    for slots in (lists.slots for each in attention.sources if (lists := listed(each))):
        if mixed and isinstance(slots, int) and slots > MOST:
            yield f"corners share a tile of the whole box, at most {MOST} slots; it has {slots}"
    if "slot_weights" in attention.outputs:
        rule = rule_of(attention)
        if not mixed and (rule is None or rule.centred):
            name = normaliser_text(attention.normaliser)
            yield f"slot_weights by {name} are known after the last slot only"
        if any(source.weight is not None for source in attention.sources):
            yield "slot_weights are of a source without a weight"


def _of_tiled(site: Site) -> Iterator[str]:
    """Yield why sources without lists are not walked beside those with."""
    pairs = zip(site.attention.sources, site.sources, strict=True)
    tiled = [(source, types) for source, types in pairs if not _has_list(source)]
    sources, operands = zip(*tiled, strict=True) if tiled else ((), ())
    attention = replace(site.attention, sources=sources)
    yield from of_routes(replace(site, attention=attention, sources=operands))
    widths = [type_.shape[-1] for types in site.sources for type_ in types]
    widest = max((width for width in widths if isinstance(width, int)), default=0)
    if tiled and widest > max(JOINT):
        yield f"lists beside tiles of keys fit head dims up to {max(JOINT)}; here is {widest}"
    trees = (tree for source in sources for tree in source_trees(source))
    if any(map(has_distance, trees)):
        yield "keys of a source without lists are multiplied by tile; it reads l1(q, k)"


def _of_source(source: Source) -> Iterator[str]:
    match source.domain:
        case Sampled(_, radius) if listed(source) is None:
            sizes = ", ".join(str(each) for each in radius if not isinstance(each, int))
            yield f"the radius of a box must be a number at compile time; {sizes} is not"
        case PerHeads() if _has_list(source):
            yield (
                "lists are of one length for all heads and belong to one index or centre; where "
                "domains differ between heads, attend with each group of heads by itself"
            )
    if source.post is not None and has_distance(source.post):
        yield "a post expression reads l1(q, k), whose gradient scores alone pass on"


def _has_list(source: Source) -> bool:
    domain = source.domain
    domains = domain.domains if isinstance(domain, PerHeads) else (domain,)
    return any(isinstance(each, LISTS) for each in domains)

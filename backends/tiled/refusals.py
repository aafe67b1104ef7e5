"""What the tiled backend does not compute, and what would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnc.backends.bare import beyond_bare
from attnc.backends.tiled.gathered import gathers
from attnc.backends.tiled.heads import by_heads
from attnc.backends.tiled.normalise import BY_COLUMN
from attnc.backends.torch_function import site_trees, unknown_sizes
from attnc.compiler.kernel import Site
from attnc.dsl.attention import All, Among, Bilinear, ReluPower
from attnc.dsl.attention_text import normaliser_text
from attnc.dsl.scorelang import coordinates, has_dot, subtrees


def reasons_against(site: Site) -> list[str]:
    """Return why the site cannot be computed; none where it can."""
    groups = by_heads(site)
    if groups:
        return [*dict.fromkeys(reason for group in groups for reason in reasons_against(group))]
    return [*beyond_bare(site), *_of_form(site), *_of_outputs(site), *_of_expressions(site)]


def _of_form(site: Site) -> Iterator[str]:
    attention = site.attention
    if attention.given:
        yield "products computed elsewhere are in memory already"
    match attention.normaliser:
        case ReluPower(power) if power < 1:
            yield "relu to a power below 1 has infinite gradients"
        case Bilinear() if not gathers(site, 0):
            yield "corners of a sampled box are gathered keys, not tiles"
    if isinstance(attention.normaliser, BY_COLUMN) and attention.renormalise is not None:
        if "received" in attention.outputs:
            yield "received would take a second walk: rows are divided after the last tile"
        if len(attention.sources) > 1 and attention.join == "sum":
            yield "rows of sources that are summed would each be divided after the last tile"
    heads = site.q.shape[1]
    for k, _ in site.sources:
        if k.shape[1] != heads and not (isinstance(heads, int) and isinstance(k.shape[1], int)):
            yield "heads that share keys must be numbers at compile time"


def _of_outputs(site: Site) -> Iterator[str]:
    attention = site.attention
    stored = [name for name in ("weights", "scores") if name in attention.outputs]
    if stored:
        yield f"{' and '.join(stored)} would be stored in full; the reference backend gives them"
    if "slot_weights" in attention.outputs and not gathers(site, 0):
        over = normaliser_text(attention.normaliser)
        yield f"slot_weights are those of gathered keys, which {over} does not take"
    if len(attention.sources) > 1 and attention.join == "sum":
        beyond = [name for name in ("lse", "index") if name in attention.outputs]
        if beyond:
            yield f"sources that are summed have {' and '.join(beyond)} each, not one"


def _of_expressions(site: Site) -> Iterator[str]:
    unknown = unknown_sizes(site)
    if unknown:
        sizes = ", ".join(str(size) for size in unknown)
        yield f"no axis of q, k, v or a tensor tells the size {sizes}; make it a param"
    if _looks_up(site):
        yield "keys named by an index are gathered; here a table of all pairs would say which"
    for source in site.attention.sources:
        weight = source.weight
        if weight is not None and (has_dot(weight) or coordinates(weight) & {"i", "j"}):
            yield "the weight of a source differs between pairs; it may depend on b and h only"
    if any(type_.dtype == "complex" for type_ in site.tensors):
        yield "scores are real; a captured tensor is complex"


def _looks_up(site: Site) -> bool:
    """Say whether an expression asks if a number is among those that an index names."""
    sources = tuple(
        replace(source, domain=All()) if gathers(site, number) else source
        for number, source in enumerate(site.attention.sources)
    )
    beside = replace(site, attention=replace(site.attention, sources=sources))
    return any(isinstance(part, Among) for tree in site_trees(beside) for part in subtrees(tree))

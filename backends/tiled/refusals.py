"""What the tiled backend does not compute, and what would."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.backends.formula import beyond_tiles
from attnc.backends.tiled.normalise import BY_COLUMN
from attnc.backends.tiled.routes import routed
from attnc.backends.torch_function import site_trees, unknown_sizes
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Among, Bilinear, ReluPower, SoftmaxBoth
from attnc.dsl.scorelang import coordinates, has_dot, subtrees


def reasons_against(site: Site) -> list[str]:
    """Return why the site cannot be computed; none where it can."""
    return [*beyond_tiles(site), *_of_form(site), *_of_outputs(site), *_of_expressions(site)]


def _of_form(site: Site) -> Iterator[str]:
    attention = site.attention
    several = len(attention.sources) > 1
    if attention.given:
        yield "products computed elsewhere are in memory already"
    match attention.normaliser:
        case SoftmaxBoth():
            yield "softmax over keys and over queries are two walks over the tiles"
        case Bilinear():
            yield "corners of a sampled box are gathered keys, not tiles"
        case ReluPower(power) if power < 1:
            yield "relu to a power below 1 has infinite gradients"
    if isinstance(attention.normaliser, BY_COLUMN):
        if several:
            yield "tiles of whole columns hold one source"
        if attention.renormalise is not None:
            yield "rows cannot be divided by their sum in tiles of whole columns"
    heads = site.q.shape[1]
    for k, _ in site.sources:
        if k.shape[1] != heads and not (isinstance(heads, int) and isinstance(k.shape[1], int)):
            yield "heads that share keys must be numbers at compile time"


def _of_outputs(site: Site) -> Iterator[str]:
    attention = site.attention
    stored = [name for name in ("weights", "scores") if name in attention.outputs]
    if stored:
        yield f"{' and '.join(stored)} would be stored in full; the reference backend gives them"
    if len(attention.sources) > 1 and "received" in attention.outputs:
        yield "received is given for one source"
    if len(attention.sources) > 1 and attention.join == "sum":
        beyond = [name for name in ("lse", "index") if name in attention.outputs]
        if beyond:
            yield f"sources that are summed have {' and '.join(beyond)} each, not one"


def _of_expressions(site: Site) -> Iterator[str]:
    unknown = unknown_sizes(site)
    if unknown:
        sizes = ", ".join(str(size) for size in unknown)
        yield f"no axis of q, k, v or a tensor tells the size {sizes}; make it a param"
    if routed(site) is None and any(
        isinstance(part, Among) for tree in site_trees(site) for part in subtrees(tree)
    ):
        yield "keys named by an index are gathered for plain scores only, and for one source"
    for source in site.attention.sources:
        weight = source.weight
        if weight is not None and (has_dot(weight) or coordinates(weight) & {"i", "j"}):
            yield "the weight of a source differs between pairs; it may depend on b and h only"
    if any(type_.dtype == "complex" for type_ in site.tensors):
        yield "scores are real; a captured tensor is complex"

"""When one side had better stay in a tile, and which; else why not."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.backends.bare import beyond_bare
from attnc.backends.epilogue import without_epilogue
from attnc.backends.formula import beyond_tiles
from attnc.backends.torch_function import unknown_sizes
from attnc.backends.triton.configs import CAPABILITIES
from attnc.backends.triton.pieces import padded
from attnc.backends.triton.refusals import of_epilogue
from attnc.backends.triton.resident.configs import MOST, WIDEST, fits
from attnc.backends.triton.resident.problem import readings_of
from attnc.backends.triton.rules import affine
from attnc.backends.triton.views import pair_reads
from attnc.compiler.kernel import Site, Target
from attnc.compiler.targets import parse_target
from attnc.dsl.attention import All, Among, Causal, Constant, SoftmaxKeys, Where
from attnc.dsl.attention_text import normaliser_text
from attnc.dsl.scorelang import allowed, simplify, subtrees

TIMES = 4
"""How many times longer than the side that stays the other one is, to be worth streaming once."""


def keys_stay(site: Site) -> bool | None:
    """Say whether keys stay, or queries do; none where neither can.

    Of two sides that can it is the shorter one.
    """
    counts = {True: site.sources[0][0].shape[2], False: site.q.shape[2]}
    fitting = {
        keys: count
        for keys, count in counts.items()
        if isinstance(count, int) and 1 <= count <= MOST and _serves(site, keys)
    }
    return min(fitting, key=lambda keys: fitting[keys], default=None)


def streams_queries(site: Site) -> bool:
    """Say whether queries go by keys that stay, so that each row of the result is stored once."""
    return not readings_of(site, bool(keys_stay(site)))[0].gathers


def _serves(site: Site, keys: bool) -> bool:
    found = readings_of(site, keys)
    return bool(found) and all(each.whole or each.gathers for each in found)


def reasons_against(site: Site) -> list[str]:
    """Return why the template does not compute a site; none where it does, and had better."""
    found = [*_of_shapes(site), *beyond_bare(without_epilogue(site))]
    if not found:
        found += [*_of_weights(site), *_of_expressions(site), *_of_epilogue(site)]
    if not found and site.attention.normaliser == SoftmaxKeys():
        found += _of_worth(site)
    return found


def _of_shapes(site: Site) -> Iterator[str]:
    attention = site.attention
    if attention.given or len(site.sources) > 1 or attention.sources[0].weight is not None:
        yield "tokens stay in a tile for one source of q and k, without a weight"
        return
    values = [v for _, v in site.sources] + ([] if site.vq is None else [site.vq])
    widths = [type_.shape[-1] for type_ in (site.q, *values)]
    if not all(isinstance(width, int) for width in widths):
        yield "head dims must be numbers at compile time"
        return
    if max(width for width in widths if isinstance(width, int)) > WIDEST:
        yield f"head dims beside tokens that stay in a tile are up to {WIDEST}"
    if site.sources[0][0].shape[1] != site.q.shape[1]:
        yield "heads of q share those of k; tokens that stay in a tile serve one head"
    if not readings_of(site, keys_stay=True):
        yield f"{normaliser_text(attention.normaliser)} has nothing to gain from tokens in a tile"
    elif keys_stay(site) is None:
        side = "queries or keys" if _serves(site, keys=True) else "queries"
        yield (
            f"{normaliser_text(attention.normaliser)} needs {side} that stay in a tile: at most "
            f"{MOST}, a number at compile time"
        )


def _of_weights(site: Site) -> Iterator[str]:
    attention = site.attention
    beyond = [n for n in attention.outputs if n not in ("out", "back", "lse", "scores", "index")]
    if beyond:
        yield f"tokens that stay in a tile do not give {' or '.join(beyond)}"
    rows, (source,) = attention.renormalise, attention.sources
    keys = keys_stay(site)
    found = readings_of(site, bool(keys))
    if rows is not None and rows != Constant(True):
        yield "weights of some rows only are divided by their sum again"
    elif rows is not None and not (found[0].gathers and found[0].whole):
        yield "weights are divided by their sum again on another side than they are normalised on"
    if source.post is not None:
        linear = affine(source.post)
        if found[0].hard or linear is None or linear[1] != Constant(0.0):
            yield "post does more than multiply the weights of a softmax"


def _of_epilogue(site: Site) -> Iterator[str]:
    """Rows of the streamed side are stored once; those that stay are sums over programs."""
    if site.attention.epilogue is not None:
        if not streams_queries(site):
            yield f"what follows a result of {MOST} rows at most has few bytes; it stands apart"
        yield from of_epilogue(site)


def _of_expressions(site: Site) -> Iterator[str]:
    unknown = unknown_sizes(site)
    if unknown:
        sizes = ", ".join(str(size) for size in unknown)
        yield f"no axis of q, k, v or a tensor tells the size {sizes}; make it a param"
    (source,) = site.attention.sources
    condition = allowed(source)
    if condition is not None and any(isinstance(part, Among) for part in subtrees(condition)):
        yield "its domain stands in an index; tiles are of tokens side by side"
    trees = [tree for tree in (source.score, source.post) if tree is not None]
    if any(True for tree in trees for _ in pair_reads(simplify(tree))):
        yield "a tensor is read by query and key; tokens that stay in a tile have no room for it"
    if any(type_.dtype == "complex" for type_ in site.tensors):
        yield "scores are real; a captured tensor is complex"
    yield from beyond_tiles(site)


def room(site: Site, target: Target) -> Iterator[str]:
    """Yield why what stays does not fit a tile on a target; the template computes the site."""
    count, dim = _held(site)
    if not fits(target, dim, padded(count)):
        yield f"{count} tokens of head dim {dim} do not fit the registers of {target}"


def _held(site: Site) -> tuple[int, int]:
    """Return how many tokens stay, and the largest head dim."""
    count = site.sources[0][0].shape[2] if keys_stay(site) else site.q.shape[2]
    values = [v for _, v in site.sources] + ([] if site.vq is None else [site.vq])
    dims = [each.shape[-1] for each in (site.q, *values)]
    assert isinstance(count, int), "refused before"
    return count, max(dim for dim in dims if isinstance(dim, int))


def _of_worth(site: Site) -> Iterator[str]:
    """A plain softmax over keys has kernels that walk tiles of both sides, on every card."""
    keys = keys_stay(site)
    counts = (site.q.shape[2], site.sources[0][0].shape[2])
    streamed, stays = counts if keys else reversed(counts)
    if isinstance(streamed, int) and isinstance(stays, int) and streamed < TIMES * stays:
        yield f"{streamed} tokens are too few to be streamed by {stays}"
    for target in map(parse_target, CAPABILITIES):
        yield from room(site, target)
    if not isinstance(site.attention.sources[0].domain, (All, Causal, Where)):
        yield "kernels that walk blocks of both sides leave out pairs that its domain forbids"

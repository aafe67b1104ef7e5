"""What the Triton backend does not compute, and what it would take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnc.backends.formula import beyond_products
from attnc.backends.torch_function import unknown_sizes
from attnc.backends.triton.configs import CAPABILITIES
from attnc.backends.triton.problem import walks
from attnc.backends.triton.rules import LateSoftmax, Softmax, affine, is_elementwise, rule_of
from attnc.compiler.kernel import Site, Target
from attnc.dsl.attention import Among, Attention, Constant, Source
from attnc.dsl.attention_text import normaliser_text
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import allowed, coordinates, has_dot, loads, subtrees

ZERO = Constant(0.0)
WIDEST = 256
"""Largest head dim for which the tiles of every supported card fit."""

WIDEST_TWICE = 128
"""The same where gradients walk the keys twice."""

BESIDE = (128, 64)
"""Widest results beside which the forward kernel reads one tensor of their shape, and another."""


def reasons_against(site: Site) -> list[str]:
    """Return why tiles of queries by tiles of keys do not compute a site; none where they do."""
    return [
        *of_weights(site, twice=True),
        *_beyond_products(site),
        *of_shapes(site),
        *_of_late(site),
        *of_outputs(site),
        *of_expressions(site),
        *of_routes(site),
    ]


def of_target(target: Target) -> Iterator[str]:
    """Yield why no kernel runs on a target."""
    if target.kind == "cpu":
        yield "no GPU; Triton runs on a CPU in its interpreter only, which is for tests"
    elif str(target) not in CAPABILITIES:
        yield f"kernels are not checked for {target}; there are {', '.join(CAPABILITIES)}"


def of_weights(site: Site, twice: bool = False) -> Iterator[str]:
    """Yield what normaliser and post expressions ask that no rule of weights gives.

    Args:
        site: what to compute.
        twice: whether keys may be walked twice, which finds lse before weights are used.
    """
    attention = site.attention
    rule = rule_of(attention)
    if rule is None:
        name = normaliser_text(attention.normaliser)
        yield f"{name} compares more than the keys of a query as they come by"
    posts = [source.post for source in attention.sources if source.post is not None]
    if rule is not None and rule.centred and not is_elementwise(attention.normaliser):
        once = not twice or attention.join == "sum" or not isinstance(rule, Softmax)
        if once and any(affine(post) is None for post in posts):
            yield "a post expression is not linear in w, which is known only after the last key"
        adds = any(parts is not None and parts[1] != ZERO for parts in map(affine, posts))
        if adds and attention.join == "sum" and len(attention.sources) > 1:
            yield "a post expression adds to the weights of sources that are summed"
    yield from of_epilogue(site)


def of_epilogue(site: Site) -> Iterator[str]:
    """Yield why what follows a result is not done by the kernel that stores it."""
    attention, tree = site.attention, site.attention.epilogue
    if tree is None:
        return
    posts = (affine(source.post) for source in attention.sources if source.post is not None)
    if any(parts is None or parts[1] != ZERO for parts in posts):
        yield "what follows its result stands apart where a post expression adds to weights"
    whole = [
        element.tensor for reads in loads(tree).values() for element in reads
        if {"i", "c"} <= coordinates(element)
    ]  # fmt: skip
    width = site.sources[0][1].shape[-1]
    if isinstance(width, int) and len(whole) > sum(width <= most for most in BESIDE):
        yield (
            f"{', '.join(whole)} beside a result {width} wide would spill registers; there is room "
            f"for {' and '.join(f'one up to {most}' for most in BESIDE)}"
        )


def _beyond_products(site: Site) -> Iterator[str]:
    attention = site.attention
    if attention.given:
        yield (
            "the products are given: a normaliser and one matrix product are left, each of them a "
            "kernel of torch"
        )
        return
    if _is_ratio(attention):
        site = replace(site, attention=replace(attention, renormalise=None))
    yield from beyond_products(site)


def _is_ratio(attention: Attention) -> bool:
    """Say whether weights that are divided by their sum again are a ratio of scores."""
    joined = len(attention.sources) == 1 or attention.join == "softmax"
    every = attention.renormalise == Constant(True)
    return every and joined and is_elementwise(attention.normaliser)


def _of_late(site: Site) -> Iterator[str]:
    """Two walks for a post expression take more registers than wide heads leave."""
    widths = [width for width in _widths(site) if isinstance(width, int)]
    if isinstance(rule_of(site.attention), LateSoftmax) and max(widths, default=0) > WIDEST_TWICE:
        yield (
            "a post expression is not linear in w: that takes two walks, whose tiles fit head dims "
            f"up to {WIDEST_TWICE}"
        )


def is_wide(site: Site) -> bool:
    """Say whether rows are too wide for a tile, as far as is known."""
    return any(not isinstance(width, int) or width > WIDEST for width in _widths(site))


def _widths(site: Site) -> list[Size]:
    return [site.q.shape[-1], *(type_.shape[-1] for pair in site.sources for type_ in pair)]


def of_shapes(site: Site) -> Iterator[str]:
    """Yield what is wrong with the sizes of heads."""
    if site.attention.given:  # refused already; q has no head dim
        return
    symbolic = sorted({str(width) for width in _widths(site) if not isinstance(width, int)})
    if symbolic:
        yield f"head dims must be numbers at compile time; {', '.join(symbolic)} is not"
    too_wide = [width for width in _widths(site) if isinstance(width, int) and width > WIDEST]
    if too_wide:
        yield f"head dim {max(too_wide)} is over {WIDEST}, the widest whose tiles fit every card"
    if len({v.shape[-1] for _, v in site.sources}) > 1:
        yield "the sources have values of different widths; results of one width are added up"
    heads = site.q.shape[1]
    for k, _ in site.sources:
        shared = k.shape[1]
        if isinstance(heads, int) and isinstance(shared, int) and heads % shared:
            yield f"{shared} heads of k do not divide {heads} heads of q"


def of_outputs(site: Site) -> Iterator[str]:
    """Yield which outputs would take room for all pairs, or have no meaning."""
    attention = site.attention
    extra = [name for name in attention.outputs if name in ("weights", "scores")]
    if extra:
        names = " and ".join(extra)
        yield f"{names} are asked for: not to store them is what a kernel would gain"
    if "lse" in attention.outputs and attention.join == "sum" and len(attention.sources) > 1:
        yield "sources that are summed have an lse each, not one"


def of_expressions(site: Site) -> Iterator[str]:
    """Yield what in the expressions of a site kernels cannot compute."""
    unknown = unknown_sizes(site)
    if unknown:
        sizes = ", ".join(str(size) for size in unknown)
        yield f"no axis of q, k, v or a tensor tells the size {sizes}; make it a param"
    for source in site.attention.sources:
        if source.weight is not None and not _is_by_head(source):
            yield "the weight of a source differs between pairs; it may depend on b and h only"
    if any(type_.dtype == "complex" for type_ in site.tensors):
        yield "scores are real; a captured tensor is complex"


def of_routes(site: Site) -> Iterator[str]:
    """Yield why regions that an index names are not walked."""
    for source, found in zip(site.attention.sources, walks(site), strict=True):
        if _is_routed(source) and found is None:
            yield "regions that an index names are walked one by one, with nothing read by pair"


def _is_routed(source: Source) -> bool:
    condition = allowed(source)
    return condition is not None and any(isinstance(part, Among) for part in subtrees(condition))


def _is_by_head(source: Source) -> bool:
    weight = source.weight
    return weight is None or (coordinates(weight) <= {"b", "h"} and not has_dot(weight))

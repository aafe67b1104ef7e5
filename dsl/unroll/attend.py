"""Attention nodes as calls of `attend`: every piece written out, what is the default left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from attnc.dsl import scorelang, tree
from attnc.dsl.attention import (
    All,
    Apply,
    Attention,
    Band,
    Blocks,
    Causal,
    Constant,
    Domain,
    Dot,
    Grid,
    Groups,
    Load,
    Neighborhood,
    Overlapping,
    PerHeads,
    RoutedKeys,
    RoutedRegions,
    Sampled,
    ScoreTree,
    SoftmaxKeys,
    Source,
    Stripes,
    Where,
    Windows,
)
from attnc.dsl.attention_text import normaliser_text
from attnc.dsl.dims import Shape, Size, symbol
from attnc.dsl.graph import Node, Value
from attnc.dsl.unroll.notation import HERE, Called, call, listed, name, parsed, size

HIDDEN = frozenset({*scorelang.BUILTINS, "scale", "w"})
"""Names that mean something else inside a score, so that sizes called so need another name."""

_Named = dict[str, tree.Expr]


def attend_call(node: Node, called: Called, sizes: Mapping[str, str]) -> tree.Call:
    """Return the call of an `attend` node.

    Args:
        sizes: what symbols whose names are hidden in scores are called there.
    """
    args = node.args
    tensors = cast(tuple[Value, ...], args["tensors"])
    written = cast(Attention, args["attention"])
    names = {old: called[value] for old, value in zip(written.tensors, tensors, strict=True)}
    attention = _with_trees(
        written,
        lambda each: scorelang.with_sizes(
            scorelang.rename(each, names), {old: symbol(new) for old, new in sizes.items()}
        ),
    )
    q = name(called[cast(Value, args["q"])])
    streams = cast(tuple[tuple[Value | None, Value], ...], args["sources"])
    positional, named = _streams(attention, q, streams, called)
    vq = args.get("vq")
    if isinstance(vq, Value):
        named["vq"] = name(called[vq])
    return call("attend", positional, {**named, **_reduction(attention)})


def _with_trees(attention: Attention, change: Callable[[ScoreTree], ScoreTree]) -> Attention:
    """Return the attention with every tree changed."""

    def optional(each: ScoreTree | None) -> ScoreTree | None:
        return None if each is None else change(each)

    sources = tuple(
        replace(
            each, domain=scorelang.with_trees(each.domain, change), score=change(each.score),
            mask=optional(each.mask), weight=optional(each.weight), post=optional(each.post),
        )
        for each in attention.sources
    )  # fmt: skip
    normaliser = attention.normaliser
    if isinstance(normaliser, SoftmaxKeys):
        normaliser = SoftmaxKeys(optional(normaliser.sink))
    rows = optional(attention.renormalise)
    return replace(attention, sources=sources, normaliser=normaliser, renormalise=rows)


def _streams(
    attention: Attention,
    q: tree.Expr,
    streams: tuple[tuple[Value | None, Value], ...],
    called: Called,
) -> tuple[list[tree.Expr], _Named]:
    """Return what stands before the pieces that all sources share, and those of a lone source."""
    pieces = [_pieces(each, k) for each, (k, _) in zip(attention.sources, streams, strict=True)]
    tensors = [[name(called[each]) for each in stream if each is not None] for stream in streams]
    if attention.given:
        return [], {"scores": q, "v": tensors[0][0], **pieces[0]}
    if len(streams) == 1:
        return [q, *tensors[0]], pieces[0]
    sources = map(lambda kv, named: call("source", kv, named), tensors, pieces)
    return [q, listed(sources)], {}


def _pieces(source: Source, k: Value | None) -> _Named:
    named = {} if source.domain == All() else {"domain": domain_call(source.domain)}
    named |= _scored(source.score, 1 if k is None else k.shape[-1])
    trees = {"mask": source.mask, "weight": source.weight, "post": source.post}
    return named | {key: _score(each) for key, each in trees.items() if each is not None}


def _scored(score: ScoreTree, width: Size) -> _Named:
    """Return `scale` where the score is a scaled product, else the whole score.

    A width that differs between inputs has no scale of its own: one must be stated.
    """
    if isinstance(width, int) and score == _product(float(width) ** -0.5):
        return {}
    match score:
        case Dot():
            return {"scale": tree.Number(1, HERE)}
        case Apply("mul", (Dot(), Constant(float() as factor))):
            return {"scale": tree.Number(factor, HERE)}
    stated = {} if isinstance(width, int) else {"scale": tree.Number(1, HERE)}
    return {"score": _score(score), **stated}


def _product(scale: float) -> ScoreTree:
    return scorelang.simplify(scorelang.product(Dot(), Constant(scale)))


def _reduction(attention: Attention) -> _Named:
    named: _Named = {}
    if attention.join != "softmax":
        named["join"] = parsed(attention.join)
    if attention.normaliser != SoftmaxKeys():
        named["normalize"] = parsed(normaliser_text(attention.normaliser))
    if attention.renormalise is not None:
        named["renormalize"] = _score(attention.renormalise)
    extra = [each for each in attention.outputs if each not in ("out", "back")]
    return named | ({"outputs": listed(map(name, extra))} if extra else {})


def _score(each: ScoreTree) -> tree.Expr:
    return parsed(scorelang.text(each))


# Domains ----------------------------------------------------------------------------------


def domain_call(domain: Domain) -> tree.Expr:
    """Return what a spec writes for a placed domain."""
    match domain:
        case All():
            return name("all")
        case Causal(offset):
            return name("causal") if offset == 0 else call("causal", [size(offset)])
        case Band(left, right):
            return call("band", [size(left), size(right)])
        case Where(condition):
            return call("where", [_score(condition)])
        case Windows(sizes, shift, dilation, wrap, grid):
            return _windows(sizes, shift, dilation, wrap, grid)
        case Stripes(axis, width, grid):
            return call("stripes", [size(axis), size(width)], _grid(grid))
        case Neighborhood(kernel, edge, dilation, grid):
            edges = {} if edge == "truncate" else {"edge": parsed(edge)}
            named = edges | _unless("dilation", dilation, 1) | _grid(grid)
            return call("neighborhood", [_each(kernel)], named)
        case Overlapping(sizes, key_size, grid):
            return call("overlapping", [_each(sizes), _each(key_size)], _grid(grid))
        case Groups(query, key):
            index, key_index = _tensor(query), _tensor(key)
            return call("groups", [index], {} if key_index == index else {"key_index": key_index})
        case Blocks(queries, keys):
            return call("blocks", [_list(queries)], {"key_lengths": _list(keys)})
        case RoutedRegions(index, _, regions, grid):
            return call("routed", [_tensor(index)], {"regions": _list(regions), **_grid(grid)})
        case RoutedKeys(index, _, grid):
            return call("routed", [_tensor(index)], _grid(grid))
        case Sampled(centre, radius, grid):
            return call("sampled", [_tensor(centre), _each(radius)], _grid(grid))
        case PerHeads(domains):
            return call("per_heads", map(domain_call, domains))


def _windows(
    sizes: tuple[Size | None, ...], shift: Shape, dilation: Shape, wrap: bool, grid: Grid | None
) -> tree.Expr:
    known = tuple(each for each in sizes if each is not None)
    if len(known) < len(sizes):  # stripes, which is how a window comes to span a whole axis
        return call("stripes", [size(sizes.index(known[0])), size(known[0])], _grid(grid))
    named = _unless("shift", shift, 0) | _unless("dilation", dilation, 1)
    wraps = {"wrap": parsed("true")} if wrap else {}
    return call("windows", [_each(known)], {**named, **wraps, **_grid(grid)})


def _tensor(each: ScoreTree) -> tree.Expr:
    assert isinstance(each, Load), "domains read groups, routes and centres from tensors"
    return name(each.tensor)


def _grid(grid: Grid | None) -> _Named:
    """Return the arguments for a grid; tokens in a row need none."""
    if grid is None or len(grid.queries) == 1:
        return {}
    keys = {} if grid.keys == grid.queries else {"key_grid": _list(grid.keys)}
    return {"grid": _list(grid.queries), **keys}


def _unless(key: str, sizes: Shape, default: Size) -> _Named:
    return {} if set(sizes) == {default} else {key: _each(sizes)}


def _each(sizes: Shape) -> tree.Expr:
    """Return one size for all axes where they are equal, else a list."""
    return size(sizes[0]) if len(set(sizes)) == 1 else _list(sizes)


def _list(sizes: Shape) -> tree.Expr:
    return listed(map(size, sizes))

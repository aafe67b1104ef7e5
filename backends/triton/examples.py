"""Sites that kernels are compiled for ahead of any model, to hold tile sizes to a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    L1,
    All,
    Attention,
    Bilinear,
    Causal,
    Constant,
    Coordinate,
    Dot,
    Extent,
    Grid,
    Load,
    Neighborhood,
    Ratio,
    Result,
    RoutedKeys,
    Sampled,
    ScoreTree,
    SoftmaxBoth,
    SoftmaxQueries,
    Source,
    Weight,
    Windows,
)
from attnc.dsl.dims import symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.prologues import Normed, Prologue, Rotated
from attnc.dsl.scorelang import make
from attnc.dsl.scorelang.grids import along

BATCH, LENGTH = symbol("b"), symbol("n")
HEADS = 4
_GRID = Grid((56, 56), (56, 56))


def causal(dim: int) -> Site:
    """Return self attention of queries with earlier keys."""
    return _site(dim, _scaled(dim), {})


def causal_table(dim: int) -> Site:
    """Return the same with a learned term by distance: its gradient is a kernel of its own."""
    distance = make("sub", Coordinate("i"), Coordinate("j"))
    place = make("add", distance, Extent(LENGTH - 1))
    score = make("add", _scaled(dim), Load("table", (Coordinate("h"), place)))
    return _site(dim, score, {"table": TensorType((HEADS, 2 * LENGTH - 1))})


def biased(dim: int) -> Site:
    """Return the same with a learned term for each pair, likewise."""
    places = tuple(map(Coordinate, ("h", "i", "j")))
    score = make("add", _scaled(dim), Load("bias", places))
    return _site(dim, score, {"bias": TensorType((HEADS, LENGTH, LENGTH))})


def shared_keys(dim: int) -> Site:
    """Return causal self attention all of whose heads share their keys."""
    site = causal(dim)
    keys = replace(site.q, shape=(BATCH, 1, LENGTH, dim))
    return replace(site, sources=((keys, keys),))


def gated(dim: int) -> Site:
    """Return causal self attention whose weights are multiplied by a gate of the product."""
    site = causal(dim)
    gate = make("sigmoid", make("mul", Dot(), Load("heat", (Coordinate("h"),))))
    source = replace(site.attention.sources[0], post=make("mul", Weight(), gate))
    attention = replace(site.attention, sources=(source,), tensors=("heat",))
    return replace(site, attention=attention, tensors=(TensorType((HEADS,)),))


def windows(dim: int) -> Site:
    """Return shifted windows of 49 tokens with a learned term by distance."""
    return _on_grid(dim, Windows((7, 7), (3, 3), (1, 1), grid=_GRID))


def rotated(dim: int) -> Site:
    """Return windows of 49 tokens whose q and k are normed, with a weight, and rotated."""
    steps = (Normed("rms", 1e-6, "gain"), Rotated("cos", "sin"))
    stream, rotation = (TensorType((BATCH, HEADS, 56 * 56, dim)), TensorType((56 * 56, dim // 2)))
    attention = Attention(
        (Source(Windows((7, 7), (0, 0), (1, 1), grid=_GRID), _scaled(dim)),),
        tensors=("gain", "cos", "sin"),
        prologues=tuple(Prologue(operand, steps) for operand in ("q", "k0")),
    )
    tensors = (TensorType((dim,)), rotation, rotation)
    return Site("attend", attention, stream, ((stream, stream),), tensors)


def followed(dim: int) -> Site:
    """Return self attention whose result is added to, and gated where that has room."""
    places = tuple(map(Coordinate, ("b", "h", "i", "c")))
    epilogue = make("add", Result(), Load("nearby", places))
    values = TensorType((BATCH, HEADS, LENGTH, min(dim, 128)))
    tensors = {"nearby": values}
    if dim <= 64:
        epilogue = make("mul", epilogue, make("sigmoid", Load("gate", places)))
        tensors["gate"] = values
    site = _site(dim, _scaled(dim), tensors)
    attention = replace(site.attention, epilogue=epilogue)
    return replace(site, attention=attention, sources=((site.q, values),))


def neighborhood(dim: int) -> Site:
    """Return neighbourhoods of 49 keys with a learned term by distance."""
    return _on_grid(dim, Neighborhood((7, 7), "truncate", (1, 1), grid=_GRID))


def fading(dim: int) -> Site:
    """Return causal linear attention with a learned decay, over the sum of weights."""
    distance = make("sub", Coordinate("i"), Coordinate("j"))
    rate = Load("rate", (Coordinate("b"), Coordinate("h")))
    score = make("mul", _scaled(dim), make("exp", make("mul", rate, distance)))
    site = _site(dim, score, {"rate": TensorType((BATCH, HEADS))})
    return replace(site, attention=replace(site.attention, normaliser=Ratio(1e-6)))


def linear(dim: int) -> Site:
    """Return linear attention to all keys, over the sum of weights."""
    site = _site(dim, _scaled(dim), {})
    source = replace(site.attention.sources[0], domain=All())
    attention = replace(site.attention, sources=(source,), normaliser=Ratio(1e-6))
    return replace(site, attention=attention)


def chosen(dim: int) -> Site:
    """Return attention to the 64 keys that an index names for each query, with a learned gate."""
    index = Load("index", (Coordinate("b"), Coordinate("h")), "int")
    score = make("add", _scaled(dim), Load("gate", (Coordinate("h"), Coordinate("j"))))
    tensors = {
        "index": TensorType((BATCH, HEADS, LENGTH, 64), "int"),
        "gate": TensorType((HEADS, LENGTH)),
    }
    site = _site(dim, score, tensors)
    source = replace(
        site.attention.sources[0], domain=RoutedKeys(index, 64, Grid((LENGTH,), (LENGTH,)))
    )
    return replace(site, attention=replace(site.attention, sources=(source,)))


def joint(dim: int) -> Site:
    """Return the same beside 128 keys that all queries see, up to the widest that tiles fit."""
    dim = min(dim, 128)
    site = chosen(dim)
    shared = TensorType((BATCH, HEADS, 128, dim))
    sources = (*site.attention.sources, Source(All(), _scaled(dim)))
    attention = replace(site.attention, sources=sources)
    return replace(site, attention=attention, sources=(*site.sources, (shared, shared)))


def sampled(dim: int) -> Site:
    """Return distances to the 16 keys around a centre of each query and head, corners mixed."""
    centre = Load("centre", (Coordinate("b"), Coordinate("h"), Coordinate("i")))
    score = make("mul", L1(), Constant(-(dim**-0.5)))
    stream = TensorType((BATCH, HEADS, 56 * 56, dim))
    source = Source(Sampled(centre, (1, 1), _GRID), score)
    attention = Attention(
        (source,), normaliser=Bilinear(), tensors=("centre",), outputs=("out", "slot_weights")
    )
    centres = TensorType((BATCH, HEADS, 56 * 56, 2))
    return Site("attend", attention, stream, ((stream, stream),), (centres,))


def competing(dim: int) -> Site:
    """Return attention whose queries compete for keys, each of them with a gate of its own."""
    site = _site(dim, _scaled(dim), {"gate": TensorType((BATCH, LENGTH))})
    gated = make("mul", Weight(), Load("gate", (Coordinate("b"), Coordinate("j"))))
    source = replace(site.attention.sources[0], domain=All(), post=gated)
    attention = replace(site.attention, sources=(source,), normaliser=SoftmaxQueries())
    return replace(site, attention=attention)


def squared(dim: int) -> Site:
    """Return causal self attention by squares of its weights, which takes two walks over keys."""
    site = causal(dim)
    source = replace(site.attention.sources[0], post=make("mul", Weight(), Weight()))
    return replace(site, attention=replace(site.attention, sources=(source,)))


def _on_grid(dim: int, domain: Windows | Neighborhood) -> Site:
    distances = (
        make("sub", *(along(token, _GRID.queries, axis) for token in "ij")) for axis in range(2)
    )
    places = (Coordinate("h"), *(make("add", each, Constant(6)) for each in distances))
    score = make("add", _scaled(dim), Load("table", places))
    stream = TensorType((BATCH, HEADS, 56 * 56, dim))
    attention = Attention((Source(domain, score),), tensors=("table",))
    table = TensorType((HEADS, 13, 13))
    return Site("attend", attention, stream, ((stream, stream),), (table,))


def _scaled(dim: int) -> ScoreTree:
    return make("mul", Dot(), Constant(dim**-0.5))


def _site(dim: int, score: ScoreTree, tensors: dict[str, TensorType]) -> Site:
    stream = TensorType((BATCH, HEADS, LENGTH, dim))
    attention = Attention((Source(Causal(), score),), tensors=tuple(tensors))
    return Site("attend", attention, stream, ((stream, stream),), tuple(tensors.values()))


def duplex(dim: int, stays: int) -> Site:
    """Return tokens and latents, `stays` or fewer, that read each other under a learned scale."""
    tokens = TensorType((BATCH, HEADS, LENGTH, dim))
    latents = TensorType((BATCH, HEADS, stays - 1, dim))
    score = make("mul", Dot(), Load("heat", (Coordinate("h"),)))
    attention = Attention(
        (Source(All(), score),), normaliser=SoftmaxBoth(), tensors=("heat",),
        outputs=("out", "back"),
    )  # fmt: skip
    heat = TensorType((HEADS,))
    return Site("attend", attention, tokens, ((latents, latents),), (heat,), tokens)


def channels(count: int) -> Site:
    """Return attention of channels, whose products are over all tokens."""
    stream = TensorType((BATCH, HEADS, count, LENGTH))
    attention = Attention((Source(All(), _scaled(count)),))
    return Site("attend", attention, stream, ((stream, stream),))


EXAMPLES: tuple[Callable[[int], Site], ...] = (
    causal, causal_table, biased, shared_keys, gated, followed, windows, neighborhood, fading,
    linear, chosen, joint, sampled, competing, squared, rotated,
)  # fmt: skip
"""By head dim; between them they have every kind of kernel, walk and tile."""

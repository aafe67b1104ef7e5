"""Sites that kernels are compiled for ahead of any model, to hold tile sizes to a budget."""

from __future__ import annotations

from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    Attention,
    Causal,
    Constant,
    Coordinate,
    Dot,
    Extent,
    Load,
    ScoreTree,
    Source,
)
from attnc.dsl.dims import symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import make

BATCH, LENGTH = symbol("b"), symbol("n")
HEADS = 4


def causal(dim: int) -> Site:
    """Return self attention of queries with earlier keys."""
    return _site(dim, _scaled(dim), {})


def causal_table(dim: int) -> Site:
    """Return the same with a learned term by distance: all four kernels, all kinds of loops."""
    distance = make("sub", Coordinate("i"), Coordinate("j"))
    place = make("add", distance, Extent(LENGTH - 1))
    score = make("add", _scaled(dim), Load("table", (Coordinate("h"), place)))
    return _site(dim, score, {"table": TensorType((HEADS, 2 * LENGTH - 1))})


def _scaled(dim: int) -> ScoreTree:
    return make("mul", Dot(), Constant(dim**-0.5))


def _site(dim: int, score: ScoreTree, tensors: dict[str, TensorType]) -> Site:
    stream = TensorType((BATCH, HEADS, LENGTH, dim))
    attention = Attention((Source(Causal(), score),), tensors=tuple(tensors))
    return Site("attend", attention, stream, ((stream, stream),), tuple(tensors.values()))

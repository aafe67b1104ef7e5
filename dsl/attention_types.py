"""Types of what an attention gives, from the types of what it takes."""

from __future__ import annotations

from collections.abc import Sequence

from attnc.dsl.attention import ArgmaxQueries, Attention, SoftmaxQueries
from attnc.dsl.dims import Size
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import slot_count

Streams = Sequence[tuple[TensorType, TensorType]]
"""k [b, hk, m, d] and v [b, hk, m, e] of each source."""


def identity_key(v: TensorType) -> TensorType:
    """Return the type of the key that given products stand beside: the identity, never stored."""
    b, heads, m, _ = v.shape
    return TensorType((b, heads, m, m))


def key_count(sources: Streams) -> Size:
    """Return the number of keys of all sources."""
    total: Size = 0
    for k, _ in sources:
        total = total + k.shape[2]
    return total


def output_types(
    attention: Attention, q: TensorType, sources: Streams, vq: TensorType | None
) -> tuple[TensorType, ...]:
    """Return the types of `attention.outputs`, in order.

    Args:
        q: [b, h, n, d].
        vq: [b, h, n, f], the values of the query side, where there is a result `back`.
    """
    b, h, n, _ = q.shape
    m = key_count(sources)
    over_queries = isinstance(attention.normaliser, (SoftmaxQueries, ArgmaxQueries))
    statistic = (b, h, m) if over_queries else (b, h, n)
    types = {
        "out": TensorType((b, h, n, sources[0][1].shape[3])),
        "back": TensorType((b, h, m, 0 if vq is None else vq.shape[3])),
        "weights": TensorType((b, h, n, m)),
        "slot_weights": TensorType((b, h, n, slot_count(attention.sources[0].domain) or 0)),
        "scores": TensorType((b, h, n, m)),
        "received": TensorType((b, h, m)),
        "lse": TensorType(statistic),
        "index": TensorType(statistic, "int"),
    }
    return tuple(types[name] for name in attention.outputs)

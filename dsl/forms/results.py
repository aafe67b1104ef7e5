"""Types of what `attend` gives, and what its operands must be."""

from __future__ import annotations

from attnc.dsl import codes
from attnc.dsl.attention import Attention
from attnc.dsl.attention_types import identity_key, output_types
from attnc.dsl.dims import Size
from attnc.dsl.expressions import fail
from attnc.dsl.graph import TensorType, Value
from attnc.dsl.spans import Span
from attnc.dsl.values import SourceValue


def result_types(
    q: Value, sources: list[SourceValue], vq: Value | None, attention: Attention, span: Span
) -> tuple[TensorType, ...]:
    """Return the types of `attention.outputs`; operands that do not fit fail.

    Args:
        q: [b, h, n, d]; of each source k: [b, hk, m, d], v: [b, hk, m, e], hk dividing h. Where
            products are given q is [b, h, n, m] and there is no k.
        vq: [b, h, n, f].
    """
    b, h, n, d = _four(q, "scores" if attention.given else "q", span)
    if vq is not None:
        f = _four(vq, "vq", span)[3]
        _same("vq", (b, h, n, f), vq, vq.shape[:3] == (b, h, n), span)
    width: Size | None = None
    for source in sources:
        vb, heads, m, e = _four(source.v, "v", span)
        if source.k is None:
            _same("v", (b, heads, d, e), source.v, (vb, m) == (b, d), span)
        else:
            kb, heads, m, kd = _four(source.k, "k", span)
            _same("k", (b, heads, m, d), source.k, (kb, kd) == (b, d), span)
            _same("v", (b, heads, m, e), source.v, source.v.shape[:3] == (b, heads, m), span)
        _same("v", (b, heads, m, width or e), source.v, width in (None, e), span)
        _check_heads(h, heads, span)
        width = e
    streams = [
        (identity_key(source.v.type) if source.k is None else source.k.type, source.v.type)
        for source in sources
    ]
    return output_types(attention, q.type, streams, None if vq is None else vq.type)


def _check_heads(h: Size, heads: Size, span: Span) -> None:
    divides = isinstance(h, int) and isinstance(heads, int) and heads > 0 and h % heads == 0
    if heads != h and not divides:
        fail(codes.SHAPE.at(
            span, what="heads of k", expected=f"a divisor of {h}, the heads of q", found=heads
        ))  # fmt: skip


def _four(value: Value, name: str, span: Span) -> tuple[Size, Size, Size, Size]:
    if len(value.shape) != 4:
        fail(codes.RANK.at(
            span, what=f"{name} of attend", expected="[b, h, n, d]", found=value.type
        ))  # fmt: skip
    b, h, n, d = value.shape
    return b, h, n, d


def _same(name: str, expected: tuple[Size, ...], value: Value, holds: bool, span: Span) -> None:
    if not holds:
        fail(codes.SHAPE.at(
            span, what=f"{name} of attend", expected=TensorType(expected), found=value.type
        ))  # fmt: skip

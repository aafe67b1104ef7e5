"""Types of what `attend` gives, and what its operands must be."""

from __future__ import annotations

from attnc.dsl import codes
from attnc.dsl.attention import Attention
from attnc.dsl.dims import Size
from attnc.dsl.expressions import fail
from attnc.dsl.graph import TensorType, Value
from attnc.dsl.spans import Span
from attnc.dsl.values import SourceValue


def result_types(
    q: Value, sources: list[SourceValue], attention: Attention, span: Span
) -> tuple[TensorType, ...]:
    """Return the types of `attention.outputs`; operands that do not fit fail.

    Args:
        q: [b, h, n, d]; of each source k: [b, hk, m, d], v: [b, hk, m, e], hk dividing h.
    """
    b, h, n, d = _four(q, "q", span)
    total: Size = 0
    width: Size | None = None
    for source in sources:
        kb, kh, m, kd = _four(source.k, "k", span)
        vb, vh, vm, e = _four(source.v, "v", span)
        _same("k", (b, kh, m, d), source.k, kb == b and kd == d, span)
        _same("v", (b, kh, m, e), source.v, vb == b and vh == kh and vm == m, span)
        _same("v", (b, kh, m, width or e), source.v, width in (None, e), span)
        divides = isinstance(h, int) and isinstance(kh, int) and kh > 0 and h % kh == 0
        if kh != h and not divides:
            fail(codes.SHAPE.at(
                span, what="heads of k", expected=f"a divisor of {h}, the heads of q", found=kh
            ))  # fmt: skip
        total, width = total + m, e
    shapes = {
        "out": (b, h, n, width if width is not None else d),
        "weights": (b, h, n, total),
        "scores": (b, h, n, total),
        "lse": (b, h, n),
    }
    return tuple(TensorType(shapes[name]) for name in attention.outputs)


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

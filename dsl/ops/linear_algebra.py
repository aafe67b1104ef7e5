"""Products of matrices, and tables of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnc.dsl.dims import Size
from attnc.dsl.graph import Arg, Value
from attnc.dsl.ops import einsum
from attnc.dsl.ops.bound import Bound, tensors_in
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op
from attnc.dsl.ops.shape_rules import broadcast, count

FAMILY = "linear algebra"


def _linear_flops(bound: Bound, results: Sequence[Value]) -> Size:
    return 2 * count(results[0].shape) * bound.size("i")


def _one_dtype(*factors: Value) -> Mapping[str, Arg]:
    """Check that all factors are of one dtype, as torch's products need."""
    for factor in factors:
        if factor.type.dtype != factors[0].type.dtype:
            raise Mismatch(
                "dtype", "all factors must be of one dtype",
                expected=factors[0].type.dtype, found=factor.type.dtype,
            )  # fmt: skip
    return {}


def _matmul_flops(bound: Bound, results: Sequence[Value]) -> Size:
    return 2 * count(results[0].shape) * bound.size("k")


ROWS = (
    Op(
        "linear",
        FAMILY,
        "x W^T + b over the last axis.",
        "x: [*, i], out: positive, bias: flag = true -> [*, out]",
        module="nn.Linear({i}, {out}, bias={bias?})",
        state="weight: [out, i] = linear, bias: [out] = linear",
        cost=_linear_flops,
    ),
    Op(
        "matmul",
        FAMILY,
        "Matrix product over the last two axes; the axes before broadcast.",
        "a: field[*p, n, k], b: field[*q, k, m] -> field[*broadcast(p, q), n, m]",
        "{a} @ {b}",
        rules={"broadcast": broadcast},
        derive=lambda bound: _one_dtype(bound.value("a"), bound.value("b")),
        cost=_matmul_flops,
    ),
    Op(
        "einsum",
        FAMILY,
        "Sum of products in Einstein notation; several factors are contracted left to right.",
        "equation: text, *tensors: field[...] -> field[*einsum(equation, tensors)]",
        einsum.template,
        rules={"einsum": einsum.shape},
        derive=lambda bound: _one_dtype(*tensors_in(bound["tensors"])),
        cost=einsum.flops,
    ),
    Op(
        "embedding",
        FAMILY,
        "Rows of a learned table; row `padding` gets no gradient.",
        "ids: int[*], count: positive, dim: positive, padding: int = none -> [*, dim]",
        module="nn.Embedding({count}, {dim}, padding_idx={padding?})",
        state="weight: [count, dim] = embedding",
    ),
)

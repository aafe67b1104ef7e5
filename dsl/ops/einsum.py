"""Einstein notation: shapes and cost of `einsum("b i d, b j d -> b i j", q, k)`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from attnc.dsl.dims import Shape, Size
from attnc.dsl.graph import Arg, Value
from attnc.dsl.ops.bound import Bound, tensors_in
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Template
from attnc.dsl.ops.shape_rules import count


def shape(bound: Bound, equation: str, tensors: tuple[Value, ...]) -> Shape:
    """Rule: the sizes of the labels after the arrow."""
    factors, result = _parsed(equation)
    if len(factors) != len(tensors):
        raise Mismatch(
            "argument", f"the equation has {len(factors)} factors for {len(tensors)} tensors"
        )
    sizes = _sizes(factors, tensors)
    for label in result:
        if label not in sizes:
            raise Mismatch("argument", f"{label} after the arrow is in no factor")
    return tuple(sizes[label] for label in result)


def template(bound: Bound) -> Template:
    """Return `torch.einsum("bid,bjd->bij", {t0}, {t1})`."""
    tensors = tensors_in(bound["tensors"])
    holes: dict[str, Arg] = {f"t{k}": tensor for k, tensor in enumerate(tensors)}
    factors, result = _parsed(bound.text("equation"))
    equation = f"{','.join(factors)}->{result}"
    names = ", ".join(f"{{{name}}}" for name in holes)
    return Template(f'torch.einsum("{equation}", {names})', holes)


def flops(bound: Bound, results: Sequence[Value]) -> Size:
    """Cost of the products, taken from left to right.

    A product without a contraction is element-wise work and counts nothing.
    """
    factors, result = _parsed(bound.text("equation"))
    sizes = _sizes(factors, tensors_in(bound["tensors"]))
    left, rest = set(factors[0]), factors[1:]
    total: Size = 0
    for turn, factor in enumerate(rest):
        right = set(factor)
        later = set(result).union(*rest[turn + 1 :])
        contracted = {label for label in (left & right) - later if sizes[label] != 1}
        kept = (left & later) | (right & later)
        if contracted:
            total += 2 * count(sizes[label] for label in sorted(kept | contracted))
        left = kept
    return total


def _parsed(equation: str) -> tuple[list[str], str]:
    """Return the labels of every factor, and of the result."""
    compact = equation.replace(" ", "")
    if not re.fullmatch(r"[a-zA-Z]*(,[a-zA-Z]*)*->[a-zA-Z]*", compact):
        raise Mismatch(
            "argument", f'equation is like "b i d, b j d -> b i j", not "{equation}"',
            parameter="equation",
        )  # fmt: skip
    left, right = compact.split("->")
    if len(set(right)) < len(right):
        raise Mismatch("argument", "a label stands twice after the arrow", parameter="equation")
    return left.split(","), right


def _sizes(factors: Sequence[str], tensors: tuple[Value, ...]) -> Mapping[str, Size]:
    sizes: dict[str, Size] = {}
    for labels, tensor in zip(factors, tensors, strict=True):
        expected = f"[{', '.join(labels)}]"
        if len(labels) != len(tensor.shape):
            raise Mismatch(
                "rank", f"{len(tensor.shape)} axes for {len(labels)} labels",
                parameter="tensors", expected=expected, found=str(tensor.type),
            )  # fmt: skip
        for label, size in zip(labels, tensor.shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise Mismatch(
                    "shape", f"{label} is {size} here, and {sizes[label]} before",
                    parameter="tensors", found=str(tensor.type),
                    expected=f"{expected} with {label}={sizes[label]}",
                )  # fmt: skip
    return sizes

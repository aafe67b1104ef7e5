"""The dtype of a result: that of the words on the right of a signature."""

from __future__ import annotations

from attnc.dsl.graph import Arg, Value
from attnc.dsl.ops.bound import Bound, tensors_in
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.signature import DTYPES, Pattern, Signature

_ORDER = ("bool", "int", "float", "complex")


def result_dtype(word: str, signature: Signature, bound: Bound) -> str:
    """Return the dtype that a signature's word on the right stands for."""
    if word in bound:
        return bound.text(word)
    allowed = DTYPES[word]
    if len(allowed) == 1:
        return word
    dtype = _promoted(signature, bound)
    if dtype not in allowed:
        raise Mismatch(
            "dtype",
            f"the operands are {dtype}; use cast",
            expected=" or ".join(allowed),
            found=dtype,
        )
    return dtype


def _promoted(signature: Signature, bound: Bound) -> str:
    """Return what the tensors of open dtype and the operands promote to."""
    tensors = [
        value.type.dtype
        for parameter in signature.parameters
        if _is_promoted(parameter.kind, signature.patterns.get(parameter.name.lstrip("*")))
        for value in tensors_in(bound[parameter.name.lstrip("*")])
    ]
    numbers = [
        _number_dtype(bound[parameter.name])
        for parameter in signature.parameters
        if parameter.kind == "operand" and not isinstance(bound[parameter.name], Value)
    ]
    if not tensors:
        raise Mismatch("argument", "at least one operand must be a tensor")
    dtype = max(tensors, key=_ORDER.index)
    if "float" in numbers and dtype in ("bool", "int"):
        raise Mismatch(
            "dtype", f"a fraction does not go with {dtype} tensors; use cast",
            expected="float", found=dtype,
        )  # fmt: skip
    return max([dtype, *numbers], key=_ORDER.index)


def _is_promoted(kind: str, pattern: Pattern | None) -> bool:
    return kind == "operand" or (pattern is not None and len(DTYPES[pattern.dtype]) > 1)


def _number_dtype(value: Arg) -> str:
    if isinstance(value, bool):
        return "bool"
    return "float" if isinstance(value, float) else "int"

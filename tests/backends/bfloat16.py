"""bfloat16 in Triton's interpreter, which holds it as its bits and counts with them.

Products get operands in float32, and rounding goes to the nearest, as on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

Bits = npt.NDArray[Any]


def widened(bits: Bits) -> Bits:
    """Return the numbers that bits stand for, as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def rounded(numbers: Bits) -> Bits:
    """Return the bits of the nearest bfloat16, of two as near the even one."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(numbers), 0x7FC0, nearest).astype(np.uint16)


def patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the interpreter compute with bfloat16."""
    dot, cast = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl

    def wide(handle: Any) -> Any:
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return TensorHandle(widened(handle.data), tl.float32)

    def create_dot(self: Any, a: Any, b: Any, *others: Any) -> Any:
        return dot(self, wide(a), wide(b), *others)

    def cast_impl(self: Any, src: Any, dst_type: Any) -> Any:
        if (src.dtype.scalar, dst_type.scalar) == (tl.float32, tl.bfloat16):
            return TensorHandle(rounded(src.data), tl.bfloat16)
        return cast(self, src, dst_type)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)
    for name in ("cast_impl", "create_fp_ext", "create_fp_trunc"):
        monkeypatch.setattr(InterpreterBuilder, name, cast_impl)

"""The operator table: one row for each plain operator, grouped by family.

A new operator is one row in the `ROWS` of its family; a new family is one module named here.
"""

from __future__ import annotations

from collections.abc import Mapping

from attnc.dsl.ops import (
    activations,
    arithmetic,
    convolution,
    creation,
    fourier,
    indexing,
    joining,
    layout,
    linear_algebra,
    losses,
    norms,
    padding,
    pooling,
    rearrange,
    reductions,
    slicing,
)
from attnc.dsl.ops.row import Op

_FAMILIES = (
    linear_algebra,
    convolution,
    norms,
    activations,
    pooling,
    rearrange,
    layout,
    joining,
    padding,
    slicing,
    indexing,
    reductions,
    arithmetic,
    creation,
    losses,
    fourier,
)

TABLE: Mapping[str, Op] = {row.name: row for family in _FAMILIES for row in family.ROWS}
"""All plain operators by name."""

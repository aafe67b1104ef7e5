"""Epilogue: what stands around an attention moves into it, or is marked as able to.

A number that scales q or k becomes part of the score; copies of q, k and v into another memory
order go, as kernels take any strides. Element-wise work that only feeds an attention, or only
reads its result, stays where it is and is marked with the bytes that fusing it would save.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from typing import cast

import torch
import torch.nn.functional as F
from torch import fx, nn

from attnc.compiler.cost import type_bytes
from attnc.compiler.instances import container
from attnc.compiler.kernel import Site, Target
from attnc.compiler.leaf import Attend
from attnc.compiler.passes.rewrite import distinct, replace_node, rewritten
from attnc.compiler.passes.shapes import origin, type_of
from attnc.compiler.targets import float_bytes
from attnc.dsl import scorelang
from attnc.dsl.attention import Constant, Dot, ScoreTree, Source
from attnc.dsl.dims import Size


@dataclass(frozen=True, slots=True)
class Fusible:
    """Element-wise work beside an attention.

    Attributes:
        operand: `q`, `k0`, `v0` ... for what feeds it, `out` for what reads its result.
        names: what the spec calls the results, in order of execution.
        bytes: memory traffic that fusing would save: one write and one read of the operand.
    """

    operand: str
    names: tuple[str, ...]
    bytes: Size

"""Calls of scaled_dot_product_attention, with the mask that stands for domain, mask and bias."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from operator import mul

from attnc.backends.formula import formula
from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import ScoreWriter
from attnc.compiler.kernel import Site, Target
from attnc.dsl.attention import Constant, ScoreTree
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import (
    COORDINATES,
    LinearBand,
    allowed,
    classify,
    coordinates,
    every_row_has_key,
    make,
    scaled_product,
)

CAUSAL = LinearBand(None, Constant(0))
"""What `is_causal` means, also where there are more keys than queries or fewer."""


@dataclass(frozen=True, slots=True)
class Mask:
    """What is passed as `attn_mask`.

    Attributes:
        condition: which pairs are allowed; none for all.
        bias: added to the scores, or none.
        shape: of the tensor built, without leading axes of length 1.
        can_have_empty_rows: whether a query may be left without any key.
    """

    condition: ScoreTree | None
    bias: ScoreTree | None
    shape: tuple[Size, ...]
    can_have_empty_rows: bool

    @property
    def kind(self) -> str:
        """`bias` where numbers are added, `mask` where it only allows and forbids."""
        return "mask" if self.bias is None else "bias"

    @property
    def bytes(self) -> Size:
        """Its memory, with numbers in float32."""
        elements = reduce(mul, self.shape, 1)
        return elements if self.bias is None else 4 * elements


def mask(site: Site) -> Mask | None:
    """Return the mask that the only source of a site needs; none where a flag says it all."""
    (source,), ((k, _),) = site.attention.sources, site.sources
    score, condition = scaled_product(source.score), allowed(source)
    bias = None if score is None else score.bias
    if bias is None and (condition is None or classify(condition) == CAUSAL):
        return None
    extents = (*site.q.shape[:3], k.shape[2])
    trees = [tree for tree in (bias, condition) if tree is not None]
    used = frozenset[str]().union(*(coordinates(tree) for tree in trees))
    shape = tuple(extent for name, extent in zip(COORDINATES, extents, strict=True) if name in used)
    sure = every_row_has_key(source, site.q.shape[2], k.shape[2])
    return Mask(condition, bias, shape, not sure)


def call(site: Site) -> str:
    """Return the call of a site without a mask, with holes `{q} {k0} {v0}`."""
    flags = ["{q}", "{k0}", "{v0}"]
    if allowed(site.attention.sources[0]) is not None:
        flags.append("is_causal=True")
    return f"F.scaled_dot_product_attention({', '.join(flags + _options(site))})"


def function(site: Site, target: Target) -> str:
    """Return the source of `site.name(q, k, v, *tensors)` for a site with a mask."""
    built = mask(site)
    if built is None:
        raise ValueError(f"{site.name} needs no function; see `call`")
    made = TorchFunction(site)
    _write_mask(made, built)
    if built.can_have_empty_rows:
        _open_empty_rows(made, built)
    if built.bias is not None and target.kind != "cpu":
        made.line("mask = mask.to(q.dtype)")  # fused kernels there take no other dtype
    arguments = ["q", "k", "v", "attn_mask=mask", *_options(site)]
    result = made.call("F.scaled_dot_product_attention", arguments, ahead="return ")
    if built.can_have_empty_rows:
        made.line(f"out = {result}")
        result = "out.masked_fill(empty, 0.0)"
    return made.source(formula(site.attention), result)


def _write_mask(made: TorchFunction, built: Mask) -> None:
    """Bind `mask`, which has two axes at least."""
    writer = ScoreWriter(made, 0)
    if built.bias is not None:
        made.line(f"mask = {writer.floating(built.bias)}")
        if built.condition is not None:
            blocked = writer.condition(make("not", built.condition))
            made.line(f"blocked = {blocked}")
            made.line("mask = mask.masked_fill(blocked, -torch.inf)")
    elif built.condition is not None:
        made.line(f"mask = {writer.condition(built.condition)}")
    trees = [tree for tree in (built.bias, built.condition) if tree is not None]
    if not any(coordinates(tree) & {"b", "h", "i"} for tree in trees):
        made.line("mask = mask.expand(q.shape[2], k.shape[2])")


def _open_empty_rows(made: TorchFunction, built: Mask) -> None:
    """Let rows without a key see all keys, since softmax over nothing may be NaN."""
    if built.bias is None:
        made.line("empty = ~mask.any(-1, keepdim=True)")
        made.line("mask = mask | empty")
    else:
        made.line("empty = mask.isneginf().all(-1, keepdim=True)")
        made.line("mask = mask.masked_fill(empty, 0.0)")


def _options(site: Site) -> list[str]:
    """Return the arguments that differ from their defaults."""
    options = []
    if site.q.shape[1] != site.sources[0][0].shape[1]:
        options.append("enable_gqa=True")
    score, width = scaled_product(site.attention.sources[0].score), site.q.shape[3]
    defaults = (width**-0.5, 1 / math.sqrt(width)) if isinstance(width, int) else ()
    if score is not None and score.scale not in defaults:
        options.append(f"scale={score.scale!r}")
    return options

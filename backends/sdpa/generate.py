"""Calls of scaled_dot_product_attention, with the mask that stands for domain, mask and bias."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from operator import mul

from attnc.backends.formula import formula
from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import LONGEST, ScoreWriter
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
    fill,
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
    _write_mask(made, built, target)
    arguments = ["q", "k", "v", "attn_mask=mask", *_options(site)]
    result = made.call("F.scaled_dot_product_attention", arguments, ahead="return ")
    if built.can_have_empty_rows:
        made.line(f"out = {result}")
        result = "out.masked_fill(empty, 0.0)"
    return made.source(formula(site.attention), result)


def _write_mask(made: TorchFunction, built: Mask, target: Target) -> None:
    """Bind `mask`, which must have two axes at least, and `empty` where rows may be."""
    writer = ScoreWriter(made, 0, selects=target.kind == "cpu")
    written = _masked_bias(made, writer, built) if built.bias else ""
    if built.bias is None and built.condition is not None:
        written = writer.condition(built.condition)
    trees = [tree for tree in (built.bias, built.condition) if tree is not None]
    if not any(coordinates(tree) & {"b", "h", "i"} for tree in trees):
        written = _then(made, written, ".expand(q.shape[2], k.shape[2])")
    if built.can_have_empty_rows:
        made.line(f"mask = {written}")
        written = _opened(made, built)
    if built.bias is not None and target.kind != "cpu":
        # fused kernels there take no mask of another dtype
        written = _then(made, written, ".to(q.dtype)")
    made.line(f"mask = {written}")


def _masked_bias(made: TorchFunction, writer: ScoreWriter, built: Mask) -> str:
    assert built.bias is not None
    written = writer.floating(built.bias)
    if built.condition is None:
        return written
    blocked = writer.condition(make("not", built.condition))
    if len(blocked) > LONGEST // 2:
        blocked = made.bind("blocked", blocked)
    return _then(made, written, f".masked_fill({blocked}, -torch.inf)")


def _opened(made: TorchFunction, built: Mask) -> str:
    """Let queries without a key see all keys, since a softmax over nothing may be NaN."""
    if built.bias is None:
        made.line("empty = ~mask.any(-1, keepdim=True)  # queries without a key")
        return "mask | empty"
    made.line("empty = mask.isneginf().all(-1, keepdim=True)  # queries without a key")
    return "mask.masked_fill(empty, 0.0)"


def _then(made: TorchFunction, written: str, call: str) -> str:
    """Append a method call, on a line of its own where it gets too long."""
    longer = fill("{a}.x", written).removesuffix(".x") + call
    if len(longer) <= LONGEST:
        return longer
    made.line(f"mask = {written}")
    return f"mask{call}"


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

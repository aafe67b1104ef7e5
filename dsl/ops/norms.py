"""Normalisation. Every eps is explicit, with torch's default."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attnc.dsl.graph import Arg
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op, Template
from attnc.dsl.ops.shape_rules import position, same_axis

FAMILY = "norm"
_AFFINE = "weight: [c] = ones, bias: [c] = zeros"


def _normed_axis(bound: Bound) -> Mapping[str, Arg]:
    """Name the width `d` of the axis, and where it is moved for the sub-module."""
    shape = bound.shape("s")
    if bound.get("bias") and not bound["weight"]:
        raise Mismatch(
            "argument", "a bias without a weight is not offered; add bias = false", parameter="bias"
        )
    return {"d": shape[position(bound.integer("axis"), len(shape))]}


def _along_axis(bound: Bound) -> Template | None:
    """Return the call where the axis is not the last, which torch's modules take."""
    rank = len(bound.shape("s"))
    axis = position(bound.integer("axis"), rank)
    if axis == rank - 1:
        return None
    return Template(f"{{module}}({{x}}.movedim({axis}, -1)).movedim(-1, {axis})", {})


def _affine(bound: Bound) -> Mapping[str, Arg]:
    if bound["weight"] != bound["bias"]:
        raise Mismatch("argument", "weight and bias go together: both true or both false")
    return {}


def _affine_groups(bound: Bound) -> Mapping[str, Arg]:
    groups, channels = bound.integer("groups"), bound["c"]
    if isinstance(channels, int) and channels % groups:
        raise Mismatch("argument", f"{groups} groups do not divide {channels} channels")
    return _affine(bound)


def _affine_spatial(fewest: int) -> Callable[[Bound], Mapping[str, Arg]]:
    """Return a check that there are from `fewest` to three spatial axes."""

    def check(bound: Bound) -> Mapping[str, Arg]:
        if not fewest <= len(bound.shape("s")) <= 3:
            raise Mismatch(
                "rank", f"{fewest} to 3 axes after the channels are needed",
                parameter="x", expected="[b, c, *s]", found=str(bound.value("x").type),
            )  # fmt: skip
        return _affine(bound)

    return check


def _by_rank(text: str) -> Callable[[Bound], Template]:
    """Return the text with `#` replaced by the number of spatial axes, 1 where there is none."""
    return lambda bound: Template(text.replace("#", str(max(1, len(bound.shape("s"))))), {})


ROWS = (
    Op(
        "layer_norm",
        FAMILY,
        "(x - mean) / sqrt(variance + eps) over one axis, then weight and bias.",
        "x: [*s], eps: float = 1e-5, weight: flag = true, bias: flag = true, axis: int = -1 "
        "-> [*s]",
        _along_axis,
        module="nn.LayerNorm({d}, eps={eps?}, elementwise_affine={weight?}, bias={bias?})",
        state="weight: [d] = ones, bias: [d] = zeros",
        derive=_normed_axis,
    ),
    Op(
        "rms_norm",
        FAMILY,
        "x / sqrt(mean(x^2) + eps) over one axis, then weight; without eps that of the dtype.",
        "x: [*s], eps: float = none, weight: flag = true, axis: int = -1 -> [*s]",
        _along_axis,
        module="nn.RMSNorm({d}, eps={eps?}, elementwise_affine={weight?})",
        state="weight: [d] = ones",
        derive=_normed_axis,
    ),
    Op(
        "batch_norm",
        FAMILY,
        "Normalisation of every channel over batch and space; by running statistics in evaluation.",
        "x: [b, c, *s], eps: float = 1e-5, momentum: float = 0.1, weight: flag = true, "
        "bias: flag = true -> [b, c, *s]",
        module=_by_rank("nn.BatchNorm#d({c}, eps={eps?}, momentum={momentum?}, affine={weight?})"),
        state=_AFFINE,
        buffers="running_mean: [c] = zeros, running_var: [c] = ones, "
        "num_batches_tracked: int[()] = zeros",
        derive=_affine_spatial(0),
    ),
    Op(
        "group_norm",
        FAMILY,
        "Normalisation over space and the channels of a group.",
        "x: [b, c, *s], groups: positive, eps: float = 1e-5, weight: flag = true, "
        "bias: flag = true -> [b, c, *s]",
        module="nn.GroupNorm({groups}, {c}, eps={eps?}, affine={weight?})",
        state=_AFFINE,
        derive=_affine_groups,
    ),
    Op(
        "instance_norm",
        FAMILY,
        "Normalisation of every channel over space.",
        "x: [b, c, *s], eps: float = 1e-5, weight: flag = false, bias: flag = false -> [b, c, *s]",
        module=_by_rank("nn.InstanceNorm#d({c}, eps={eps?}, affine={weight?})"),
        state=_AFFINE,
        derive=_affine_spatial(1),
    ),
    Op(
        "l2_normalize",
        FAMILY,
        "x / max(|x|, eps) over one axis.",
        "x: [*s], axis: int = -1, eps: float = 1e-12 -> [*s]",
        "F.normalize({x}, dim={axis}, eps={eps?})",
        derive=same_axis,
    ),
)

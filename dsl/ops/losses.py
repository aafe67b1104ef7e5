"""Losses and similarities."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.dsl.dims import Shape
from attnc.dsl.graph import Arg, TensorType
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op
from attnc.dsl.ops.shape_rules import broadcast, position, replaced

FAMILY = "loss"
_REDUCTION = "reduction: 'mean' | 'sum' | 'none' = 'mean'"


def _scored(bound: Bound, shape: Shape) -> Shape:
    """Rule: no axes, or those of the elements where nothing is reduced."""
    return shape if bound["reduction"] == "none" else ()


def _check_target(bound: Bound) -> Mapping[str, Arg]:
    """Classes (int) lack the axis of the scores; probabilities have it."""
    x, target = bound.value("x"), bound.value("target")
    kinds = {"int": replaced(x.shape, 1), "float": x.shape}
    expected = kinds.get(target.type.dtype)
    if target.shape != expected:
        wanted = f"{TensorType(kinds['int'], 'int')} or {TensorType(x.shape)}"
        raise Mismatch(
            "shape" if expected else "dtype", "a class for every place, or a share of every class",
            parameter="target", expected=wanted, found=str(target.type),
        )  # fmt: skip
    if target.type.dtype == "float" and bound["ignore"] != -100:
        raise Mismatch("argument", "ignore goes with classes, not with shares", parameter="ignore")
    return {"places": kinds["int"]}


def _compared(bound: Bound, a: Shape, b: Shape, axis: int) -> Shape:
    """Rule: both broadcast, without the axis."""
    shape = broadcast(bound, a, b)
    return replaced(shape, position(axis, len(shape)))


ROWS = (
    Op(
        "cross_entropy",
        FAMILY,
        "-log softmax(x) at the target class; x holds the scores of all classes along axis 1.",
        f"x: [b, c, *s], target: any[...], weight: [c] = none, ignore: int = -100, {_REDUCTION}, "
        "smoothing: float = 0.0 -> [*scored(places)]",
        "F.cross_entropy({x}, {target}, weight={weight?}, ignore_index={ignore?}, "
        "reduction={reduction?}, label_smoothing={smoothing?})",
        rules={"scored": _scored},
        derive=_check_target,
    ),
    Op(
        "mse_loss",
        FAMILY,
        "(x - target)^2.",
        f"x: [*s], target: [*s], {_REDUCTION} -> [*scored(s)]",
        "F.mse_loss({x}, {target}, reduction={reduction?})",
        rules={"scored": _scored},
    ),
    Op(
        "l1_loss",
        FAMILY,
        "|x - target|.",
        f"x: [*s], target: [*s], {_REDUCTION} -> [*scored(s)]",
        "F.l1_loss({x}, {target}, reduction={reduction?})",
        rules={"scored": _scored},
    ),
    Op(
        "bce_with_logits",
        FAMILY,
        "Binary cross-entropy of sigmoid(x); the target may lie between 0 and 1.",
        f"x: [*s], target: [*s], weight: [*s] = none, pos_weight: [*s] = none, {_REDUCTION} "
        "-> [*scored(s)]",
        "F.binary_cross_entropy_with_logits({x}, {target}, weight={weight?}, "
        "reduction={reduction?}, pos_weight={pos_weight?})",
        rules={"scored": _scored},
    ),
    Op(
        "kl_div",
        FAMILY,
        "target * (log(target) - x): x holds log-probabilities.",
        "x: [*s], target: [*s], reduction: 'mean' | 'batchmean' | 'sum' | 'none' = 'mean', "
        "log_target: flag = false -> [*scored(s)]",
        "F.kl_div({x}, {target}, reduction={reduction}, log_target={log_target?})",
        rules={"scored": _scored},
    ),
    Op(
        "cosine_similarity",
        FAMILY,
        "a . b / (|a| |b|) along the axis, each norm at least eps.",
        "a: [*p], b: [*q], axis: int = -1, eps: float = 1e-8 -> [*compared(p, q, axis)]",
        "F.cosine_similarity({a}, {b}, dim={axis}, eps={eps?})",
        rules={"compared": _compared},
    ),
)

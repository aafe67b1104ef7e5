"""Functions of one element, and of one axis: activations, softmax, dropout."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.dsl.graph import Arg
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op
from attnc.dsl.ops.shape_rules import same_axis

FAMILY = "activation"


def _function(name: str, call: str, doc: str, dtype: str = "float", parameters: str = "") -> Op:
    """Return a row for an element-wise function that keeps shape and dtype."""
    return Op(name, FAMILY, doc, f"x: {dtype}[*s]{parameters} -> {dtype}[*s]", call)


def _clamp_bounds(bound: Bound) -> Mapping[str, Arg]:
    low, high = bound["min"], bound["max"]
    if low is None and high is None:
        raise Mismatch("argument", "min or max is needed")
    if bound.value("x").type.dtype == "int" and isinstance(low or high, float):
        raise Mismatch(
            "dtype",
            "a fraction does not bound int tensors; use cast",
            expected="float",
            found="int",
        )
    return {}


ROWS = (
    _function("identity", "{x}", "x.", "any"),
    _function("gelu", "F.gelu({x})", "x * Phi(x), exactly: by the error function."),
    _function(
        "gelu_tanh", 'F.gelu({x}, approximate="tanh")', "The tanh approximation of x * Phi(x)."
    ),
    _function("quick_gelu", "{x} * torch.sigmoid(1.702 * {x})", "x * sigmoid(1.702 x)."),
    _function("relu", "F.relu({x})", "max(x, 0).", "real"),
    _function(
        "leaky_relu",
        "F.leaky_relu({x}, negative_slope={slope?})",
        "x above 0, slope * x below.",
        parameters=", slope: float = 0.01",
    ),
    _function(
        "elu",
        "F.elu({x}, alpha={alpha?})",
        "x above 0, alpha * (exp(x) - 1) below.",
        parameters=", alpha: float = 1.0",
    ),
    _function("silu", "F.silu({x})", "x * sigmoid(x); also called swish."),
    _function("sigmoid", "torch.sigmoid({x})", "1 / (1 + exp(-x))."),
    _function("tanh", "torch.tanh({x})", "The hyperbolic tangent."),
    _function(
        "softplus",
        "F.softplus({x}, beta={beta?}, threshold={threshold?})",
        "log(1 + exp(x)), smoothly above 0.",
        parameters=", beta: float = 1.0, threshold: float = 20.0",
    ),
    _function("exp", "torch.exp({x})", "e ** x.", "field"),
    _function("log", "torch.log({x})", "The natural logarithm.", "field"),
    _function("log2", "torch.log2({x})", "The logarithm to base 2.", "field"),
    _function("sqrt", "torch.sqrt({x})", "The square root.", "field"),
    _function("abs", "{x}.abs()", "The magnitude.", "real"),
    _function("sign", "torch.sign({x})", "-1, 0 or 1.", "real"),
    _function("floor", "torch.floor({x})", "The next whole number below."),
    _function("sin", "torch.sin({x})", "The sine.", "field"),
    _function("cos", "torch.cos({x})", "The cosine.", "field"),
    Op(
        "clamp",
        FAMILY,
        "min(max(x, lower bound), upper bound); either bound may be left out.",
        "x: real[*s], min: float = none, max: float = none -> real[*s]",
        "torch.clamp({x}, min={min?}, max={max?})",
        derive=_clamp_bounds,
    ),
    Op(
        "softmax",
        FAMILY,
        "exp(x) over its sum along one axis.",
        "x: [*s], axis: int = -1 -> [*s]",
        "F.softmax({x}, dim={axis})",
        derive=same_axis,
    ),
    Op(
        "log_softmax",
        FAMILY,
        "The logarithm of softmax along one axis.",
        "x: [*s], axis: int = -1 -> [*s]",
        "F.log_softmax({x}, dim={axis})",
        derive=same_axis,
    ),
    Op(
        "dropout",
        FAMILY,
        "In training mode, zero with probability p and x / (1 - p) else.",
        "x: [*s], p: float = 0.5 -> [*s]",
        module="nn.Dropout({p})",
    ),
)

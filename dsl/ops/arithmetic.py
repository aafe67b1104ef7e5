"""Arithmetic, comparison and logic of tensors that broadcast, and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import starmap

from attnc.dsl.graph import Arg, Value
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op
from attnc.dsl.ops.shape_rules import broadcast

FAMILY = "arithmetic"
_RULES = {"broadcast": broadcast}


def _arithmetic(name: str, call: str, doc: str, dtype: str = "number") -> Op:
    signature = f"a: operand, b: operand -> {dtype}[*broadcast(a, b)]"
    return Op(name, FAMILY, doc, signature, call, rules=_RULES)


def _division(name: str, call: str, doc: str) -> Op:
    signature = "a: operand, b: operand -> real[*broadcast(a, b)]"
    return Op(name, FAMILY, doc, signature, call, rules=_RULES, derive=_check_divisor)


def _check_divisor(bound: Bound) -> Mapping[str, Arg]:
    if not isinstance(bound["b"], Value) and bound["b"] == 0:
        raise Mismatch("argument", "the divisor is 0")
    return {}


def _comparison(name: str, call: str, doc: str) -> Op:
    signature = "a: operand, b: operand -> bool[*broadcast(a, b)]"
    return Op(name, FAMILY, doc, signature, call, rules=_RULES, derive=_check_operands)


def _logic(name: str, call: str, doc: str) -> Op:
    signature = "a: bool[*p], b: bool[*q] -> bool[*broadcast(p, q)]"
    return Op(name, FAMILY, doc, signature, call, rules=_RULES)


def _extreme(name: str, doc: str) -> Op:
    signature = "a: real[*p], b: real[*q] -> real[*broadcast(p, q)]"
    return Op(name, FAMILY, doc, signature, f"torch.{name}({{a}}, {{b}})", rules=_RULES)


def _check_operands(bound: Bound) -> Mapping[str, Arg]:
    if not any(isinstance(bound[name], Value) for name in "ab"):
        raise Mismatch("argument", "at least one operand must be a tensor")
    return {}


ROWS = (
    *starmap(
        _arithmetic,
        (
            ("add", "{a} + {b}", "a + b."),
            ("subtract", "{a} - {b}", "a - b."),
            ("multiply", "{a} * {b}", "a * b."),
            ("divide", "{a} / {b}", "a / b; of int tensors only after a cast.", "field"),
            ("power", "{a} ** {b}", "a to the power of b."),
        ),
    ),
    _division("floor_divide", "{a} // {b}", "a / b, rounded down."),
    _division("remainder", "{a} % {b}", "a - b * (a // b), of b's sign."),
    Op("negative", FAMILY, "-x.", "x: number[*s] -> number[*s]", "-{x}"),
    *starmap(
        _comparison,
        (
            ("equal", "{a} == {b}", "Whether a is b."),
            ("not_equal", "{a} != {b}", "Whether a is not b."),
            ("less", "{a} < {b}", "Whether a is below b."),
            ("less_equal", "{a} <= {b}", "Whether a is at most b."),
            ("greater", "{a} > {b}", "Whether a is above b."),
            ("greater_equal", "{a} >= {b}", "Whether a is at least b."),
        ),
    ),
    _logic("logical_and", "{a} & {b}", "Whether both hold."),
    _logic("logical_or", "{a} | {b}", "Whether one holds or both."),
    Op("logical_not", FAMILY, "Whether x does not hold.", "x: bool[*s] -> bool[*s]", "~{x}"),
    _extreme("maximum", "The larger one of a and b."),
    _extreme("minimum", "The smaller one of a and b."),
)

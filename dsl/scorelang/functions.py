"""The functions of the score language: one row each; types, printers and derivatives follow.

Texts of a row are Python expressions with the arguments as holes `{a}`, `{b}`, `{c}`; fill them
with `printing.fill`, which puts parentheses where they are needed.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from attnc.dsl import arithmetic

HOLES = "abc"


@dataclass(frozen=True, slots=True)
class Function:
    """One function.

    Attributes:
        name: as it is called in a spec, or the name of the operation behind an operator.
        arguments: one kind each: `bool`, `int`, `float` (takes an int too), `number` (int or
            float; a float among them makes all of them float) or `any`.
        result: `bool`, `int`, `float`, or `number`: what its number arguments are.
        value: computes it at compile time; int arguments may be symbolic sizes.
        derivative: a score expression of the arguments `a b c` and their derivatives
            `da db dc`. Where the function is not smooth it follows torch's autograd.
        surface: how the score language writes it.
        torch: text over tensors; operators take numbers as well, in other texts the first hole
            must be a tensor. `float` is left to the printer, who knows the working precision.
        triton: text over Triton values; floats are float32.
        finite: false where a finite argument may have no finite value: `log(0)`, `exp(1000)`.
        triton_definition: source of the `@triton.jit` function that `triton` calls, if any.
    """

    name: str
    arguments: tuple[str, ...]
    result: str
    value: Callable[..., object]
    derivative: str
    surface: str
    torch: str
    triton: str
    finite: bool = True
    triton_definition: str = ""

    @property
    def shown(self) -> str:
        """How messages call it: `+`, `not`, `exp`."""
        called = self.surface.startswith(f"{self.name}(")
        return self.name if called else re.sub(r"{\w}", "", self.surface).strip()


def _function(
    signature: str,
    value: Callable[..., object],
    *,
    torch: str,
    triton: str,
    derivative: str = "0",
    finite: bool = True,
    triton_definition: str = "",
) -> Function:
    """Make a row from `name: argument kinds -> result`, called by its name in specs."""
    name, kinds = signature.split(": ")
    arguments, result = kinds.split(" -> ")
    holes = ", ".join(f"{{{hole}}}" for hole in HOLES[: len(arguments.split())])
    return Function(
        name, tuple(arguments.split()), result, value, derivative, f"{name}({holes})",
        torch, triton, finite, triton_definition,
    )  # fmt: skip


def _infix(signature: str, symbol: str, derivative: str = "0", *, finite: bool = True) -> Function:
    """Make a row for an operator that all three languages write alike."""
    name, kinds = signature.split(": ")
    arguments, result = kinds.split(" -> ")
    text = f"{{a}} {symbol} {{b}}"
    value = partial(arithmetic.binary, symbol)
    return Function(
        name, tuple(arguments.split()), result, value, derivative, text, text, text, finite
    )  # fmt: skip


def _logical(name: str, surface: str, text: str, value: Callable[..., object]) -> Function:
    """Make a row for `and`, `or`, `not`, which tensors write as `& | ~`."""
    kinds = ("bool",) * (2 if "{b}" in text else 1)
    return Function(name, kinds, "bool", value, "0", surface, text, text)


def _sign(a: float) -> float:
    return type(a)((a > 0) - (a < 0))


def _sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a)) if a >= 0 else math.exp(a) / (1 + math.exp(a))


def _softplus(a: float) -> float:
    return max(a, 0.0) + math.log1p(math.exp(-abs(a)))


_FLOOR_DIVIDE = '''
@triton.jit
def floor_divide(a, b):
    """Divide integers rounding down; Triton's own division rounds towards zero."""
    return tl.where((a % b != 0) & ((a < 0) != (b < 0)), a // b - 1, a // b)
'''
_MODULO = '''
@triton.jit
def modulo(a, b):
    """The remainder of rounding down; it has the sign of `b`."""
    return tl.where((a % b != 0) & ((a < 0) != (b < 0)), a % b + b, a % b)
'''
_POWER = '''
@triton.jit
def power(a, b):
    """a ** b; a negative base takes whole exponents only."""
    size = tl.where(a == 0.0, tl.where(b == 0.0, 1.0, 0.0), tl.exp2(b * tl.log2(tl.abs(a))))
    odd = b - 2.0 * tl.floor(b / 2.0) == 1.0
    negative = tl.where(b == tl.floor(b), tl.where(odd, -size, size), float("nan"))
    return tl.where(a < 0.0, negative, size)
'''
_SQUARE = '''
@triton.jit
def square(a):
    """a * a."""
    return a * a
'''
_SIGN = '''
@triton.jit
def sign(a):
    """-1, 0 or 1, of the type of `a`."""
    return tl.where(a > 0, a * 0 + 1, tl.where(a < 0, a * 0 - 1, a * 0))
'''
_TANH = '''
@triton.jit
def tanh(a):
    """tanh to float32 accuracy: its series near 0, where the quotient would cancel."""
    s = a * a
    near = a + a * s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835))))
    e = tl.exp(-2.0 * tl.abs(a))
    far = (1.0 - e) / (1.0 + e)
    return tl.where(s < 0.04, near, tl.where(a < 0.0, -far, far))
'''
_SOFTPLUS = '''
@triton.jit
def softplus(a):
    """log(1 + exp(a)) without overflow."""
    return tl.maximum(a, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(a)))
'''

_ROWS = (
    _infix("add: number number -> number", "+", "da + db"),
    _infix("sub: number number -> number", "-", "da - db"),
    _infix("mul: number number -> number", "*", "da * b + a * db"),
    _infix("div: float float -> float", "/", "da / b - a * db / square(b)", finite=False),
    Function(
        "floordiv", ("int", "int"), "int", partial(arithmetic.binary, "//"), "0",
        "{a} // {b}", "{a} // {b}", "floor_divide({a}, {b})", True, _FLOOR_DIVIDE,
    ),
    Function(
        "mod", ("int", "int"), "int", partial(arithmetic.binary, "%"), "0",
        "{a} % {b}", "{a} % {b}", "modulo({a}, {b})", True, _MODULO,
    ),
    Function(
        "pow", ("float", "float"), "float", partial(arithmetic.binary, "**"),
        "b * a ** (b - 1) * da + a ** b * log(a) * db",
        "{a} ** {b}", "{a}.pow({b})", "power({a}, {b})", False, _POWER,
    ),
    Function(
        "square", ("number",), "number", lambda a: a * a, "2 * a * da",
        "{a} ** 2", "{a}.square()", "square({a})", True, _SQUARE,
    ),
    Function("neg", ("number",), "number", operator.neg, "-da", "-{a}", "-{a}", "-{a}"),
    _infix("eq: number number -> bool", "=="),
    _infix("ne: number number -> bool", "!="),
    _infix("lt: number number -> bool", "<"),
    _infix("le: number number -> bool", "<="),
    _infix("gt: number number -> bool", ">"),
    _infix("ge: number number -> bool", ">="),
    _logical("and", "{a} and {b}", "{a} & {b}", operator.and_),
    _logical("or", "{a} or {b}", "{a} | {b}", operator.or_),
    _logical("not", "not {a}", "~{a}", operator.not_),
    _function(
        "exp: float -> float", math.exp, torch="{a}.exp()", triton="tl.exp({a})",
        finite=False, derivative="exp(a) * da",
    ),
    _function(
        "exp2: float -> float", math.exp2, torch="{a}.exp2()", triton="tl.exp2({a})",
        finite=False, derivative=f"{math.log(2)} * exp2(a) * da",
    ),
    _function(
        "log: float -> float", math.log, torch="{a}.log()", triton="tl.log({a})",
        finite=False, derivative="da / a",
    ),
    _function(
        "log2: float -> float", math.log2, torch="{a}.log2()", triton="tl.log2({a})",
        finite=False, derivative=f"da / ({math.log(2)} * a)",
    ),
    _function(
        "sqrt: float -> float", math.sqrt, torch="{a}.sqrt()", triton="tl.sqrt({a})",
        finite=False, derivative="da / (2 * sqrt(a))",
    ),
    _function(
        "rsqrt: float -> float", lambda a: 1 / math.sqrt(a),
        torch="{a}.rsqrt()", triton="tl.rsqrt({a})", finite=False,
        derivative="-0.5 * rsqrt(a) / a * da",
    ),
    _function(
        "sin: float -> float", math.sin, torch="{a}.sin()", triton="tl.sin({a})",
        derivative="cos(a) * da",
    ),
    _function(
        "cos: float -> float", math.cos, torch="{a}.cos()", triton="tl.cos({a})",
        derivative="-(sin(a) * da)",
    ),
    _function(
        "tanh: float -> float", math.tanh, torch="{a}.tanh()", triton="tanh({a})",
        derivative="(1 - square(tanh(a))) * da", triton_definition=_TANH,
    ),
    _function(
        "sigmoid: float -> float", _sigmoid, torch="{a}.sigmoid()", triton="tl.sigmoid({a})",
        derivative="sigmoid(a) * sigmoid(-a) * da",
    ),
    _function(
        "softplus: float -> float", _softplus, triton="softplus({a})",
        # torch's own softplus is cut off at 20 and thus inexact in float64
        torch="-torch.nn.functional.logsigmoid(-{a})",
        derivative="sigmoid(a) * da", triton_definition=_SOFTPLUS,
    ),
    _function(
        "erf: float -> float", math.erf, torch="{a}.erf()", triton="tl.erf({a})",
        derivative=f"{2 / math.sqrt(math.pi)} * exp(-square(a)) * da",
    ),
    _function(
        "relu: number -> number", lambda a: max(a, type(a)(0)),
        torch="{a}.relu()", triton="tl.maximum({a}, 0)", derivative="where(a > 0, da, 0)",
    ),
    _function(
        "abs: number -> number", abs, torch="{a}.abs()", triton="tl.abs({a})",
        derivative="sign(a) * da",
    ),
    _function(
        "sign: number -> number", _sign, torch="{a}.sign()", triton="sign({a})",
        triton_definition=_SIGN,
    ),
    _function(
        "floor: float -> int", math.floor, torch="{a}.floor().long()",
        triton="tl.floor({a}).to(tl.int32)",
    ),
    _function(
        "ceil: float -> int", math.ceil, torch="{a}.ceil().long()",
        triton="tl.ceil({a}).to(tl.int32)",
    ),
    _function(
        "min: number number -> number", arithmetic.FUNCTIONS["min"],
        torch="{a}.clamp(max={b})", triton="tl.minimum({a}, {b})",
        derivative="where(a <= b, da, db)",
    ),
    _function(
        "max: number number -> number", arithmetic.FUNCTIONS["max"],
        torch="{a}.clamp(min={b})", triton="tl.maximum({a}, {b})",
        derivative="where(a >= b, da, db)",
    ),
    _function(
        "where: bool number number -> number", lambda a, b, c: b if a else c,
        torch="torch.where({a}, {b}, {c})", triton="tl.where({a}, {b}, {c})",
        derivative="where(a, db, dc)",
    ),
    _function(
        "float: any -> float", float, torch="{a}", triton="tl.cast({a}, tl.float32)",
    ),
)  # fmt: skip

FUNCTIONS: Mapping[str, Function] = {row.name: row for row in _ROWS}
"""Every function by name. To add one, add a row: printers and derivatives follow."""

_NAMES = {row.surface: row.name for row in _ROWS}


def binary(symbol: str) -> str:
    """Return the name of the function behind a binary operator such as `<=`."""
    return _NAMES[f"{{a}} {symbol} {{b}}"]


CALLABLE = frozenset(row.name for row in _ROWS if row.surface.startswith(f"{row.name}("))
"""Names that a spec may call."""

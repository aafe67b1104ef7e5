"""Signatures: one line of text that gives an operator's parameters and its shape rules.

    x: [*, i], out: int, bias: flag = true -> [*, out]

Left of the arrow stand parameters, as in a Python function. A tensor is annotated by its shape,
with `float` before it understood: `int[*s]`, `any[...]`; another argument by its kind, or by the
texts it may be: `mode: "constant" | "reflect" = "constant"`. `*s` stands for any number of axes, a
name for one; a name that occurs again, or that is an argument's, must have the same size.
Right of the arrow stand the results; sizes there are expressions of names and rules:
`[b, out, *conv(h, w)]`. `*any[parts(x)]` are as many results as the rule returns shapes.

Where `x` may be of several dtypes (`real` is float or int, `field` float or complex), the same word
on the right is the dtype that all such arguments promote to.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from attnc.dsl.ops.parameter import DOCS, REQUIRED, Parameter

DTYPES: Mapping[str, tuple[str, ...]] = {
    "float": ("float",),
    "int": ("int",),
    "bool": ("bool",),
    "complex": ("complex",),
    "real": ("float", "int"),
    "field": ("float", "complex"),
    "number": ("float", "int", "complex"),
    "any": ("float", "int", "bool", "complex"),
}
_WORDS: Mapping[str, object] = {"true": True, "false": False, "none": None}


@dataclass(frozen=True, slots=True)
class Pattern:
    """The shape of a tensor as a signature writes it.

    Attributes:
        dtype: a key of `DTYPES`, or the name of the parameter that says the dtype.
        axes: one expression for each axis; a starred one stands for several.
    """

    dtype: str
    axes: tuple[ast.expr, ...]

    @property
    def is_open(self) -> bool:
        """Whether any shape fits: `any[...]`."""
        return any(isinstance(axis, ast.Constant) and axis.value is ... for axis in self.axes)

    @property
    def shape(self) -> str:
        """The axes as the language writes a shape: `[*, i]`."""
        return f"[{', '.join(map(ast.unparse, self.axes))}]".replace("*_", "*")

    def __str__(self) -> str:
        return self.shape if self.dtype == "float" else f"{self.dtype}{self.shape}"


@dataclass(frozen=True, slots=True)
class Many:
    """As many results of one dtype as an expression gives shapes."""

    dtype: str
    shapes: ast.expr


@dataclass(frozen=True, slots=True)
class Entry:
    """A weight in the same notation: `weight: [out, i] = linear`; the default is its init."""

    name: str
    pattern: Pattern
    init: str


@dataclass(frozen=True, slots=True)
class Signature:
    """A parsed signature; `patterns` holds those of tensor parameters, by name."""

    parameters: tuple[Parameter, ...]
    patterns: Mapping[str, Pattern]
    results: tuple[Pattern | Many, ...]


@cache
def parse(text: str) -> Signature:
    """Parse a signature."""
    left, _, right = text.rpartition("->")
    function = _definition(left)
    body = ast.parse(_with_named_stars(f"({right.strip()},)"), mode="eval").body
    assert isinstance(body, ast.Tuple)
    arguments = _arguments(function)
    return Signature(
        tuple(_parameter(argument, default, stars) for argument, default, stars in arguments),
        {
            argument.arg: _pattern(argument.annotation)
            for argument, _, _ in arguments
            if isinstance(argument.annotation, (ast.List, ast.Subscript))
        },
        tuple(_result(item) for item in body.elts),
    )


@cache
def parse_entries(text: str) -> tuple[Entry, ...]:
    """Parse a list of weights: `weight: [d] = ones, bias: [d] = zeros`."""
    return tuple(
        Entry(argument.arg, _pattern(argument.annotation), default.id)
        for argument, default, _ in _arguments(_definition(text))
        if isinstance(default, ast.Name)
    )


def _definition(parameters: str) -> ast.arguments:
    statement = ast.parse(_with_named_stars(f"def f({parameters}): ...")).body[0]
    assert isinstance(statement, ast.FunctionDef)
    return statement.args


def _with_named_stars(text: str) -> str:
    """Write `[*, i]`, which Python does not know, as `[*_, i]`."""
    return re.sub(r"\*(?=\s*[],])", "*_", text)


def _arguments(args: ast.arguments) -> list[tuple[ast.arg, ast.expr | None, str]]:
    """Return (argument, default, stars before it) in order."""
    defaults = [None] * (len(args.args) - len(args.defaults)) + list(args.defaults)
    found = [(arg, default, "") for arg, default in zip(args.args, defaults, strict=True)]
    if args.vararg:
        found.append((args.vararg, None, "*"))
    found += [(a, d, "") for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        found.append((args.kwarg, None, "**"))
    return found


def _parameter(argument: ast.arg, default: ast.expr | None, stars: str) -> Parameter:
    kind, choices = _kind(argument.annotation)
    value = REQUIRED if default is None else _literal(default)
    return Parameter(
        stars + argument.arg,
        f"{kind}s" if stars == "*" else f"{kind}?" if value is None else kind,
        value,
        DOCS.get(argument.arg, ""),
        choices,
    )


def _kind(annotation: ast.expr | None) -> tuple[str, tuple[str, ...]]:
    match annotation:
        case ast.Name(id=kind):
            return kind, ()
        case ast.List() | ast.Subscript():
            return "tensor", ()
        case ast.Constant() | ast.BinOp():
            return "text", _choices(annotation)
    raise ValueError(f"no kind in a signature: {ast.dump(annotation) if annotation else None}")


def _choices(node: ast.expr) -> tuple[str, ...]:
    if isinstance(node, ast.BinOp):
        return _choices(node.left) + _choices(node.right)
    return (str(ast.literal_eval(node)),)


def _literal(node: ast.expr) -> object:
    return _WORDS[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)


def _pattern(node: ast.expr | None) -> Pattern:
    match node:
        case ast.List(elts=axes):
            return Pattern("float", tuple(axes))
        case ast.Subscript(value=ast.Name(id=dtype), slice=ast.Tuple(elts=axes)):
            return Pattern(dtype, tuple(axes))
        case ast.Subscript(value=ast.Name(id=dtype), slice=axis):
            return Pattern(dtype, (axis,))
    raise ValueError(f"no shape in a signature: {ast.dump(node) if node else None}")


def _result(node: ast.expr) -> Pattern | Many:
    match node:
        case ast.Starred(value=ast.Subscript(value=ast.Name(id=dtype), slice=shapes)):
            return Many(dtype, shapes)
    return _pattern(node)

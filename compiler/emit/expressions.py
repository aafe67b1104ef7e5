"""One FX node to one expression over the nodes it takes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import fx, nn

from attnc.compiler.emit.code import (
    Attribute,
    Binary,
    Call,
    DictOf,
    Dots,
    Expr,
    Index,
    ListOf,
    Literal,
    Ref,
    Role,
    Slice,
    TupleOf,
    Unary,
    dotted,
    fixed,
    walk,
)

MODULES: tuple[tuple[str, ModuleType], ...] = (
    ("F", F),
    ("torch", torch),
    ("torch.fft", torch.fft),
    ("torch.linalg", torch.linalg),
    ("torch.special", torch.special),
    ("nn.init", nn.init),
    ("math", math),
)
"""Where functions are looked up, by the name that emitted code gives their module."""

_BINARY: Mapping[object, str] = {
    operator.add: "+", operator.sub: "-", operator.mul: "*", operator.truediv: "/",
    operator.floordiv: "//", operator.mod: "%", operator.pow: "**", operator.matmul: "@",
    operator.and_: "&", operator.or_: "|", operator.xor: "^", operator.eq: "==",
    operator.ne: "!=", operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=",
}  # fmt: skip
_UNARY: Mapping[object, str] = {
    operator.neg: "-", operator.invert: "~", operator.not_: "not",
}  # fmt: skip

_ALL = tuple(range(8))
_AXES: Mapping[str, tuple[int, ...]] = {
    "transpose": _ALL, "permute": _ALL, "movedim": _ALL, "flatten": _ALL, "squeeze": _ALL,
    "unsqueeze": _ALL, "unbind": _ALL, "flip": _ALL, "sum": _ALL, "mean": _ALL, "amax": _ALL,
    "amin": _ALL, "var": _ALL, "softmax": _ALL, "log_softmax": _ALL, "cumsum": _ALL,
    "unflatten": (0,), "select": (0,), "narrow": (0,), "gather": (0,), "index_select": (0,),
    "scatter": (0,), "repeat_interleave": (1,), "argsort": (0,), "size": (0,), "chunk": (1,),
    "split": (1,), "cat": (0,), "stack": (0,), "roll": (1,), "topk": (1,),
}  # fmt: skip
"""Positions, after the tensor, where a function takes axes: never worth a parameter."""

_VARIADIC = frozenset({"permute", "reshape", "expand", "view", "repeat", "tile", "flip"})
"""Methods that take sizes or axes one by one as well as in a tuple."""

_AXIS_KEYWORDS = frozenset({"dim", "dims", "axis", "start_dim", "end_dim", "dim0", "dim1"})


class UntranslatableError(Exception):
    """An FX node has no form in emitted code: the graph was made by something unknown."""


def function_name(function: object) -> str | None:
    """Return how emitted code calls a function: `F.gelu`; none where it is unknown."""
    name = getattr(function, "__name__", "")
    for prefix, module in MODULES:
        short = name.removeprefix(f"{prefix.rpartition('.')[2]}_")  # torch.fft.fft is "fft_fft"
        for each in (name, short):
            if getattr(module, each, None) is function:
                return f"{prefix}.{each}"
    return None


def argument(value: object, said: Expr | None = None, role: Role = Role.NUMBER) -> Expr:
    """Return an argument of a node as code.

    Raises:
        UntranslatableError: nothing that emitted code can hold.
    """
    if isinstance(value, fx.Node):
        return Ref(value.name)
    if value is None or isinstance(value, (bool, int, float, str)):
        return Literal(value, said, role)
    if value is ...:
        return Dots()
    for kind, rule in _CONTAINERS.items():
        if isinstance(value, kind):
            return rule(value, said, role)
    raise UntranslatableError(f"a value of type {type(value).__name__}")


def _items(values: tuple[object, ...], said: Expr | None, role: Role) -> tuple[Expr, ...]:
    return tuple(argument(value, said, role) for value in values)


def _listed(values: tuple[object, ...], said: Expr | None, role: Role) -> tuple[Expr, ...]:
    """Return the items of a list; where the spec has one as long, each knows its place there."""
    lists = [part.items for part in walk(said) if isinstance(part, ListOf)]
    same = next((items for items in lists if len(items) == len(values)), (said,) * len(values))
    return tuple(argument(value, place, role) for value, place in zip(values, same, strict=True))


def _slice(value: slice, said: Expr | None, role: Role) -> Expr:
    parts = (value.start or None, value.stop, value.step)
    return Slice(*(None if part is None else argument(part, said, role) for part in parts))


_CONTAINERS: Mapping[type, Callable[..., Expr]] = {
    tuple: lambda value, said, role: TupleOf(_listed(value, said, role)),
    list: lambda value, said, role: ListOf(_listed(tuple(value), said, role)),
    slice: _slice,
    dict: lambda value, said, role: DictOf(
        tuple((str(key), argument(item, said, role)) for key, item in value.items())
    ),
    torch.dtype: lambda value, said, role: dotted(str(value)),
    torch.device: lambda value, said, role: fixed(str(value)),
}


def call_function(node: fx.Node, said: Expr | None) -> Expr:
    """Return a `call_function` node as an operator, an index, an attribute or a call.

    Raises:
        UntranslatableError: no public name is known for the function.
    """
    target = node.target
    if target in _BINARY:
        left, right = _items(node.args, said, Role.NUMBER)
        return Binary(_BINARY[target], left, right)
    if target in _UNARY:
        return Unary(_UNARY[target], argument(node.args[0], said))
    if target is operator.getitem:
        return _index(node, said)
    if target is getattr:
        return Attribute(argument(node.args[0]), str(node.args[1]))
    name = function_name(target)
    if name is None:
        raise UntranslatableError(f"function {getattr(target, '__name__', target)}")
    axes = {position + 1 for position in _AXES.get(name.rpartition(".")[2], ())}
    return Call(dotted(name), *_arguments(node.args, node.kwargs, axes, said))


def call_method(node: fx.Node, said: Expr | None) -> Expr:
    """Return a `call_method` node as a call of a method of its first argument."""
    base, *rest = node.args
    name = str(node.target)
    if name in _VARIADIC and len(rest) == 1 and isinstance(rest[0], (tuple, list)):
        rest = list(rest[0]) or rest  # `reshape()` is no call
    axes = set(_AXES.get(name, ()))
    function = Attribute(argument(base, said), name)
    return Call(function, *_arguments(tuple(rest), node.kwargs, axes, said))


def _index(node: fx.Node, said: Expr | None) -> Expr:
    base, items = node.args
    each = items if isinstance(items, tuple) else (items,)
    roles = [Role.STRUCTURE if isinstance(item, int) else Role.NUMBER for item in each]
    places = [argument(item, said, role) for item, role in zip(each, roles, strict=True)]
    return Index(argument(base), tuple(places))


def _arguments(
    values: tuple[object, ...],
    keywords: Mapping[str, object],
    axes: set[int],
    said: Expr | None,
) -> tuple[tuple[Expr, ...], tuple[tuple[str, Expr], ...]]:
    given = [argument(value, said, _role(at in axes)) for at, value in enumerate(values)]
    named = [
        (name, argument(value, said, _role(name in _AXIS_KEYWORDS)))
        for name, value in keywords.items()
    ]
    return tuple(given), tuple(named)


def _role(is_axis: bool) -> Role:
    return Role.STRUCTURE if is_axis else Role.NUMBER

"""Nodes as calls: operators by name or as symbols, blocks, weights, slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from attnc.dsl import tree
from attnc.dsl.builder import TENSOR_OPERATORS, UNARY_OPERATORS
from attnc.dsl.forms.weights import DEFAULT_INIT
from attnc.dsl.graph import Arg, Node, Value
from attnc.dsl.ops import TABLE
from attnc.dsl.ops.row import REQUIRED
from attnc.dsl.unroll.blocks import CASE, Group
from attnc.dsl.unroll.notation import HERE, Called, argument, call, name

_BINARY = {row: symbol for symbol, row in TENSOR_OPERATORS.items()}
_UNARY = {row: symbol for symbol, row in UNARY_OPERATORS.items()}


def labelled(value: tree.Expr, path: str | None) -> tree.Expr:
    """Return `value @path`."""
    return value if path is None else tree.Labelled(value, path, HERE)


def weight_call(node: Node) -> tree.Expr:
    """Return `param([1, n, d], "zeros")` or `buffer(...)`."""
    form = "param" if node.args.get("trainable", True) else "buffer"
    init = [] if node.args["init"] == DEFAULT_INIT[form] else [node.args["init"]]
    return call(form, [argument(each, {}) for each in (node.args["shape"], *init)])


def block_call(node: Node, group: Group, word: str, called: Called) -> tree.Call:
    """Return the call of a block, by its name or that of an instance: ports, which case, sizes."""
    body = node.body
    assert body is not None, "only blocks are called so"
    given = cast(tuple[Arg, ...], node.args["ports"])
    passed = [
        argument(each, called)
        for each, port in zip(given, body.ports.values(), strict=True)
        if port is not None
    ]
    sizes = {each: name(each) for each in group.sizes}
    if len(group.bodies) == 1:
        return call(word, passed, sizes)
    ports = [port.name for port in group.layouts[body].ports]
    case = tree.Number(group.bodies.index(body), HERE)
    return call(word, (), {**dict(zip(ports, passed, strict=True)), CASE: case, **sizes})


# Operators --------------------------------------------------------------------------------


def row_call(node: Node, called: Called) -> tree.Expr:
    """Return the expression for a row of the operator table."""
    args = node.args
    if node.op == "slice":
        return indexed(name(called[cast(Value, args["x"])]), args["spec"])
    if node.op in _UNARY:
        return tree.Unary(_UNARY[node.op], argument(args["x"], called), HERE)
    if node.op in _BINARY and any(isinstance(args[key], Value) for key in "ab"):
        left, right = argument(args["a"], called), argument(args["b"], called)
        return tree.Binary(_BINARY[node.op], left, right, HERE)
    positional, named = _arguments(node)
    return call(
        node.op,
        [argument(each, called) for each in positional],
        {key: argument(each, called) for key, each in named.items()},
    )


def indexed(base: tree.Expr, spec: Arg) -> tree.Index:
    """Return `base[:, 0:1]`."""
    return tree.Index(base, tuple(map(_item, cast(tuple[tuple[Arg, ...], ...], spec))), HERE)


def _item(spec: tuple[Arg, ...]) -> tree.Expr:
    match spec:
        case ("index", position):
            return argument(position, {})
        case (_, *bounds):
            return _slice(*bounds)
    raise ValueError(f"{spec} is no item of an index")


def _slice(start: Arg, stop: Arg, step: Arg) -> tree.Slice:
    first, second, third = (
        None if each is None else argument(each, {}) for each in (start, stop, step)
    )
    return tree.Slice(first, second, third, HERE)


def _arguments(node: Node) -> tuple[list[Arg], dict[str, Arg]]:
    """Part the arguments as one writes them: required ones by position, others by name.

    Defaults are left out.
    """
    positional: list[Arg] = []
    named: dict[str, Arg] = {}
    for parameter in TABLE[node.op].parameters:
        key = parameter.name.lstrip("*")
        value = node.args[key]
        if parameter.name.startswith("**"):
            named.update(cast(Mapping[str, Arg], value))
        elif parameter.name.startswith("*"):
            positional += cast(tuple[Arg, ...], value)
        elif parameter.default is REQUIRED and not named and not _stars_before(node, key):
            positional.append(value)
        elif not _is(value, parameter.default):
            named[key] = value
    return positional, named


def _stars_before(node: Node, key: str) -> bool:
    names = [parameter.name for parameter in TABLE[node.op].parameters]
    return any(each.startswith("*") for each in names[: names.index(key)])


def _is(value: Arg, default: object) -> bool:
    """Say whether two arguments are the same; true is not 1."""
    return type(value) is type(default) and value == default


# Instances --------------------------------------------------------------------------------


def instance(node: Node, block: str | None) -> tree.Call:
    """Return what stands behind `use`: a block, or a row with all but its tensors."""
    if block is not None:
        return call(block)
    defaults = {each.name: each.default for each in TABLE[node.op].parameters}
    named = {
        key: argument(value, {})
        for key, value in _settings(node).items()
        if not _is(value, defaults[key])
    }
    return call(node.op, (), named)


def instance_call(node: Node, first: Node, word: str, called: Called) -> tree.Call:
    """Return a call of an instance made for `first`: its tensor, and settings that differ."""
    made = _settings(first)
    named = {
        key: argument(value, called)
        for key, value in _settings(node).items()
        if not _is(value, made[key])
    }
    tensors = [value for value in node.args.values() if isinstance(value, Value)]
    return call(word, [argument(each, called) for each in tensors], named)


def _settings(node: Node) -> dict[str, Arg]:
    keys = [parameter.name for parameter in TABLE[node.op].parameters]
    return {key: node.args[key] for key in keys if not isinstance(node.args[key], Value)}

"""Shapes of FX nodes: known for the results of operators, derived for the views between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import cast

from torch import fx
from torch.fx.node import Argument

from attnc.compiler.unit import Origin
from attnc.dsl.dims import Shape, Size
from attnc.dsl.graph import TensorType


def origin(node: fx.Node) -> Origin:
    """Return where a node comes from."""
    return cast(Origin, node.meta.get("attnc", Origin()))


def type_of(node: fx.Node) -> TensorType | None:
    """Return the type of a node that is the one result of an operator; else none."""
    types = origin(node).types
    return types[0] if len(types) == 1 else None


def shape_of(node: fx.Node) -> Shape | None:
    """Return the shape of a node; none where it is not known."""
    known = type_of(node)
    if known is not None:
        return known.shape
    rule = _VIEWS.get(str(node.target)) if node.op == "call_method" else None
    source = node.args[0] if node.args else None
    shape = shape_of(source) if rule and isinstance(source, fx.Node) else None
    return None if rule is None or shape is None else rule(node, shape)


def size_of(argument: Argument) -> Size | None:
    """Return the size that an argument is; none where it is not known to be one."""
    if isinstance(argument, fx.Node):
        return origin(argument).size
    return argument if isinstance(argument, int) else None


def permutation(node: fx.Node, rank: int) -> tuple[int, ...] | None:
    """Return the order of axes that a `transpose` or `permute` gives; none for other nodes."""
    if rank == 0 or node.op != "call_method" or node.target not in ("transpose", "permute"):
        return None
    rest = node.args[1:]
    axes = rest[0] if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else rest
    numbers = [axis % rank for axis in axes if isinstance(axis, int)]
    if node.target == "permute":
        return tuple(numbers)
    order = [*range(rank)]
    a, b = numbers
    order[a], order[b] = b, a
    return tuple(order)


def _permuted(node: fx.Node, shape: Shape) -> Shape | None:
    order = permutation(node, len(shape))
    return None if order is None else tuple(shape[axis] for axis in order)


def _unflattened(node: fx.Node, shape: Shape) -> Shape | None:
    axis, sizes = node.args[1:]
    if not isinstance(axis, int) or not isinstance(sizes, (tuple, list)):
        return None
    found = tuple(size for size in map(size_of, sizes) if size is not None)
    axis %= len(shape)
    return (*shape[:axis], *found, *shape[axis + 1 :]) if len(found) == len(sizes) else None


def _flattened(node: fx.Node, shape: Shape) -> Shape | None:
    start = node.args[1] if len(node.args) > 1 else 0
    end = node.args[2] if len(node.args) > 2 else -1
    if not isinstance(start, int) or not isinstance(end, int):
        return None
    start, end = start % len(shape), end % len(shape)
    return (*shape[:start], prod(shape[start : end + 1], start=1), *shape[end + 1 :])


_VIEWS: Mapping[str, Callable[[fx.Node, Shape], Shape | None]] = {
    "transpose": _permuted,
    "permute": _permuted,
    "unflatten": _unflattened,
    "flatten": _flattened,
}

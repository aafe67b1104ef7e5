"""Nodes with several results: `q, k, v = x.unbind(0)`."""

from __future__ import annotations

import operator
from typing import cast

from torch import fx, nn

from attnc.compiler.emit.origins import origin, type_of
from attnc.compiler.leaf import Attend

_PAIRS = frozenset({
    "topk", "sort", "max", "min", "median", "mode", "kthvalue", "cummax", "cummin", "var_mean",
    "std_mean",
})  # fmt: skip
"""Functions that return two tensors."""


def is_item(node: fx.Node, module: nn.Module) -> bool:
    """Say whether a node only takes one of several results, which unpacking does by itself."""
    return node.target is operator.getitem and bool(unpacked(cast(fx.Node, node.args[0]), module))


def unpacked(node: fx.Node, module: nn.Module) -> tuple[fx.Node | None, ...]:
    """Return the nodes that take a result apart, none for a part that nothing uses.

    It is empty where the result is one tensor, where something uses it as a whole, where only one
    part is used, and where it is not known of how many parts it is.
    """
    items = list(node.users)
    if node.op == "placeholder" or type_of(node) is not None or node.target is getattr:
        return ()
    if not all(item.target is operator.getitem and item.args[0] is node for item in items):
        return ()
    by_place = {item.args[1]: item for item in items}
    count = _count(node, module)
    if count is None or not 1 < len(by_place) == len(items):
        return ()
    found = [by_place.get(place) for place in range(count)]
    return tuple(item if item is not None and item.users else None for item in found)


def _count(node: fx.Node, module: nn.Module) -> int | None:
    """Return how many results a node has; none where nothing tells."""
    if node.op == "call_module":
        return _results(module.get_submodule(str(node.target)))
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    if name in _PAIRS:
        return 2
    if name == "chunk":
        return cast(int, node.args[1])
    if name == "split":
        sizes = node.args[1]
        return len(sizes) if isinstance(sizes, (tuple, list)) else None
    return _slices(node) if name == "unbind" else None


def _results(child: nn.Module) -> int | None:
    if isinstance(child, Attend):
        return len(child.site.attention.outputs)
    outputs = child.meta["body"].outputs if isinstance(child, fx.GraphModule) else None
    return len(outputs) if isinstance(outputs, tuple) else None


def _slices(node: fx.Node) -> int | None:
    """Return how many slices `unbind` gives."""
    source, *axes = node.args
    type_ = type_of(source) if isinstance(source, fx.Node) else None
    size = type_.shape[cast(int, axes[0]) if axes else 0] if type_ is not None else None
    return size if isinstance(size, int) else None


def is_uniform(items: tuple[fx.Node | None, ...]) -> bool:
    """Say whether all results are of one type, so that one comment serves them."""
    return len(items) > 1 and len({origin(item).types for item in items if item is not None}) == 1

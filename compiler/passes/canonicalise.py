"""Canonicalise: what changes nothing goes, chains of views become one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Union

import torch.nn.functional as F
from torch import fx, nn
from torch.fx.node import Argument

from attnc.compiler.kernel import Target
from attnc.compiler.passes.rewrite import distinct, replace_node, rewritten
from attnc.compiler.passes.shapes import permutation, shape_of, size_of, type_of
from attnc.dsl.dims import Size


@dataclass(frozen=True, slots=True)
class Call:
    """A method call that stands for a node."""

    method: str
    arguments: tuple[Argument, ...]


Better = Union[fx.Node, Call, None]
"""What is equal to a node and simpler: another node, a new call, or nothing known."""

Rule = Callable[[fx.Node, fx.Node, nn.Module], Better]
"""Called with a node, its first input and the module; must change nothing."""


def canonicalise(module: fx.GraphModule, target: Target) -> fx.GraphModule:
    """Return the module without identities: see `RULES`."""
    return rewritten(module, _edit)


def check_canonicalise(module: fx.GraphModule) -> None:
    """Check that no rule applies any more.

    Raises:
        AssertionError: one does.
    """
    for block in distinct(module):
        for node in block.graph.nodes:
            assert _better(node, block) is None, f"{node.format_node()} is not canonical"


def _edit(graph: fx.Graph, module: fx.GraphModule) -> None:
    changed = True
    while changed:
        changed = False
        for node in graph.nodes:
            better = _better(node, module)
            if better is not None:
                changed = True
                replace_node(node, _written(better, node))


def _better(node: fx.Node, module: nn.Module) -> Better:
    source = node.args[0] if node.args else None
    if not node.users or not isinstance(source, fx.Node):
        return None
    kind: object = node.target
    if node.op == "call_module":
        kind = type(module.get_submodule(str(node.target)))
    return next(
        (better for rule in RULES.get(kind, ()) if (better := rule(node, source, module))), None
    )


def _written(better: fx.Node | Call, node: fx.Node) -> fx.Node:
    if isinstance(better, fx.Node):
        return better
    with node.graph.inserting_before(node):
        made = node.graph.call_method(better.method, better.arguments)
    made.meta = dict(node.meta)
    return made


# Rules ------------------------------------------------------------------------------------


def _reordered(node: fx.Node, source: fx.Node, module: nn.Module) -> Better:
    """`x.permute(2, 0, 1).permute(1, 2, 0)` is x; two orders in a row are one."""
    rank = len(shape_of(node) or ())
    order, inner = permutation(node, rank), permutation(source, rank)
    if order is None or order == tuple(range(rank)):
        return None if order is None else source
    start = source.args[0] if inner is not None else None
    if inner is None or not isinstance(start, fx.Node):
        return None
    both = tuple(inner[axis] for axis in order)
    if both == tuple(range(rank)):
        return start
    return _in_order(start, both) if len(source.users) == 1 else None


def _in_order(source: fx.Node, order: tuple[int, ...]) -> Call:
    moved = [axis for axis, place in enumerate(order) if axis != place]
    if len(moved) == 2:
        return Call("transpose", (source, *moved))
    return Call("permute", (source, *order))


def _same_elements(node: fx.Node, source: fx.Node, module: nn.Module) -> Better:
    """`x.flatten(1).unflatten(1, (h, w))` is x where that is its shape."""
    shape = shape_of(node)
    found: Argument = source
    while shape is not None and isinstance(found, fx.Node):
        if shape_of(found) == shape:
            return found
        if found.op != "call_method" or found.target not in SAME_ORDER:
            break
        found = found.args[0]
    return None


def _expanded(node: fx.Node, source: fx.Node, module: nn.Module) -> Better:
    shape = shape_of(node)
    return source if shape is not None and shape == shape_of(source) else None


def _no_dropout(node: fx.Node, source: fx.Node, module: nn.Module) -> Better:
    return source if getattr(module.get_submodule(str(node.target)), "p", None) == 0 else None


def _detached(node: fx.Node, source: fx.Node, module: nn.Module) -> Better:
    return source if source.op == "call_method" and source.target == "detach" else None


def _whole(node: fx.Node, source: fx.Node, module: nn.Module) -> Better:
    """`x[:, 0:]` is x."""
    index, shape = node.args[1], shape_of(source)
    items = index if isinstance(index, tuple) else (index,)
    if shape is None or len(items) > len(shape):
        return None
    pairs = zip(items, shape, strict=False)
    return source if all(_is_whole(item, size) for item, size in pairs) else None


def _is_whole(item: Argument, size: Size) -> bool:
    if not isinstance(item, slice) or item.start not in (None, 0) or item.step not in (None, 1):
        return False
    return item.stop is None or size_of(item.stop) == size


def _one(node: fx.Node, source: fx.Node, module: nn.Module) -> Better:
    """`x * 1` and `x / 1` are x where x is float, and not broadcast."""
    factor, type_ = node.args[1], type_of(source)
    is_one = isinstance(factor, (int, float)) and factor == 1
    return source if is_one and type_ is not None and type_.dtype == "float" else None


def _nothing_padded(node: fx.Node, source: fx.Node, module: nn.Module) -> Better:
    amounts = node.args[1]
    return source if isinstance(amounts, (tuple, list)) and not any(amounts) else None


SAME_ORDER = frozenset({"reshape", "flatten", "unflatten", "squeeze", "unsqueeze"})
"""Methods that give other shapes to the same elements in the same order."""

RULES: Mapping[object, tuple[Rule, ...]] = {
    "transpose": (_reordered,),
    "permute": (_reordered,),
    **dict.fromkeys(SAME_ORDER, (_same_elements,)),
    "expand": (_expanded,),
    "detach": (_detached,),
    nn.Dropout: (_no_dropout,),
    operator.getitem: (_whole,),
    operator.mul: (_one,),
    operator.truediv: (_one,),
    F.pad: (_nothing_padded,),
}
"""The rules by method, function or class of module."""

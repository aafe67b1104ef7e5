"""Fold constants: tables that depend on no input and no weight are computed once, as buffers.

The buffers are not persistent: the state dict stays as it is. What computes them is kept beside
them, so that they can be made in the model's dtype, and printed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain, count

import torch
from torch import Tensor, fx
from torch.fx.node import Argument, map_arg

from attnc.compiler.constants import constants_of, defaults
from attnc.compiler.instances import new_class
from attnc.compiler.kernel import Target
from attnc.compiler.passes.rewrite import distinct, float_place, replace_node, rewritten
from attnc.compiler.passes.shapes import origin
from attnc.compiler.template import nodes_in

LARGEST = 1 << 22
"""Elements that a buffer may have; larger tables are computed when needed."""

FILLS: frozenset[object] = frozenset({torch.full, torch.zeros, torch.ones, torch.empty})
"""Functions that are as quick as reading their result from memory."""

RANDOM: frozenset[object] = frozenset({torch.rand, torch.randn, torch.randint, torch.randperm})
"""Functions whose results differ from call to call."""


def fold(module: fx.GraphModule, target: Target) -> fx.GraphModule:
    """Return the module with buffers for its constants, computed where its weights are."""
    device, dtype = float_place(module)
    return rewritten(module, partial(_edit, device=device, dtype=dtype))


def check_fold(module: fx.GraphModule) -> None:
    """Check that no constant is left, and that buffers are not in the state dict.

    Raises:
        AssertionError: one is.
    """
    for block in distinct(module):
        left = [root.name for root in _constants(block.graph)]
        assert not left, f"{', '.join(left)} could be folded"
        for name in constants_of(block):
            assert name in block._non_persistent_buffers_set, f"{name} is in the state dict"


def _edit(
    graph: fx.Graph, module: fx.GraphModule, device: torch.device | str, dtype: torch.dtype
) -> None:
    kept = dict(constants_of(module))
    for root, constant in _constants(graph).items():
        wish = (*origin(root).names, root.name)[0]
        names = chain([wish], (f"{wish}_{number}" for number in count(1)))
        name = next(name for name in names if not hasattr(module, name))
        with defaults(device, dtype):
            module.register_buffer(name, constant(), persistent=False)
        kept[name] = constant
        with graph.inserting_before(root):
            buffer = graph.create_node("get_attr", name)
        buffer.meta = dict(root.meta)
        replace_node(root, buffer)
    if kept:
        module.meta["constants"] = kept


def _constants(graph: fx.Graph) -> dict[fx.Node, fx.GraphModule]:
    """Return the constant tensors that other code uses, with what computes them.

    Fills are not worth a buffer; tables above `LARGEST` are left where they are.
    """
    constant: set[fx.Node] = set()
    for node in graph.nodes:
        if _is_constant(node, constant):
            constant.add(node)
    roots = [node for node in graph.nodes if node in constant and node.target not in FILLS]
    used = {root: _module(root) for root in roots if not constant.issuperset(root.users)}
    return {root: made for root, made in used.items() if _is_small_tensor(made)}


def _is_constant(node: fx.Node, constant: set[fx.Node]) -> bool:
    if node.op not in ("call_function", "call_method") or node.target in RANDOM:
        return False
    return all(each in constant or _is_dtype(each) for each in nodes_in((node.args, _kwargs(node))))


def _kwargs(node: fx.Node) -> dict[str, Argument]:
    """Return the arguments by name, without the device: tables are made where torch likes."""
    return {name: value for name, value in node.kwargs.items() if name != "device"}


def _is_dtype(node: fx.Node) -> bool:
    """Say whether a node is `x.dtype`."""
    return node.target is getattr and node.args[1] == "dtype"


def _is_small_tensor(constant: fx.GraphModule) -> bool:
    with torch.device("meta"):
        result = constant()
    return isinstance(result, Tensor) and result.numel() <= LARGEST


def _module(root: fx.Node) -> fx.GraphModule:
    """Return a module without inputs that computes a constant with torch's default dtype."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}

    def copied(node: fx.Node) -> fx.Node:
        if node not in copies:
            copies[node] = _copy(node, graph, copied)
        return copies[node]

    graph.output(copied(root))
    module = new_class("constant", {})
    module.graph = graph
    return module


def _copy(node: fx.Node, graph: fx.Graph, copied: Callable[[fx.Node], fx.Node]) -> fx.Node:
    """Copy a node and what it needs."""
    if _is_dtype(node):
        return graph.call_function(torch.get_default_dtype)
    arguments, keywords = map_arg(node.args, copied), map_arg(_kwargs(node), copied)
    copy = graph.create_node(node.op, node.target, arguments, keywords, node.name)
    copy.meta = dict(node.meta)
    return copy

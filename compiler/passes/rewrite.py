"""Copies of lowered modules in which every distinct block was edited once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import fx, nn

from attnc.compiler.instances import new_class, sibling
from attnc.compiler.leaf import Attend

Edit = Callable[[fx.Graph, fx.GraphModule], None]
"""Edits a graph in place. The module is the block's first instance, whose attention leaves and
buffers it may change and whose weightless sub-modules it may delete; all instances follow."""


def rewritten(root: fx.GraphModule, edit: Edit) -> fx.GraphModule:
    """Return a copy of a module with every distinct block edited, inner blocks first.

    The copy shares weights with the original; the cost grows with distinct blocks.
    """
    return _Copier(edit).graph_module(root)


def distinct(root: fx.GraphModule) -> Iterator[fx.GraphModule]:
    """Yield the first instance of every distinct block, outer blocks first."""
    seen: set[fx.Graph] = set()
    for module in root.modules():
        if isinstance(module, fx.GraphModule) and module.graph not in seen:
            seen.add(module.graph)
            yield module


class _Copier:
    def __init__(self, edit: Edit) -> None:
        self.edit = edit
        self.first: dict[fx.Graph, fx.GraphModule] = {}

    def graph_module(self, old: fx.GraphModule) -> fx.GraphModule:
        first = self.first.get(old.graph)
        if first is not None:
            new = sibling(first)
            self._fill(old, new)
            _follow(first, new)
            return new
        new = new_class(type(old).__name__, dict(old.meta))
        self._fill(old, new)
        graph = _copied(old.graph)
        self.edit(graph, new)
        new.graph = graph
        self.first[old.graph] = new
        return new

    def _fill(self, old: nn.Module, new: nn.Module) -> None:
        new.training = old.training
        new._parameters.update(old._parameters)
        for name, buffer in old._buffers.items():
            new.register_buffer(name, buffer, name not in old._non_persistent_buffers_set)
        for name, child in old._modules.items():
            new.add_module(name, self._child(child))

    def _child(self, old: nn.Module | None) -> nn.Module | None:
        if isinstance(old, fx.GraphModule):
            return self.graph_module(old)
        if type(old) is nn.Module:
            holder = nn.Module()
            self._fill(old, holder)
            return holder
        return old


def _copied(graph: fx.Graph) -> fx.Graph:
    copy = fx.Graph()
    nodes: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        nodes[node] = copy.node_copy(node, nodes.__getitem__)
    return copy


def _follow(first: nn.Module, other: nn.Module) -> None:
    """Bring to another instance what an edit did to the first."""
    for name in [*other._modules]:
        if name not in first._modules:
            del other._modules[name]
    for name, child in first._modules.items():
        mine = other._modules[name]
        if isinstance(child, Attend):
            other._modules[name] = Attend(child.site, child.provider)
        elif type(child) is nn.Module and mine is not None:
            _follow(child, mine)
    for name in [*other._buffers]:
        if name not in first._buffers:
            del other._buffers[name]
    for name, buffer in first._buffers.items():
        if name in first._non_persistent_buffers_set:
            other.register_buffer(name, buffer, persistent=False)


def replace_node(node: fx.Node, result: fx.Node) -> None:
    """Let `result` stand for a node, which goes."""
    node.replace_all_uses_with(result)
    node.graph.erase_node(node)


def float_place(root: fx.GraphModule) -> tuple[torch.device | str, torch.dtype]:
    """Return the device and dtype of a module's weights; of a model without, those it was given."""
    for tensor in (*root.parameters(), *root.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    default = "meta", torch.get_default_dtype()
    return cast(tuple[str, torch.dtype], root.meta.get("place", default))

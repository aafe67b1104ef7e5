"""What the nodes of a block can refer to: tensors, sizes, the model's dtype and device."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import torch
from torch import fx
from torch.fx.node import Argument

from attnc.compiler.size_nodes import SizeNodes
from attnc.compiler.unit import Extra, Like, Origin, add_port
from attnc.dsl import codes
from attnc.dsl.attention import Attention
from attnc.dsl.diagnostics import SpecError
from attnc.dsl.dims import Dim, Size
from attnc.dsl.graph import Arg, Body, TensorType, Value
from attnc.dsl.state import body_weights


class Scope:
    """The names of one body under translation.

    Attributes:
        graph: the code so far.
        values: the FX node of every value so far.
        extras: the ports that callers fill beside those of the spec.
    """

    def __init__(self, body: Body, is_top: bool) -> None:
        self.body, self.is_top = body, is_top
        self.graph = fx.Graph()
        self.values: dict[Value, fx.Node] = {}
        self.extras: dict[Extra, fx.Node] = {}
        self._tensors: list[tuple[TensorType, fx.Node]] = []
        self._items: list[fx.Node] = []
        self._likes: dict[str, fx.Node] = {}
        self._last_port: fx.Node | None = None
        for name, port in body.ports.items():
            if port is not None:
                self._last_port = add_port(self.graph, name, self._last_port)
                self._bind(port, self._last_port)
        self._sizes = SizeNodes(self.graph, self._tensors)

    def argument(self, arg: Arg) -> Argument:
        """Return what stands for an argument of a node: tensors and symbolic sizes are nodes."""
        match arg:
            case Value():
                return self.values[arg]
            case Dim():
                return self._size(arg)
            case tuple():
                return tuple(map(self.argument, arg))
            case Mapping():
                return {name: self.argument(item) for name, item in arg.items()}
            case Attention():
                raise TypeError("only attend nodes take an attention")
            case _:
                return arg

    def extra_argument(self, extra: Extra) -> Argument:
        """Return what stands for an argument that a block asks for beside its ports."""
        return self._like_tensor() if isinstance(extra, Like) else self.argument(extra)

    def like(self, attribute: str) -> fx.Node:
        """Return the `dtype` or the `device` of the model's tensors."""
        if attribute not in self._likes:
            node = self.graph.call_function(getattr, (self._like_tensor(attribute), attribute))
            self._likes[attribute] = always(node)
        return self._likes[attribute]

    def returns(self, outputs: Arg) -> None:
        """End the graph."""
        always(self.graph.output(self.argument(outputs)))
        for item in reversed(self._items):
            if not item.users:
                self.graph.erase_node(item)

    def _bind(self, port: Arg, node: fx.Node) -> None:
        always(node)
        if isinstance(port, tuple):
            for at, item in enumerate(port):
                self._items.append(self.graph.call_function(operator.getitem, (node, at)))
                self._bind(item, self._items[-1])
        elif isinstance(port, Value):
            node.meta["attnc"] = Origin(port.spans, (port.type,), (port.name,))
            self.values[port] = node
            self._tensors.append((port.type, node))

    def _size(self, size: Size) -> Argument:
        """Return a size: computed from the ports, or passed by the caller."""
        written = self._sizes.write(size)
        return self._extra(size) if written is None else written

    def _like_tensor(self, attribute: str = "dtype") -> fx.Node:
        """Return a tensor with the model's dtype, on its device; any tensor tells the device."""
        for type_, node in self._tensors:
            if type_.dtype == "float":
                return node
        for path, weight in body_weights(self.body).items():
            if weight.dtype == "float":
                return always(self.graph.create_node("get_attr", path))
        if attribute == "device" and self._tensors:
            return self._tensors[0][1]
        if not self.is_top:
            return self._extra(Like())
        keywords: dict[str, Argument] = {}
        for _, node in self._tensors[:1]:
            keywords["device"] = always(self.graph.call_function(getattr, (node, "device")))
        return always(self.graph.call_function(torch.empty, (0,), keywords))

    def _extra(self, extra: Extra) -> fx.Node:
        """Return the extra port for what a caller must tell."""
        if self.is_top and isinstance(extra, Dim):
            span = self.body.definition[-1] if self.body.definition else None
            raise SpecError([codes.UNSOLVED_SIZE.at(span, size=extra, name=self.body.name)])
        if extra not in self.extras:
            name = "like" if isinstance(extra, Like) else self._size_name(extra)
            size = None if isinstance(extra, Like) else extra
            node = self._last_port = add_port(self.graph, name, self._last_port)
            node.meta["attnc"] = Origin(names=(name,), size=size)
            self.extras[extra] = node
        return self.extras[extra]

    def _size_name(self, size: Size) -> str:
        """Return what the block calls a size."""
        known = {**self.body.arguments, **self.body.dims}
        return next((name for name, value in known.items() if value == size), "size")


def always(node: fx.Node) -> fx.Node:
    """Mark a node that later nodes may use, and that runs in training mode or not."""
    node.meta["attnc"] = Origin()
    return node

"""Questions to the parameters of `forward`: `x.shape[1]`, `x.dtype`, `xs[0]`."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import cast

import torch
from torch import fx

from attnc.compiler.emit.code import Assign, Attribute, Expr, Index, Name, Ref, fixed
from attnc.compiler.emit.flow import Line
from attnc.compiler.emit.origins import origin, type_of
from attnc.dsl.graph import TensorType

_QUESTIONS: Mapping[str, str] = {"device": "dtype", "dtype": "dtype", "shape": "shape"}
"""What one asks a tensor -> what must be equal for another tensor to give the same answer."""


class Ports:
    """The ports of one block.

    Attributes:
        nodes: all nodes of its graph.
        wishes: node -> what the spec calls its result.
    """

    def __init__(self, nodes: tuple[fx.Node, ...], wishes: Mapping[str, str]) -> None:
        self.nodes, self.wishes = nodes, wishes
        self.ports = tuple(node for node in nodes if node.op == "placeholder")

    def is_question(self, node: fx.Node) -> bool:
        """Say whether a node costs nothing: it asks a tensor, or takes one of a list of them."""
        if node.target is getattr:
            return node.args[1] in _QUESTIONS
        if node.target is torch.get_default_dtype:
            return True
        base = node.args[0] if node.target is operator.getitem else None
        return base in self.ports and not origin(cast(fx.Node, base)).types

    @cached_property
    def sizes_first(self) -> dict[fx.Node, tuple[fx.Node, int]]:
        """Sizes that are read before all else, by port and axis.

        They are those that are used often, and those of a port whose name is used again.
        """
        found: dict[fx.Node, tuple[fx.Node, int]] = {}
        for node in self.nodes:
            read = self._size_read(node)
            if read is None or not node.users:
                continue
            uses = sum(list(user.all_input_nodes).count(node) for user in node.users)
            if uses > 1 or read[0].name not in self._steady["shape"]:
                found[node] = read
        return found

    def _size_read(self, node: fx.Node) -> tuple[fx.Node, int] | None:
        """Return port and axis where a node is `port.shape[axis]`."""
        if node.target is not operator.getitem or not isinstance(node.args[0], fx.Node):
            return None
        shape, axis = node.args[0], node.args[1]
        if (
            shape.target is not getattr
            or shape.args[1] != "shape"
            or shape.args[0] not in self.ports
        ):
            return None
        return cast(fx.Node, shape.args[0]), cast(int, axis)

    @cached_property
    def _axes(self) -> Mapping[fx.Node, Mapping[int, str]]:
        """Port -> axis -> the first node that reads it."""
        axes: dict[fx.Node, dict[int, str]] = defaultdict(dict)
        for node, (port, axis) in self.sizes_first.items():
            axes[port].setdefault(axis, node.name)
        return axes

    def first_read(self, node: fx.Node) -> str:
        """Return the node that reads the size in place of `node`, of `sizes_first`."""
        port, axis = self.sizes_first[node]
        return self._axes[port][axis]

    def lines(self) -> Iterator[Line]:
        """Yield the reads of sizes that come first, those of one port together."""
        for port, wanted in self._axes.items():
            shape: Expr = Attribute(Ref(port.name), "shape")
            type_ = type_of(port)
            if len(wanted) == 1 or type_ is None:
                for axis, name in wanted.items():
                    yield Line(Assign((Ref(name),), Index(shape, (fixed(axis),))))
            else:
                axes = range(len(type_.shape))
                names = [Ref(wanted[axis]) if axis in wanted else Name("_") for axis in axes]
                yield Line(Assign(tuple(names), shape, unpack=True))

    @cached_property
    def _steady(self) -> Mapping[str, frozenset[str]]:
        """Ports whose name always stands for tensors of one dtype, and of one shape."""
        sharing: dict[str, list[TensorType]] = defaultdict(list)
        for node in self.nodes:
            if node.name in self.wishes:
                sharing[self.wishes[node.name]] += origin(node).types or (TensorType((), ""),)
        dtypes, shapes = set(), set()
        for port in self.ports:
            types = sharing[self.wishes[port.name]]
            if len({type_.dtype for type_ in types}) == 1:
                dtypes.add(port.name)
            if len(set(types)) == 1:
                shapes.add(port.name)
        return {"dtype": frozenset(dtypes), "shape": frozenset(shapes)}

    def is_steady(self, node: str, question: str) -> bool:
        """Say whether whatever has the name of a port answers a question as the port does."""
        return question in _QUESTIONS and node in self._steady[_QUESTIONS[question]]

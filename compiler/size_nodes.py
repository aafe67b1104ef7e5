"""Symbolic sizes as FX nodes: `x.shape[1]`, `(x.shape[1] + 1) // 2`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from torch import fx
from torch.fx.node import Argument

from attnc.compiler.sizes import Arithmetic, Axis, Recipe, Sizes
from attnc.compiler.unit import Origin
from attnc.dsl.dims import Size
from attnc.dsl.graph import TensorType

_OPERATORS: Mapping[str, Callable[..., object]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "**": operator.pow,
}


class SizeNodes:
    """Computes sizes at the end of a graph, each once.

    Attributes:
        graph: where nodes go.
        tensors: the tensors whose shapes are known from the start: types and nodes.
    """

    def __init__(self, graph: fx.Graph, tensors: Sequence[tuple[TensorType, fx.Node]]) -> None:
        self.graph, self.tensors = graph, tensors
        self._written: dict[Recipe, Argument] = {}

    @cached_property
    def _sizes(self) -> Sizes:
        return Sizes(type_.shape for type_, _ in self.tensors)

    def write(self, size: Size) -> Argument:
        """Return a size as an argument for nodes; none where no tensor tells it."""
        recipe = self._sizes.recipe(size)
        if recipe is None:
            return None
        argument = self._argument(recipe)
        if isinstance(argument, fx.Node):
            argument.meta["attnc"] = Origin(size=size)
        return argument

    def _argument(self, recipe: Recipe) -> Argument:
        if recipe not in self._written:
            self._written[recipe] = self._new(recipe)
        return self._written[recipe]

    def _new(self, recipe: Recipe) -> Argument:
        match recipe:
            case Axis(port, axis):
                return self._call(operator.getitem, self._shape(port), axis)
            case Arithmetic(sign, left, right):
                return self._call(_OPERATORS[sign], self._argument(left), self._argument(right))
            case _:
                return recipe

    def _shape(self, port: int) -> fx.Node:
        key = Axis(port, -1)
        if key not in self._written:
            self._written[key] = self._call(getattr, self.tensors[port][1], "shape")
        shape = self._written[key]
        assert isinstance(shape, fx.Node)
        return shape

    def _call(self, function: Callable[..., object], *arguments: Argument) -> fx.Node:
        node = self.graph.call_function(function, arguments)
        node.meta["attnc"] = Origin()
        return node

"""Whether a lowered module is well-formed: its graphs, and the shapes it claims."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from itertools import cycle

import torch
from torch import Tensor, fx
from torch.fx.node import Argument, Target

from attnc.compiler.leaf import Attend
from attnc.compiler.lower import DTYPES
from attnc.compiler.pairs import number
from attnc.compiler.passes.rewrite import distinct
from attnc.compiler.passes.shapes import origin, type_of
from attnc.compiler.unit import Origin
from attnc.dsl.dims import Size, symbols
from attnc.dsl.graph import TensorType

PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
"""Values for symbolic sizes: all different, so that swapped axes show."""


def verify(module: fx.GraphModule, sizes: Mapping[str, int] | None = None) -> None:
    """Run every distinct block once on the meta device and compare all shapes with its types.

    Args:
        sizes: values for symbolic sizes; small primes where not given.

    Raises:
        AssertionError: a graph is malformed, or a node's shape or dtype is not the one stated.
    """
    for block in distinct(module):
        block.graph.lint()
        _Checker(block, sizes or {}).check()


class _Checker(fx.Interpreter):
    """Runs one block on meta tensors; inner blocks and attentions give what their types say."""

    def __init__(self, block: fx.GraphModule, sizes: Mapping[str, int]) -> None:
        super().__init__(block)
        used = (size for node in block.graph.nodes for size in _sizes(origin(node)))
        names = sorted({name for size in used for name in symbols(size)})
        self.sizes = {**dict(zip(names, cycle(PRIMES), strict=False)), **sizes}

    def check(self) -> None:
        with torch.device("meta"), torch.no_grad():
            self.run(*[None] * len(self.graph.find_nodes(op="placeholder")))

    def run_node(self, node: fx.Node) -> object:
        result = self._stub(node) if self._is_opaque(node) else super().run_node(node)
        type_ = type_of(node)
        if type_ is not None:
            stated = (self._shape(type_), type_.dtype)
            assert isinstance(result, Tensor), f"{node.name} is no tensor"
            found = (tuple(result.shape), kind_of(result))
            assert found == stated, f"{node.name} is {found}, stated as {stated}"
        return result

    def _is_opaque(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.submodules[str(node.target)], (fx.GraphModule, Attend))
        return node.op == "placeholder"

    def _stub(self, node: fx.Node) -> object:
        """Return what a node's type says; where it has none, the items that other nodes take."""
        type_, size = type_of(node), origin(node).size
        if type_ is not None:
            return torch.empty(self._shape(type_), dtype=DTYPES[type_.dtype])
        if size is not None:
            return number(size, self.sizes)
        taken = [user for user in node.users if user.target is operator.getitem]
        if not taken:
            return torch.empty(1)
        return {user.args[1]: self._stub(user) for user in taken}

    def _shape(self, type_: TensorType) -> tuple[int, ...]:
        return tuple(number(size, self.sizes) for size in type_.shape)

    def fetch_attr(self, target: str) -> object:
        found = super().fetch_attr(target)
        return _on_meta(found) if isinstance(found, Tensor) else found

    def call_module(
        self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Argument]
    ) -> object:
        module = self.submodules[str(target)]
        state = {name: _on_meta(tensor) for name, tensor in module.state_dict().items()}
        return torch.func.functional_call(module, state, args, kwargs)


def kind_of(tensor: Tensor) -> str:
    """Return the dtype of a tensor as the language calls it."""
    if tensor.dtype == torch.bool:
        return "bool"
    if tensor.is_complex():
        return "complex"
    return "float" if tensor.is_floating_point() else "int"


def _on_meta(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=DTYPES[kind_of(tensor)])


def _sizes(node: Origin) -> list[Size]:
    sizes = [size for type_ in node.types for size in type_.shape]
    return sizes if node.size is None else [*sizes, node.size]

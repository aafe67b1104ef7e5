"""Element-wise work on a result is part of the attention, where a kernel does it before storing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from attnc.compiler.recognise.beside import Beside, Views
from attnc.compiler.recognise.factors import Factors
from attnc.compiler.recognise.rewriting import Block, Edits
from attnc.dsl.attention import Attention, Constant, Load, Result, ScoreTree
from attnc.dsl.graph import Arg, Node, Value
from attnc.dsl.scorelang import ELEMENT, make, replaced


def epilogues(node: Node, block: Block) -> Edits | None:
    """Recognise `f(o, t)` that alone reads a result, t being a tensor with some of its axes.

    Between the two the heads may be merged, as `rearrange` does. The attention then stands where
    `f` did. None unless the kernel that computes it does that as well.
    """
    if node.op != "attend" or node.train or block.target.kind == "cpu":
        return None
    merged = block.reader(node.results[0])
    heads = None if merged is None or merged.op != "rearrange" else _moved(merged)
    last = merged if heads is None or merged is None else block.reader(merged.results[0])
    if last is None or last.train:
        return None
    x = node.results[0] if heads is None else heads.node.results[0]
    attention = cast(Attention, node.args["attention"])
    tensors: dict[str, Beside] = {}
    tree = _read(last, x, Views.of(x, heads), block, tensors, {*attention.tensors})
    if tree is None or not tensors:
        return None
    back = [each.view for each in tensors.values() if each.view is not None]
    attend = _attend(node, tree, {name: each.value for name, each in tensors.items()})
    verdict = block.verdict(node)
    if verdict is None or verdict.backend != FUSING or block.verdict(attend) != verdict:
        return None
    if heads is None:
        return {
            node: (),
            last: [*back, replace(attend, results=(*last.results, *node.results[1:]))],
        }
    together = replace(heads.node, results=last.results)
    return {node: (), heads.node: (), last: [*back, attend, together]}


FUSING = "triton"
"""The backend whose kernels change a result before they store it."""


def _moved(node: Node) -> Factors | None:
    """Return a rearrangement of [b, h, n, d] that keeps all elements."""
    heads = None if node.train else Factors.of(node)
    if heads is None or len(heads.left) != len(ELEMENT):
        return None
    sides = [sorted(name for group in side for name in group) for side in (heads.left, heads.right)]
    return heads if sides[0] == sides[1] else None


def _attend(node: Node, tree: ScoreTree, tensors: Mapping[str, Value]) -> Node:
    attention = cast(Attention, node.args["attention"])
    before = attention.epilogue or Result()
    args: Mapping[str, Arg] = {
        **node.args,
        "tensors": (*cast(tuple[Value, ...], node.args["tensors"]), *tensors.values()),
        "attention": replace(
            attention,
            tensors=(*attention.tensors, *tensors),
            epilogue=replaced(tree, lambda part: before if part == Result() else part),
        ),
    }
    return replace(node, args=args)


# Expressions ------------------------------------------------------------------------------


def _read(
    node: Node, x: Value, views: Views, block: Block, tensors: dict[str, Beside], taken: set[str]
) -> ScoreTree | None:
    """Return what a node computes of `x`, element by element; tensors that it reads are added.

    Args:
        taken: names that other tensors of the attention have.
    """
    names = Names(views, node, tensors, taken)
    if node.op not in _BINARY or node.results[0].shape != x.shape:
        return None
    operands: list[ScoreTree] = []
    for arg in (node.args["a"], node.args["b"]):
        if arg is x:
            operands.append(Result())
        elif isinstance(arg, Value):
            element = _element(arg, block, names) if arg.type.dtype == "float" else None
            if element is None:
                return None
            operands.append(element)
        else:
            operands.append(Constant(float(cast(float, arg))))
    return make(_BINARY[node.op], *operands)


@dataclass(frozen=True, slots=True)
class Names:
    """Tensors beside a result as they are found.

    Attributes:
        views: what kernels read of them.
        source: the node that reads them.
        tensors: by name.
        taken: names that other tensors of the attention have.
    """

    views: Views
    source: Node
    tensors: dict[str, Beside]
    taken: set[str]

    def element(self, value: Value) -> Load | None:
        """Return an element of a tensor, which is added; none where kernels do not read it."""
        name = value.name
        while name in self.taken or name in self.tensors:
            name += "_"
        found = self.views.beside(name, value, self.source)
        if found is None:
            return None
        self.tensors[name] = found
        return found.load


def _element(value: Value, block: Block, names: Names) -> ScoreTree | None:
    """Return an element of a tensor, or of what it is an activation of that nothing else reads."""
    activation = block.own(value, *_ACTIVATIONS)
    if activation is not None and not activation.train:
        inner = _element(cast(Value, activation.args["x"]), block, names)
        return None if inner is None else _ACTIVATIONS[activation.op](inner)
    return names.element(value)


_BINARY = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div"}
_ACTIVATIONS: Mapping[str, Callable[[ScoreTree], ScoreTree]] = {
    "sigmoid": lambda x: make("sigmoid", x),
    "tanh": lambda x: make("tanh", x),
    "relu": lambda x: make("relu", x),
    "silu": lambda x: make("mul", x, make("sigmoid", x)),
}

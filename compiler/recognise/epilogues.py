"""Element-wise work on a result is part of the attention, where a kernel does it before storing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from attnc.compiler.recognise.factors import Factors
from attnc.compiler.recognise.rewriting import Block, Edits
from attnc.dsl.attention import Attention, Constant, Coordinate, Load, Result, ScoreTree
from attnc.dsl.graph import Arg, Node, Value
from attnc.dsl.scorelang import make, replaced

ELEMENT = tuple(map(Coordinate, ("b", "h", "i", "c")))
"""The place of an element of the result."""


def epilogues(node: Node, block: Block) -> Edits | None:
    """Recognise `f(o, t)` that alone reads a result, t being a tensor of its shape.

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
    tensors: dict[str, Value] = {}
    tree = _read(last, x, block, tensors, {*attention.tensors})
    if tree is None or not tensors:
        return None
    back = [] if heads is None else [_apart(heads, *each) for each in tensors.items()]
    beside = [each.results[0] for each in back] or [*tensors.values()]
    attend = _attend(node, tree, dict(zip(tensors, beside, strict=True)))
    verdict = block.verdict(node)
    if verdict is None or verdict.backend != FUSING or block.verdict(attend) != verdict:
        return None
    if heads is None:
        return {node: (), last: [replace(attend, results=(*last.results, *node.results[1:]))]}
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


def _apart(heads: Factors, name: str, merged: Value) -> Node:
    """Return the view [b, h, n, d] of a tensor whose heads are merged."""
    node = heads.again(merged, heads.right, heads.left)
    return replace(node, results=(replace(node.results[0], name=name),))


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
    node: Node, x: Value, block: Block, tensors: dict[str, Value], taken: set[str]
) -> ScoreTree | None:
    """Return what a node computes of `x`, element by element; tensors that it reads are added.

    Args:
        taken: names that other tensors of the attention have.
    """
    if node.op not in _BINARY or node.results[0].shape != x.shape:
        return None
    operands: list[ScoreTree] = []
    for arg in (node.args["a"], node.args["b"]):
        if arg is x:
            operands.append(Result())
        elif isinstance(arg, Value):
            if arg.shape != x.shape or arg.type.dtype != "float":
                return None
            operands.append(_element(arg, block, tensors, taken))
        else:
            operands.append(Constant(float(cast(float, arg))))
    return make(_BINARY[node.op], *operands)


def _element(value: Value, block: Block, tensors: dict[str, Value], taken: set[str]) -> ScoreTree:
    """Return an element of a tensor, or of what it is an activation of that nothing else reads."""
    activation = block.own(value, *_ACTIVATIONS)
    if activation is not None and not activation.train:
        x = cast(Value, activation.args["x"])
        return _ACTIVATIONS[activation.op](_element(x, block, tensors, taken))
    name = value.name
    while name in taken or name in tensors:
        name += "_"
    tensors[name] = value
    return Load(name, ELEMENT)


_BINARY = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div"}
_ACTIVATIONS: Mapping[str, Callable[[ScoreTree], ScoreTree]] = {
    "sigmoid": lambda x: make("sigmoid", x),
    "tanh": lambda x: make("tanh", x),
    "relu": lambda x: make("relu", x),
    "silu": lambda x: make("mul", x, make("sigmoid", x)),
}

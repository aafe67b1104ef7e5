"""Work on single elements or rows beside attentions, and the traffic that fusing it would save."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx, nn

from attnc.compiler.cost import type_bytes
from attnc.compiler.kernel import Site, Target
from attnc.compiler.leaf import Attend
from attnc.compiler.passes.shapes import origin, type_of
from attnc.compiler.sites import site_operands
from attnc.compiler.targets import float_bytes
from attnc.dsl.attention import Result
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import loads


@dataclass(frozen=True, slots=True)
class Fusible:
    """Work on elements, or on rows of q and k, beside an attention.

    Attributes:
        operand: `q`, `k0`, `v0` ... for what feeds it, `out` for what reads its result, `beside`
            for an attention that takes its result into what follows its own.
        names: what the spec calls the results, nearest to the attention first.
        bytes: memory traffic that fusing would save: one write and one read of the operand.
    """

    operand: str
    names: tuple[str, ...]
    bytes: Size


def fusible(node: fx.Node, site: Site, module: nn.Module, target: Target) -> tuple[Fusible, ...]:
    """Return what could be fused into an attention node of a block."""
    found = []
    for (operand, type_), argument in zip(site_operands(site), node.args, strict=False):
        if isinstance(argument, fx.Node) and not operand.startswith("t"):
            found.append((operand, type_, [*_feeding(argument, module, operand[0] in "qk")]))
    result = type_of(node)
    if result is not None:
        found.append(("out", result, [*_reading(node, module)]))
        found.append(("beside", result, [*_joining(node, module)]))
    width = float_bytes(target)
    return tuple(
        Fusible(operand, tuple(names), 2 * type_bytes(type_, width))
        for operand, type_, names in found
        if names
    )


def _feeding(node: fx.Node, module: nn.Module, by_row: bool) -> Iterator[str]:
    """Yield the names of element-wise results that reach an operand and nothing else.

    Args:
        by_row: whether norms of rows count, too, as those of q and k do.
    """
    works = _is_pointwise(node, module) or (by_row and _is_norm(node, module))
    if len(node.users) != 1 or not (works or _is_view(node)):
        return
    if works:
        yield _name(node)
    for source in node.all_input_nodes:
        yield from _feeding(source, module, by_row)


def _reading(node: fx.Node, module: nn.Module) -> Iterator[str]:
    """Yield the names of element-wise results computed from an attention's result alone."""
    while len(node.users) == 1:
        (node,) = node.users
        if _is_pointwise(node, module):
            yield _name(node)
        elif not _is_view(node):
            return


def _joining(node: fx.Node, module: nn.Module) -> Iterator[str]:
    """Yield the attention that alone reads a result, after its own."""
    while len(node.users) == 1:
        of, (node,) = node, node.users
        leaf = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(leaf, Attend) and leaf.site.attention.epilogue is not None:
            operands = zip(site_operands(leaf.site), node.args, strict=True)
            names = [name for (name, _), argument in operands if argument is of]
            beside = {f"t{number}" for number in _followers(leaf.site)}
            yield from [leaf.site.name] if beside.issuperset(names) else []
        if not _is_view(node):
            return


def _followers(site: Site) -> Iterator[int]:
    """Yield the numbers of the tensors that what follows a result reads."""
    read = loads(site.attention.epilogue or Result())
    yield from (at for at, name in enumerate(site.attention.tensors) if name in read)


def _name(node: fx.Node) -> str:
    return (*origin(node).names, node.name)[0]


def _is_view(node: fx.Node) -> bool:
    return node.target in VIEWS if node.op == "call_method" else node.target is operator.getitem


def _is_pointwise(node: fx.Node, module: nn.Module) -> bool:
    """Say whether a node works element by element; a block does if all its steps do."""
    if node.op != "call_module":
        return node.target in POINTWISE
    block = module.get_submodule(str(node.target))
    return isinstance(block, fx.GraphModule) and all(
        inner.op in ("placeholder", "output", "get_attr")
        or inner.target in JOINS
        or inner.target is getattr
        or _is_view(inner)
        or _is_pointwise(inner, block)
        for inner in block.graph.nodes
    )


def _is_norm(node: fx.Node, module: nn.Module) -> bool:
    """Say whether a node brings the rows of its last axis to one size."""
    if node.op != "call_module":
        return node.target is F.normalize and node.kwargs.get("dim") in (-1,)
    leaf = module.get_submodule(str(node.target))
    return isinstance(leaf, (nn.LayerNorm, nn.RMSNorm)) and len(leaf.normalized_shape) == 1


VIEWS = frozenset({
    "transpose", "permute", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand",
    "chunk", "split", "unbind",
})  # fmt: skip
JOINS: frozenset[object] = frozenset({torch.cat, torch.stack, torch.arange})
POINTWISE: frozenset[object] = frozenset({
    operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, operator.pow,
    torch.sin, torch.cos, torch.exp, torch.sqrt, torch.tanh, torch.sigmoid, torch.clamp,
    torch.where, F.gelu, F.relu, F.silu, "to",
})  # fmt: skip
"""Functions of one element each."""

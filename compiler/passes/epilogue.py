"""Epilogue: what stands around an attention moves into it, or is marked as able to.

A number that scales q or k becomes part of the score; copies of q, k and v into another memory
order go, as kernels take any strides. Element-wise work that only feeds an attention, or only
reads its result, stays where it is and is marked with the bytes that fusing it would save.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, count
from typing import cast

from torch import fx, nn
from torch.fx.node import Argument

from attnc.compiler.instances import container
from attnc.compiler.kernel import Site, Target
from attnc.compiler.leaf import Attend
from attnc.compiler.passes.fusible import fusible
from attnc.compiler.passes.rewrite import distinct, replace_node, rewritten
from attnc.compiler.sites import site_operands
from attnc.compiler.template import nodes_in
from attnc.dsl import scorelang
from attnc.dsl.attention import Apply, Constant, Dot, ScoreTree, Source

VIEWS = frozenset(
    {"transpose", "permute", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"}
)
"""Methods that a factor of all elements passes through."""


def epilogue(module: fx.GraphModule, target: Target) -> fx.GraphModule:
    """Return the module with scales inside the scores, and its fusible neighbours marked.

    Marks are in `meta["fusible"]` of each block: path of the attention -> `Fusible`s.
    """
    new = rewritten(module, partial(_edit, target=target))
    _name_apart(new)
    return new


def check_epilogue(module: fx.GraphModule) -> None:
    """Check that no scale and no copy is left before an attention, and that names are unique.

    Raises:
        AssertionError: one is.
    """
    contents: dict[str, Site] = {}
    for block in distinct(module):
        for node, leaf in attentions(block.graph, block):
            assert next(_factors(node, leaf.site), None) is None, f"{node.name} has a scale outside"
            assert not _copies(node), f"{node.name} copies an operand"
            same = contents.setdefault(leaf.site.name, leaf.site) == leaf.site
            assert same, f"two sites are called {leaf.site.name}"


def attentions(graph: fx.Graph, module: nn.Module) -> Iterator[tuple[fx.Node, Attend]]:
    """Yield the attention nodes of a block with their leaves, in order."""
    for node in graph.find_nodes(op="call_module"):
        leaf = module.get_submodule(str(node.target))
        if isinstance(leaf, Attend):
            yield node, leaf


def _edit(graph: fx.Graph, module: fx.GraphModule, target: Target) -> None:
    marks = {}
    for node, leaf in [*attentions(graph, module)]:
        for copy in _copies(node):
            replace_node(copy, cast(fx.Node, copy.args[0]))
        site = leaf.site
        for at, scaling, factor in [*_factors(node, site)]:
            replace_node(scaling, scaling.all_input_nodes[0])
            site = _scaled(site, at, factor)
        holder, name = container(module, str(node.target))
        holder.add_module(name, Attend(site, leaf.provider))
        marks[str(node.target)] = fusible(node, site, module, target)
    if marks:
        module.meta["fusible"] = marks


def _copies(node: fx.Node) -> list[fx.Node]:
    """Return the operands that are copies into another memory order, for this node alone."""
    operands = [arg for arg in node.args if isinstance(arg, fx.Node)]
    return [each for each in operands if each.target == "contiguous" and len(each.users) == 1]


# Scales -----------------------------------------------------------------------------------


def _factors(node: fx.Node, site: Site) -> Iterator[tuple[int | None, fx.Node, float]]:
    """Yield the scalings of q and k that serve this attention alone.

    Each is (the source whose k it scales, or none for q; the scaling node; its factor).
    """
    if any(map(_reads_distance, site.attention.sources)):
        return  # l1(q, k) is no multiple of that of scaled vectors
    sources = {"q": None, **{f"k{number}": number for number in range(len(site.sources))}}
    for (name, _), operand in zip(site_operands(site), node.args, strict=True):
        if name in sources and isinstance(operand, fx.Node):
            scaling = _scaling(operand, node)
            if scaling is not None:
                yield sources[name], *scaling


def _reads_distance(source: Source) -> bool:
    trees = (source.score, scorelang.allowed(source), source.post)
    return any(tree is not None and scorelang.has_distance(tree) for tree in trees)


def _scaling(operand: fx.Node, reader: fx.Node) -> tuple[fx.Node, float] | None:
    """Return the node that scales an operand by a number, and the number, seen through views."""
    while [*operand.users] == [reader] and nodes_in(reader.args).count(operand) == 1:
        rule = _SCALINGS.get(operand.target)
        if rule is not None:
            factor = rule(*operand.args)
            return None if factor is None else (operand, factor)
        if operand.op != "call_method" or operand.target not in VIEWS:
            return None
        operand, reader = cast(fx.Node, operand.args[0]), operand
    return None


def _multiplied(left: Argument, right: Argument) -> float | None:
    factor = right if isinstance(left, fx.Node) else left
    return factor if isinstance(factor, (int, float)) else None


def _divided(left: Argument, right: Argument) -> float | None:
    return 1 / right if isinstance(right, (int, float)) and right else None


_SCALINGS: Mapping[object, Callable[..., float | None]] = {
    operator.mul: _multiplied,
    operator.truediv: _divided,
}


def _scaled(site: Site, at: int | None, factor: float) -> Site:
    """Return the site with q . k scaled, in one source or in all."""

    def scaled(tree: ScoreTree) -> ScoreTree:
        return scorelang.product(tree, Constant(factor)) if isinstance(tree, Dot) else tree

    def changed(source: Source) -> Source:
        domain = scorelang.with_trees(source.domain, lambda tree: _replaced(tree, scaled))
        mask = None if source.mask is None else _replaced(source.mask, scaled)
        post = None if source.post is None else _replaced(source.post, scaled)
        score = _replaced(source.score, scaled)
        return replace(source, domain=domain, score=score, mask=mask, post=post)

    sources = site.attention.sources
    kept = (source if at not in (None, s) else changed(source) for s, source in enumerate(sources))
    return replace(site, attention=replace(site.attention, sources=tuple(kept)))


def _replaced(tree: ScoreTree, change: Callable[[ScoreTree], ScoreTree]) -> ScoreTree:
    tree = scorelang.simplify(scorelang.replaced(tree, change))
    return scorelang.replaced(tree, _one_factor)


def _one_factor(tree: ScoreTree) -> ScoreTree:
    """Write `qk * 0.5 * 3` as `qk * 1.5`."""
    match tree:
        case Apply("mul", (Apply("mul", (inner, Constant(one))), Constant(other))):
            return scorelang.product(inner, Constant(one * other))
    return tree


def _name_apart(root: nn.Module) -> None:
    """Give sites with different contents different names again."""
    names: dict[Site, str] = {}
    for module in root.modules():
        for name, leaf in module.named_children():
            if isinstance(leaf, Attend):
                content = replace(leaf.site, name="")
                if content not in names:
                    wishes = (f"{leaf.site.name}_{number}" for number in count(2))
                    free = (w for w in chain([leaf.site.name], wishes) if w not in names.values())
                    names[content] = next(free)
                if names[content] != leaf.site.name:
                    site = replace(content, name=names[content])
                    module.add_module(name, Attend(site, leaf.provider))

"""Domains that differ between groups of heads: an attention for each group."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from attnc.backends.formula import formula
from attnc.backends.tiled.local import with_expressions
from attnc.backends.torch_function import TorchFunction
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Constant, Coordinate, PerHeads, ScoreTree
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import make, replaced, simplify, with_trees


def by_heads(site: Site) -> tuple[Site, ...]:
    """Return an attention for each group of heads; none where all heads have one domain."""
    attention = site.attention
    domains = [source.domain for source in attention.sources]
    if len(domains) > 1 or attention.outputs != ("out",) or site.vq is not None:
        return ()
    ((k, v),), (domain,) = site.sources, domains
    if not isinstance(domain, PerHeads):
        return ()
    groups = len(domain.domains)
    heads, shared = site.q.shape[1], k.shape[1]
    if not isinstance(heads, int) or not isinstance(shared, int) or shared % groups:
        return ()
    share, each = heads // groups, shared // groups
    (source,) = attention.sources
    made = []
    for number, part in enumerate(domain.domains):
        counted = partial(_from_head, first=number * share)
        own = replace(with_expressions(source, counted), domain=with_trees(part, counted))
        rows = attention.renormalise
        made.append(
            replace(
                site,
                name=f"{site.name}_heads{number}",
                attention=replace(
                    attention,
                    sources=(own,),
                    renormalise=None if rows is None else counted(rows),
                ),
                q=_with_heads(site.q, share),
                sources=((_with_heads(k, each), _with_heads(v, each)),),
            )
        )
    return tuple(made)


def heads_entry(site: Site, groups: tuple[Site, ...]) -> str:
    """Return the function that models call."""
    function = TorchFunction(site)
    results = []
    i = j = 0
    for number, group in enumerate(groups):
        heads, shared = int(str(group.q.shape[1])), int(str(group.sources[0][0].shape[1]))
        given = [f"q[:, {i}:{i + heads}]"]
        given += [f"{name}[:, {j}:{j + shared}]" for name in "kv"]
        given += function.parameters[3:]
        call = function.call(group.name, given, ahead=f"part{number} = ")
        function.line(f"part{number} = {call}")
        results.append(f"part{number}")
        i, j = i + heads, j + shared
    return function.source(formula(site.attention), f"beside({', '.join(results)})")


def _from_head(tree: ScoreTree, first: int) -> ScoreTree:
    """Return the tree with heads counted from the first one of a group."""

    def change(part: ScoreTree) -> ScoreTree:
        return make("add", part, Constant(first)) if part == Coordinate("h") else part

    return simplify(replaced(tree, change)) if first else tree


def _with_heads(type_: TensorType, heads: int) -> TensorType:
    return TensorType((type_.shape[0], heads, *type_.shape[2:]), type_.dtype)

"""Recognition: what a spec composes by hand becomes the attention that it is.

Recognisers work on the checked graph, where shapes are known, before it is lowered. Each looks at
one node at a time and returns the nodes that stand for it, or none; what nothing uses any more
goes. Weights and their names stay as they are.
"""

from __future__ import annotations

from attnc.compiler.kernel import Target
from attnc.compiler.recognise.concatenated import concatenated_keys
from attnc.compiler.recognise.products import products
from attnc.compiler.recognise.rewriting import Recogniser, rewritten
from attnc.dsl.graph import Graph

RECOGNISERS: tuple[Recogniser, ...] = (products, concatenated_keys)
"""All, in order: an attention that one has found may be improved by the next."""


def recognise(graph: Graph, target: Target) -> Graph:
    """Return an equal graph in which attentions written by hand are `attend` nodes."""
    for recogniser in RECOGNISERS:
        graph = rewritten(graph, recogniser, target)
    return graph

"""Recognition: what a spec composes by hand becomes the attention that it is.

Recognisers work on the checked graph, where shapes are known, before it is lowered. Each looks at
one node at a time and returns the nodes that stand for it, or edits of several nodes of the block,
or none; what nothing uses any more goes. Weights and their names stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from attnc.compiler.kernel import Backend, Target
from attnc.compiler.recognise.around import windows_around
from attnc.compiler.recognise.concatenated import concatenated_keys
from attnc.compiler.recognise.duplex import duplex
from attnc.compiler.recognise.early import early_windows
from attnc.compiler.recognise.early_gathers import early_gathers
from attnc.compiler.recognise.epilogues import epilogues
from attnc.compiler.recognise.gathered import gathered_keys
from attnc.compiler.recognise.joined import joined_contexts
from attnc.compiler.recognise.products import products
from attnc.compiler.recognise.prologues import prologues
from attnc.compiler.recognise.reused import reused_maps
from attnc.compiler.recognise.rewriting import Machine, Recogniser, rewritten
from attnc.compiler.recognise.windows import windows_in_batch
from attnc.dsl.graph import Graph

RECOGNISERS: tuple[Recogniser, ...] = (
    products, reused_maps, duplex, early_windows, windows_in_batch, windows_around, early_gathers,
    gathered_keys, joined_contexts, concatenated_keys, epilogues,
    prologues,
)  # fmt: skip
"""All, in order: an attention that one has found may be improved by the next."""


def recognise(graph: Graph, target: Target, backends: Sequence[Backend], asked: str = "") -> Graph:
    """Return an equal graph in which attentions written by hand are `attend` nodes.

    Args:
        backends: those that may be chosen, for rewritings that pay with some of them only.
        asked: one that goes before the preference of the target; empty for none.
    """
    machine = Machine(target, backends, asked)
    for recogniser in RECOGNISERS:
        graph = rewritten(graph, recogniser, machine)
    return graph

"""Attention itself, without what stands before it and what follows it."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.backends.epilogue import without_epilogue
from attnc.backends.prologue import without_prologues
from attnc.compiler.kernel import Site
from attnc.dsl.attention_text import prologue_text
from attnc.dsl.scorelang import simplify, text


def bare(site: Site) -> Site:
    """Return the site that multiplies q and k as they are, and gives the result as it is."""
    return without_epilogue(without_prologues(site))


def beyond_bare(site: Site) -> Iterator[str]:
    """Yield why a kernel for q, k and the result as they are does not serve a site."""
    for prologue in site.attention.prologues:
        yield f"it multiplies operands as they are; here {prologue_text(site.attention, prologue)}"
    tree = site.attention.epilogue
    if tree is not None:
        yield f"it gives the result as it is, not {text(simplify(tree))}"

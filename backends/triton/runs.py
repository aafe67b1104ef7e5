"""Blocks of given lengths: runs of tokens, each of which sees the run with its number."""

from __future__ import annotations

from itertools import accumulate, pairwise

from attnc.backends.triton.layouts import BLOCK, SLOT, Layout, View, Views
from attnc.backends.triton.local import Anchor
from attnc.dsl.attention import Blocks, Coordinate, ScoreTree
from attnc.dsl.scorelang import make, size_tree
from attnc.dsl.scorelang.domains import query_slot, slot


def run_views(domain: Blocks) -> Views | None:
    """Return the views of runs whose lengths are numbers; none for others."""
    queries, keys = _layout(domain.queries), _layout(domain.keys)
    if queries is None or keys is None:
        return None
    by_query = View((queries,), (keys,), exact=True)
    return Views(by_query, View((keys,), (queries,), exact=True) if queries != keys else by_query)


def run_anchors(domain: Blocks) -> tuple[Anchor, ...]:
    """Return what is known of positions in runs."""
    i, j = Coordinate("i"), Coordinate("j")
    bases = ("run", "run" if domain.queries == domain.keys else "run of keys")
    slots = ((query_slot(domain), i), (slot(domain), j))
    found = [Anchor(tree, "", 0, 1, token) for tree, token in slots if tree is not None]
    return (*found, *(Anchor(at, base, 0, 1, at) for at, base in zip((i, j), bases, strict=True)))


def _layout(lengths: tuple[object, ...]) -> Layout | None:
    known = [length for length in lengths if isinstance(length, int)]
    if len(known) < len(lengths):
        return None
    starts = [0, *accumulate(known)][:-1]
    place = make("add", _at_block(starts), SLOT)
    most, total = max(known), sum(known)
    meaning = f"Runs of {', '.join(map(str, known))}" if len(known) < 6 else "Runs of tokens"
    return Layout(len(known), most, (total,), (place,), (), (_at_block(known),), meaning)


def _at_block(values: list[int]) -> ScoreTree:
    """Return the value of a block as a tree of its number."""
    tree = size_tree(values[0])
    for number, (before, value) in enumerate(pairwise(values), start=1):
        if value != before:
            rise = make("where", make("ge", BLOCK, size_tree(number)), size_tree(value - before),
                        size_tree(0))  # fmt: skip
            tree = make("add", tree, rise)
    return tree

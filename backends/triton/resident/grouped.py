"""Few queries whose heads share keys: the heads of a group become rows of one tile.

The core has as many heads of q as of k. Its row r of a head is query r % n of head
h * group + r // n of the site, so that keys are read once for all heads that share them.
"""

from __future__ import annotations

from dataclasses import replace

from attnc.backends.torch_function import TorchFunction
from attnc.backends.triton.resident.configs import MOST
from attnc.compiler.kernel import Site
from attnc.dsl.attention import All, ArgmaxKeys, Coordinate, ScoreTree, SoftmaxKeys
from attnc.dsl.scorelang import allowed, make, replaced, simplify, size_tree


def core(site: Site) -> Site:
    """Return the site whose rows are those of all heads of a group; the same where none is."""
    group, queries = group_of(site), site.q.shape[2]
    if group == 1 or not isinstance(queries, int) or group * queries > MOST:
        return site
    attention = site.attention
    over_keys = isinstance(attention.normaliser, (SoftmaxKeys, ArgmaxKeys))
    if not over_keys or len(site.sources) > 1 or attention.given:
        return site
    (source,), ((key, _),) = attention.sources, site.sources

    def at_row(tree: ScoreTree | None) -> ScoreTree | None:
        return None if tree is None else simplify(_at_row(tree, group, queries))

    score = at_row(source.score)
    assert score is not None
    rows = replace(source, domain=All(), score=score, mask=at_row(allowed(source)),
                   post=at_row(source.post))  # fmt: skip
    batch, _, _, dim = site.q.shape
    q = replace(site.q, shape=(batch, key.shape[1], group * queries, dim))
    attention = replace(attention, sources=(rows,))
    return replace(site, name=f"{site.name}_core", attention=attention, q=q)


def group_of(site: Site) -> int:
    """Return how many heads of q share one of k; 1 where that is no number."""
    heads = site.q.shape[1]
    shared = {key.shape[1] for key, _ in site.sources}
    (one, *others) = shared
    if others or not isinstance(heads, int) or not isinstance(one, int) or heads % one:
        return 1
    return heads // one


def _at_row(tree: ScoreTree, group: int, queries: int) -> ScoreTree:
    """Return a tree of head and query as one of shared head and row."""
    row, head = Coordinate("i"), make("mul", Coordinate("h"), size_tree(group))
    if queries == 1:
        places = {"i": size_tree(0), "h": make("add", head, row)}
    else:
        member = make("floordiv", row, size_tree(queries))
        places = {"i": make("mod", row, size_tree(queries)), "h": make("add", head, member)}

    def change(part: ScoreTree) -> ScoreTree:
        return places.get(part.name, part) if isinstance(part, Coordinate) else part

    return replaced(tree, change)


def entry(site: Site, formula: str) -> str:
    """Return the function that models call: heads of a group as rows, the core, and back."""
    made = TorchFunction(site)
    group, queries = group_of(site), site.q.shape[2]
    made.line(f"q = q.unflatten(1, (-1, {group})).flatten(2, 3)  # heads of a group as rows")
    results = site.attention.outputs
    name = f"{site.name}_core"
    made.line(f"{', '.join(results)} = {made.call(name, made.parameters, ' ' * 8)}")
    apart = f".unflatten(2, ({group}, {queries})).flatten(1, 2)"
    for each in results:
        made.line(f"{each} = {each}{apart}")
    return made.source(formula, ", ".join(results))

"""What a spec says about its model: the paper it follows, and claims to hold it against."""

from __future__ import annotations

from attnc.dsl import codes, tree
from attnc.dsl.claims import read_claims, symbolic_sizes
from attnc.dsl.diagnostics import Collector
from attnc.dsl.plain_data import Record

PAPER = (
    "title", "authors", "year", "venue", "arxiv", "url", "repository", "license", "follows",
    "deviations",
)  # fmt: skip
"""Keys of `paper`."""

FOLLOWED = ("code", "paper")
"""What a spec follows where paper and code differ."""


def check_facts(spec: tree.Spec, collector: Collector) -> None:
    """Report unknown keys, and missing ones, in `paper` and in the claims of variants."""
    if spec.paper is not None:
        _check_paper(spec.paper, collector)
    for variant in spec.variants:
        read_claims(variant, symbolic_sizes(spec), collector)


def _check_paper(paper: tree.MapOf, collector: Collector) -> None:
    record = Record.of(paper, "paper", collector)
    found = {key: record.take(key) for key in PAPER}
    record.close()
    followed = found["follows"]
    if followed is not None and followed not in [tree.Text(each, paper.span) for each in FOLLOWED]:
        collector.add(codes.WRONG_KIND.at(
            followed.span, where="'follows' of paper", expected=" or ".join(FOLLOWED),
            found=f"'{followed.span.text}'",
        ))  # fmt: skip
    for item in _items(found["deviations"]):
        _check_entry(item, "a deviation", "what", ("source",), collector)


def _check_entry(
    node: tree.Expr, where: str, needed: str, others: tuple[str, ...], collector: Collector
) -> None:
    """Check the keys of a map. One that is misspelt may be the one that is missing."""
    record = Record.of(node, where, collector)
    for key in (needed, *others):
        record.take(key)
    record.close()
    if isinstance(node, tree.MapOf) and record.items.keys() <= {needed, *others}:
        record.need(needed)


def _items(node: tree.Expr | None) -> tuple[tree.Expr, ...]:
    """Return the items of a list; one item by itself counts as a list."""
    if node is None:
        return ()
    return node.items if isinstance(node, tree.ListOf) else (node,)

"""Which domains are walked by block, and what their reads by pair become there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attnc.backends.triton.boxes import box_anchors, box_views
from attnc.backends.triton.layouts import View, Views
from attnc.backends.triton.local import Anchor, local_read
from attnc.backends.triton.routes import Derived, derived_of, route_views
from attnc.backends.triton.runs import run_anchors, run_views
from attnc.backends.triton.windows import window_anchors, window_views
from attnc.dsl.attention import (
    Blocks,
    Domain,
    Load,
    Neighborhood,
    Overlapping,
    PerHeads,
    RoutedRegions,
    ScoreTree,
    Source,
    Windows,
)
from attnc.dsl.dims import Shape
from attnc.dsl.scorelang import allowed, coordinates, loads, simplify


@dataclass(frozen=True, slots=True)
class Blocked:
    """A domain by block.

    Attributes:
        views: the blocks of queries and those of keys.
        anchors: what is known of positions in each of the two; none where heads differ.
        derived: what launchers make of index tensors.
    """

    views: Views
    anchors: tuple[tuple[Anchor, ...], tuple[Anchor, ...]] = ((), ())
    derived: tuple[Derived, ...] = ()


def blocked(source: Source, shapes: Mapping[str, Shape]) -> Blocked | None:
    """Return a source by block; none where tokens in a row serve it, or where they must.

    They must where blocks read a float tensor by pair in ways of their own, and where they stand
    depends on data or on the head.

    Args:
        source: placed.
        shapes: of captured tensors.
    """
    found = _of_domain(source.domain, shapes)
    if found is None:
        return None
    trees = [source.score, *([source.post] if source.post is not None else [])]
    reads = [read for tree in trees for read in pair_reads(simplify(tree))]
    local = (local_read(load, anchors) for load in reads for anchors in found.anchors)
    is_local = all(load is not None for load in local)
    return found if is_local or _is_known(found.views.by_query, found) else None


def _is_known(view: View, found: Blocked) -> bool:
    """Say whether launchers can tell the tokens of all slots."""
    sizes = (size for side in (view.own[0], view.seen[0]) for size in (side.blocks, side.slots))
    return view.even and not found.derived and all(isinstance(size, int) for size in sizes)


def pair_reads(tree: ScoreTree) -> Iterator[Load]:
    """Yield the reads of float tensors that depend on both query and key."""
    for each in loads(tree).values():
        yield from (
            load for load in each if load.dtype == "float" and coordinates(load) >= {"i", "j"}
        )


def condition_within(source: Source, view: View) -> ScoreTree | None:
    """Return the condition on pairs that a block sees; none where all of them are allowed."""
    if not view.exact:
        return allowed(source)
    return None if source.mask is None else simplify(source.mask)


def _of_domain(domain: Domain, shapes: Mapping[str, Shape]) -> Blocked | None:
    match domain:
        case Windows():
            anchors = window_anchors(domain)
            return Blocked(window_views(domain), (anchors, anchors))
        case Neighborhood() | Overlapping():
            return Blocked(box_views(domain), box_anchors(domain))
        case Blocks():
            runs, anchors = run_views(domain), run_anchors(domain)
            return None if runs is None else Blocked(runs, (anchors, anchors))
        case RoutedRegions():
            derived = tuple(derived_of(domain, shapes[domain.index.tensor]))
            return Blocked(route_views(domain), derived=derived)
        case PerHeads(domains):
            return _by_heads([_of_domain(each, shapes) for each in domains])
    return None


def _by_heads(parts: Sequence[Blocked | None]) -> Blocked | None:
    views = [each.views for each in parts if each is not None and each.views.by_query.even]
    if len(views) < len(parts):
        return None
    by_query, by_key = (
        View(
            tuple(each.own[0] for each in side), tuple(each.seen[0] for each in side),
            all(each.exact for each in side),
        )
        for side in ([each.by_query for each in views], [each.by_key for each in views])
    )  # fmt: skip
    derived = dict.fromkeys(made for each in parts if each for made in each.derived)
    return Blocked(Views(by_query, by_key), derived=tuple(derived))

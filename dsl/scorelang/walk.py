"""What a score tree holds: tensors, coordinates, the dot product; and replacement inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from attnc.dsl.attention import (
    L1,
    Among,
    Apply,
    Coordinate,
    Dot,
    Extent,
    Load,
    Result,
    ScoreTree,
    Weight,
)
from attnc.dsl.dims import Size, substitute

COORDINATES = ("b", "h", "i", "j")
"""Batch, head of q, query, key: the order of the axes of scores."""

ELEMENT = ("b", "h", "i", "c")
"""Batch, head, query, channel: the order of the axes of a result."""


def subtrees(tree: ScoreTree) -> Iterator[ScoreTree]:
    """Yield the tree and all trees inside, indices of loads included, outermost first."""
    yield tree
    for inner in _inner(tree):
        yield from subtrees(inner)


def loads(tree: ScoreTree) -> Mapping[str, tuple[Load, ...]]:
    """Return the different loads of each tensor, by name in order of appearance."""
    found: dict[str, tuple[Load, ...]] = {}
    for part in subtrees(tree):
        if isinstance(part, Load) and part not in found.get(part.tensor, ()):
            found[part.tensor] = (*found.get(part.tensor, ()), part)
    return found


def coordinates(tree: ScoreTree) -> frozenset[str]:
    """Return which of `b h i j` the tree reads."""
    return frozenset(part.name for part in subtrees(tree) if isinstance(part, Coordinate))


def extents(tree: ScoreTree) -> frozenset[Size]:
    """Return the sizes that the tree reads."""
    parts = list(subtrees(tree))
    counts = (part.count for part in parts if isinstance(part, Among))
    return frozenset(
        [*(part.size for part in parts if isinstance(part, Extent)),
         *(count for count in counts if not isinstance(count, int))]
    )  # fmt: skip


def has_dot(tree: ScoreTree) -> bool:
    """Say whether the tree reads `qk`."""
    return any(isinstance(part, Dot) for part in subtrees(tree))


def has_distance(tree: ScoreTree) -> bool:
    """Say whether the tree reads `l1(q, k)`."""
    return any(isinstance(part, L1) for part in subtrees(tree))


def reads_pair(tree: ScoreTree) -> bool:
    """Say whether the tree reads the vectors of query and key: `qk` or `l1(q, k)`."""
    return has_dot(tree) or has_distance(tree)


def has_weight(tree: ScoreTree) -> bool:
    """Say whether the tree reads `w`."""
    return any(isinstance(part, Weight) for part in subtrees(tree))


def is_scalar(tree: ScoreTree) -> bool:
    """Say whether the tree has one value for all pairs and needs no tensor."""
    varying = (Coordinate, Dot, L1, Weight, Result, Load)
    return not any(isinstance(part, varying) for part in subtrees(tree))


def replaced(tree: ScoreTree, change: Callable[[ScoreTree], ScoreTree]) -> ScoreTree:
    """Return the tree with `change` applied to every part, innermost first."""
    match tree:
        case Apply(_, arguments):
            tree = replace(tree, arguments=tuple(replaced(part, change) for part in arguments))
        case Load(_, indices):
            tree = replace(tree, indices=tuple(replaced(part, change) for part in indices))
        case Among(value, row):
            changed = replaced(row, change)
            assert isinstance(changed, Load), "a row of an index is read from a tensor"
            tree = replace(tree, value=replaced(value, change), row=changed)
    return change(tree)


def rename(tree: ScoreTree, names: Mapping[str, str]) -> ScoreTree:
    """Return the tree with tensors called by other names."""

    def change(part: ScoreTree) -> ScoreTree:
        if isinstance(part, Load):
            return replace(part, tensor=names.get(part.tensor, part.tensor))
        return part

    return replaced(tree, change)


def with_sizes(tree: ScoreTree, values: Mapping[str, Size]) -> ScoreTree:
    """Return the tree with symbols of its sizes replaced."""

    def change(part: ScoreTree) -> ScoreTree:
        match part:
            case Extent(size):
                return Extent(substitute(size, values))
            case Among(_, _, count):
                return replace(part, count=substitute(count, values))
        return part

    return replaced(tree, change)


def _inner(tree: ScoreTree) -> tuple[ScoreTree, ...]:
    match tree:
        case Apply(_, arguments):
            return arguments
        case Load(_, indices):
            return indices
        case Among(value, row):
            return value, row
    return ()

"""Scores by place in a window: trees in which it does not matter which window a pair is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from attnc.dsl.attention import Apply, Constant, Coordinate, Load, ScoreTree, Source, Windows
from attnc.dsl.dims import Shape
from attnc.dsl.scorelang import coordinates, make, simplify, size_tree
from attnc.dsl.scorelang.grids import along, query_slots, reaches

START = "start"
"""Begins the names that stand for the first position of a window along each axis."""


class Differs(Exception):
    """An expression differs between windows, or between elements of the batch."""


def in_window(tree: ScoreTree, domain: Windows, sizes: Shape) -> ScoreTree:
    """Return a tree of places `i` and `j` in a window of such sizes, row by row.

    Raises:
        Differs: there is none.
    """
    assert domain.grid is not None
    known: dict[ScoreTree, ScoreTree] = {}
    for axis in range(len(sizes)):
        start, step = Coordinate(f"{START}{axis}"), size_tree(domain.dilation[axis])
        for token, grid in (("i", domain.grid.queries), ("j", domain.grid.keys)):
            place = along(token, sizes, axis)
            slot = query_slots(domain)[axis] if token == "i" else reaches(domain)[axis].slot
            known[along(token, grid, axis)] = make("add", start, make("mul", place, step))
            known.setdefault(slot, place)
    local = _cancelled(_rewritten(simplify(tree), known))
    read = coordinates(local)
    if not read <= {"h", "i", "j"}:
        raise Differs(f"{tree} is not the same in every window")
    return local


def with_expressions(source: Source, change: Callable[[ScoreTree], ScoreTree]) -> Source:
    """Return a source with its score, mask, weight and post changed."""

    def changed(tree: ScoreTree | None) -> ScoreTree | None:
        return None if tree is None else change(tree)

    return replace(
        source,
        score=change(source.score),
        mask=changed(source.mask),
        weight=changed(source.weight),
        post=changed(source.post),
    )


def _rewritten(tree: ScoreTree, known: Mapping[ScoreTree, ScoreTree]) -> ScoreTree:
    """Replace what is known; any other read of a token's coordinate is marked as unknown."""
    if tree in known:
        return known[tree]
    match tree:
        case Coordinate("i" | "j" | "b" as name):
            return Coordinate(f"unknown {name}")
        case Apply(function, arguments):
            return make(function, *(_rewritten(part, known) for part in arguments))
        case Load(_, indices):
            return replace(tree, indices=tuple(_rewritten(part, known) for part in indices))
    return tree


def _cancelled(tree: ScoreTree) -> ScoreTree:
    """Return the tree with equal terms of its int sums taken together."""
    match tree:
        case Load(_, indices):
            return replace(tree, indices=tuple(map(_cancelled, indices)))
        case Apply("add" | "sub" | "neg" | "mul") if tree.type == "int":
            terms = _terms(tree)
            constant = terms.pop(_ONE, 0)
            total: ScoreTree = Constant(0)
            for atom, count in sorted(terms.items(), key=lambda term: -term[1]):
                if count:
                    part = make("mul", atom, Constant(abs(count)))
                    total = make("add" if count > 0 else "sub", total, part)
            return make("add", total, Constant(constant))
        case Apply(function, (left, right)) if function in _COMPARED and left.type == "int":
            return make(function, _cancelled(make("sub", left, right)), Constant(0))
        case Apply(function, arguments):
            return make(function, *map(_cancelled, arguments))
    return tree


_COMPARED = frozenset(["eq", "ne", "lt", "le", "gt", "ge"])
_ONE = Constant(1)


def _terms(tree: ScoreTree) -> dict[ScoreTree, int]:
    """Return an int sum as atoms with their counts; 1 stands for the constant."""
    match tree:
        case Constant(int(value)):
            return {_ONE: value}
        case Apply("add" | "sub" as function, (left, right)):
            total, sign = dict(_terms(left)), 1 if function == "add" else -1
            for atom, count in _terms(right).items():
                total[atom] = total.get(atom, 0) + sign * count
            return total
        case Apply("neg", (inner,)):
            return {atom: -count for atom, count in _terms(inner).items()}
        case Apply("mul", (inner, Constant(int(factor))) | (Constant(int(factor)), inner)):
            return {atom: factor * count for atom, count in _terms(inner).items()}
    return {_cancelled(tree) if not isinstance(tree, Apply) else _inside(tree): 1}


def _inside(tree: Apply) -> ScoreTree:
    return make(tree.function, *map(_cancelled, tree.arguments))

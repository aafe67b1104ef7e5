"""Einops patterns as chains of tensor methods that read well: unflatten, permute, flatten ..."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from attnc.dsl.dims import Dim, Size
from attnc.dsl.ops.holes import Holes
from attnc.dsl.ops.notation import Group, Notation
from attnc.dsl.ops.row import Template
from attnc.dsl.ops.shape_rules import count


def view_chain(
    notation: Notation, sizes: Mapping[str, Size], given: Collection[str] = ()
) -> Template:
    """Return the chain for a pattern without `...`.

    Axes that stay side by side are never taken apart, and a group whose axes are side by side
    already is put together before the rest moves. Symbolic sizes are left to torch (-1) wherever
    it can tell them, and so is the size that the spec leaves open.

    Args:
        given: axes whose size the spec states.
    """
    chain, order = _Chain(sizes, given), notation.names(notation.left)
    whole = _neighbours(notation.left) & _neighbours(notation.right)
    joined = whole | _neighbours([group for group in notation.right if _is_within(group, order)])
    axes = chain.drop_units(notation.left)
    axes = chain.take_apart(axes, whole)
    axes = chain.put_together(axes, joined)
    right = [_runs(group, joined & set(pairwise(order))) or [()] for group in notation.right]
    wanted = [axis for group in right for axis in group]
    chain.reorder(axes, [axis for axis in wanted if axis in axes])
    chain.insert(wanted, axes)
    chain.flatten(right)
    return Template(chain.text, chain.holes)


Pairs = set[tuple[str, str]]


def _neighbours(side: Sequence[Group]) -> Pairs:
    """Return the pairs of names that follow each other within a group."""
    return {pair for group in side for pair in pairwise(group)}


def _is_within(group: Group, order: Sequence[str]) -> bool:
    """Whether the names follow each other in `order` too."""
    return set(pairwise(group)) <= set(pairwise(order))


def _runs(names: Sequence[str], joined: Pairs) -> list[Group]:
    """Cut names into the longest runs of joined neighbours."""
    runs: list[Group] = []
    for name in names:
        if runs and (runs[-1][-1], name) in joined:
            runs[-1] = (*runs[-1], name)
        else:
            runs.append((name,))
    return runs


class _Chain:
    """A chain under construction. Axes are counted from the front, the last one as -1."""

    def __init__(self, sizes: Mapping[str, Size], given: Collection[str]) -> None:
        self.text = "{x}"
        self.holes = Holes()
        self.sizes, self.given = sizes, given

    def drop_units(self, groups: Sequence[Group]) -> list[Group]:
        """Squeeze axes of size 1, the last one first; return the axes then."""
        for axis in reversed(range(len(groups))):
            if not groups[axis]:
                self._call("squeeze", axis if axis < len(groups) - 1 else -1)
        return [group for group in groups if group]

    def take_apart(self, groups: Sequence[Group], whole: Pairs) -> list[Group]:
        """Unflatten the groups that do not stay whole; return the axes then."""
        axes: list[Group] = []
        for axis in reversed(range(len(groups))):
            runs = _runs(groups[axis], whole)
            if len(runs) > 1:
                shape = self._open_shape(runs)
                self._call("unflatten", axis if axis < len(groups) - 1 else -1, shape)
            axes = [*runs, *axes]
        return axes

    def put_together(self, axes: list[Group], joined: Pairs) -> list[Group]:
        """Flatten axes that are neighbours before and after; return the axes then."""
        runs = _runs([name for axis in axes for name in axis], joined)
        self.flatten([[axis for axis in axes if axis[0] in run] for run in runs])
        return runs

    def reorder(self, axes: list[Group], wanted: list[Group]) -> None:
        """Bring the axes into the order wanted."""
        order = [axes.index(axis) for axis in wanted]
        moved = [place for place, axis in enumerate(order) if place != axis]
        if len(moved) == 2:
            self._call("transpose", *moved)
        elif moved:
            self._call("permute", *order)

    def insert(self, wanted: list[Group], axes: list[Group]) -> None:
        """Add axes of size 1, and new ones, which are expanded."""
        rank = len(axes)
        for place, axis in enumerate(wanted):
            if axis not in axes:
                self._call("unsqueeze", place if place < rank else -1)
                rank += 1
        if any(axis and axis not in axes for axis in wanted):
            shape = [-1 if axis in axes or not axis else self._literal(axis) for axis in wanted]
            self._call("expand", *shape)

    def flatten(self, groups: Sequence[Sequence[Group]]) -> None:
        """Flatten every group of several axes, the last group first."""
        rank = end = sum(map(len, groups))
        for group in reversed(groups):
            start = end - len(group)
            if len(group) > 1:
                self._call("flatten", start, *(() if end == rank else (end - 1,)))
            end = start

    def _open_shape(self, runs: Sequence[Group]) -> str:
        """Return a shape with -1 for the first symbolic size, or else for that left open."""
        shape = [count(self.sizes[name] for name in run) for run in runs]
        symbolic = [axis for axis, size in enumerate(shape) if isinstance(size, Dim)]
        left = [axis for axis, run in enumerate(runs) if not {*run} <= {*self.given}]
        open_ = next(iter(symbolic or left), None)
        items = [-1 if axis == open_ else self.holes.show(size) for axis, size in enumerate(shape)]
        return f"({', '.join(map(str, items))})"

    def _literal(self, axis: Group) -> str:
        return self.holes.show(count(self.sizes[name] for name in axis))

    def _call(self, method: str, *arguments: int | str) -> None:
        self.text += f".{method}({', '.join(map(str, arguments))})"

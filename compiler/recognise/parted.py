"""Tokens of a grid that stand in windows, told from the factors of a rearrangement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from attnc.compiler.recognise.factors import BATCH, HEADS, TOKENS, WIDTH, Factors
from attnc.dsl import scorelang
from attnc.dsl.attention import Constant, Grid, ScoreTree, Windows
from attnc.dsl.ops.notation import Group
from attnc.dsl.ops.shape_rules import count

Place = tuple[int, int]
"""An axis of [b, h, n, d], and which of its factors."""


@dataclass(frozen=True, slots=True)
class Parted:
    """Tokens of a grid that are parted into windows; factors are told by their places.

    Attributes:
        batch: the factors of the batch that number no windows.
        axes: of the grid: their factors in raster order, each with the axis where it was.
        apart: of each axis, whether windows stand apart; else they interleave.
        domain: on the grid.
        shifts: by how much tokens were moved towards the front along each axis, the first ones
            coming in again at the end.
    """

    batch: tuple[int, ...]
    axes: tuple[tuple[Place, ...], ...]
    apart: tuple[bool, ...]
    domain: Windows
    shifts: tuple[int, ...]

    @property
    def tokens(self) -> tuple[Place, ...]:
        """All factors of tokens in raster order."""
        return tuple(place for axis in self.axes for place in axis)

    def regrouped(self, groups: tuple[Group, ...]) -> tuple[Group, ...]:
        """Return the groups [b, h, n, d] with the windows among the tokens."""
        return (
            tuple(groups[BATCH][place] for place in self.batch), groups[HEADS],
            tuple(groups[axis][place] for axis, place in self.tokens), groups[WIDTH],
        )  # fmt: skip

    @property
    def is_view(self) -> bool:
        """Whether the tokens of a window follow each other: then to cut windows moves nothing."""
        parts = [axis for axis, _ in self.tokens]
        return parts == sorted(parts)

    @property
    def numbers(self) -> Mapping[int, ScoreTree]:
        """Factor of the batch -> the tree of the number of the query's window along an axis."""
        return {
            place: self._number(axis)
            for axis, places in enumerate(self.axes)
            for of, place in places
            if of == BATCH
        }

    def _number(self, axis: int) -> ScoreTree:
        assert self.domain.grid is not None
        shape = self.domain.grid.queries
        place, shift = scorelang.along("i", shape, axis), self.shifts[axis]
        if shift:
            moved = scorelang.make("sub", place, Constant(shift))
            place = scorelang.make("mod", moved, scorelang.size_tree(shape[axis]))
        size, step = self.domain.size[axis], self.domain.dilation[axis]
        function, operand = ("floordiv", size) if self.apart[axis] else ("mod", step)
        assert operand is not None
        return scorelang.make(function, place, scorelang.size_tree(operand))

    def rolled(self, shifts: tuple[int, ...]) -> Parted:
        """Return the windows of tokens before they were moved towards the front."""
        sizes = cast(tuple[int, ...], self.domain.size)
        first = tuple(shift % size for shift, size in zip(shifts, sizes, strict=True))
        return replace(self, domain=replace(self.domain, shift=first, wrap=True), shifts=shifts)

    def cut(self) -> Parted:
        """Return windows of rolled tokens in which opposite edges do not meet."""
        return replace(self, domain=replace(self.domain, wrap=False))


def parted_tokens(queries: Factors) -> Parted | None:
    """Read the windows of queries: each factor of tokens beside one of the batch, or alone."""
    batch, inside, sizes = queries.right[BATCH], queries.right[TOKENS], queries.sizes
    mixed = [group for group in queries.left if {*group} & {*inside}]
    order = [name for group in mixed for name in group]
    if [name for name in order if name in inside] != [*inside]:
        return None
    if not {*order} <= {*batch, *inside} or not {*order} & {*batch}:
        return None
    axes = [axis for group in mixed for axis in _axes(group, inside)]
    if not all(axis.token for axis in axes):
        return None
    steps = tuple(1 if axis.is_apart or not axis.number else sizes[axis.number] for axis in axes)
    grid = tuple(count(sizes[name] for name in (axis.number, axis.token) if name) for axis in axes)
    size = tuple(sizes[axis.token] for axis in axes)
    domain = Windows(size, (0,) * len(grid), steps, grid=Grid(grid, grid))
    places = {name: (BATCH, at) for at, name in enumerate(batch)}
    places.update((name, (TOKENS, at)) for at, name in enumerate(inside))
    return Parted(
        tuple(at for at, name in enumerate(batch) if name not in order),
        tuple(tuple(places[name] for name in axis.names) for axis in axes),
        tuple(axis.is_apart for axis in axes), domain, (0,) * len(axes),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Axis:
    """An axis of the grid.

    Attributes:
        number: the factor that numbers windows; empty where the axis is a window.
        token: the factor of tokens in a window; empty where there is none.
        is_apart: windows stand apart; else they interleave.
    """

    number: str
    token: str
    is_apart: bool = True

    @property
    def names(self) -> Group:
        """The factors in raster order."""
        order = (self.number, self.token) if self.is_apart else (self.token, self.number)
        return tuple(name for name in order if name)


def _axes(group: Group, inside: Group) -> list[_Axis]:
    """Part a group into axes, the last one first: `(i y j)` is a whole axis, then windows."""
    rest, axes = list(group), list[_Axis]()
    while rest:
        last = rest.pop()
        if rest and (last in inside) != (rest[-1] in inside):
            first = rest.pop()
            axes.append(_Axis(first, last) if last in inside else _Axis(last, first, False))
        else:
            axes.append(_Axis("", last) if last in inside else _Axis(last, ""))
    return axes[::-1]

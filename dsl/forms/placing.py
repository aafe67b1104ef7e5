"""Placing a source: its domain on the grid of the tokens, grid coordinates and slots spelt out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import mul
from typing import NoReturn, TypeVar

from attnc.dsl import codes, scorelang
from attnc.dsl.attention import (
    Blocks,
    Coordinate,
    Domain,
    Grid,
    Groups,
    Load,
    Neighborhood,
    Overlapping,
    PerHeads,
    RoutedKeys,
    RoutedRegions,
    Sampled,
    ScoreTree,
    Source,
    Stripes,
    Windows,
)
from attnc.dsl.dims import Shape, Size
from attnc.dsl.expressions import fail
from attnc.dsl.graph import Value
from attnc.dsl.spans import Span
from attnc.dsl.values import SourceValue, shown

T = TypeVar("T")
_REMEDIES = {
    "slot": "slots come with windows, neighborhood, overlapping, sampled, band and blocks",
    "query_slot": "slots of queries come with windows and blocks",
    "key_count": "counts come with domains that no data decides",
    **dict.fromkeys(scorelang.FRACTIONS, "fractions come with sampled, one for each axis"),
}


def placed(source: SourceValue, q: Value, span: Span) -> Source:
    """Return the source with its domain placed and with expressions of `b h i j` alone.

    Args:
        source: whose operands may still be at fault; then it comes back as it is.
        q: [b, h, n, d], or [b, h, n, m] where products are given.
        span: of the call, for messages.
    """
    if len(q.shape) != 4 or len(source.v.shape) != 4:
        return source.source
    return _Placing(source, q, span).source()


@dataclass(slots=True)
class _Placing:
    """One source under way."""

    given: SourceValue
    q: Value
    span: Span

    def source(self) -> Source:
        piece = self.given.source
        grid = self.grid()
        domain = self.domain(piece.domain, grid)
        names = scorelang.place_names(domain, grid)

        def spelt(tree: ScoreTree) -> ScoreTree:
            return scorelang.simplify(
                scorelang.replaced(tree, lambda part: self.spelt(part, names))
            )

        def optional(tree: ScoreTree | None) -> ScoreTree | None:
            return None if tree is None else spelt(tree)

        return replace(
            piece,
            domain=scorelang.with_trees(domain, spelt),
            score=spelt(piece.score),
            mask=optional(piece.mask),
            weight=optional(piece.weight),
            post=optional(piece.post),
        )

    def spelt(self, part: ScoreTree, names: Mapping[str, ScoreTree | None]) -> ScoreTree:
        """Replace a name that depends on the grid or the domain by what it stands for."""
        if not isinstance(part, Coordinate) or part.name in scorelang.COORDINATES:
            return part
        tree = names.get(part.name)
        if tree is not None:
            return tree
        hint = "state grid = [height, width]"
        if part.name in scorelang.PLACE_NAMES:
            hint = _REMEDIES[part.name]
        self.fail(f"{part.name} has no meaning here", hint)

    # The grid ----------------------------------------------------------------------------

    def grid(self) -> Grid:
        """Return the grid: that of the source or of its domain, else all tokens in a row."""
        n, m = self.q.shape[2], self.given.v.shape[2]
        stated = [self.given.grid, *_grids(self.given.source.domain)]
        different = list(dict.fromkeys(each for each in stated if each is not None))
        if len(different) > 1:
            self.fail("the source and its domain state different grids", "state one of them")
        if not different:
            return Grid((n,), (m,))
        (grid,) = different
        self.check_tokens("grid", grid.queries, n, "queries")
        self.check_tokens("key_grid", grid.keys, m, "keys")
        if len(grid.queries) != len(grid.keys):
            self.fail("grid and key_grid have different numbers of axes", None)
        return grid

    def check_tokens(self, name: str, shape: Shape, tokens: Size, what: str) -> None:
        if reduce(mul, shape, 1) != tokens:
            hint = "state key_grid" if name == "key_grid" else None
            self.fail(f"{name} = {shown(shape)} does not hold {tokens} {what}", hint)

    # The domain --------------------------------------------------------------------------

    def domain(self, domain: Domain, grid: Grid) -> Domain:
        match domain:
            case Windows(size, shift, dilation):
                self.same_grids(grid)
                return replace(
                    domain, grid=grid, size=self.spread(size, grid),
                    shift=self.spread(shift, grid), dilation=self.spread(dilation, grid),
                )  # fmt: skip
            case Stripes(axis, width):
                self.same_grids(grid)
                return _stripes(self.axis(axis, grid), width, grid)
            case Neighborhood(kernel, edge, dilation):
                if edge == "clamp":
                    self.same_grids(grid)
                kernel, dilation = self.spread(kernel, grid), self.spread(dilation, grid)
                return replace(domain, grid=grid, kernel=kernel, dilation=dilation)
            case Overlapping(size, key_size):
                size, key_size = self.spread(size, grid), self.spread(key_size, grid)
                return Overlapping(size, key_size, grid)
            case Groups(query, key):
                self.check_index(query, -1, self.q.shape[2])
                self.check_index(key, -1, self.given.v.shape[2])
            case Blocks(queries, keys):
                self.check_lengths(queries, self.q.shape[2], "queries")
                self.check_lengths(keys, self.given.v.shape[2], "keys")
            case RoutedRegions(index, _, regions):
                self.check_regions(regions, grid)
                self.check_index(index, -2, reduce(mul, regions, 1))
                return replace(domain, grid=grid)
            case RoutedKeys(index):
                self.check_index(index, -2, self.q.shape[2])
                return replace(domain, grid=grid)
            case Sampled(centre, radius):
                self.check_index(centre, -2, self.q.shape[2])
                self.check_index(centre, -1, len(grid.keys))
                return replace(domain, grid=grid, radius=self.spread(radius, grid))
            case PerHeads(domains):
                return PerHeads(tuple(self.domain(each, grid) for each in domains),
                                self.heads(len(domains)))  # fmt: skip
        return domain

    def heads(self, groups: int) -> int:
        heads = self.q.shape[1]
        if not isinstance(heads, int) or heads % groups:
            self.fail(f"{heads} heads do not part into {groups} groups", None)
        return heads

    def spread(self, values: tuple[T, ...], grid: Grid) -> tuple[T, ...]:
        """Return one value for each axis; a single one stands for all."""
        rank = len(grid.queries)
        if len(values) not in (1, rank):
            self.fail(
                f"{len(values)} sizes for a grid of {rank} {'axis' if rank == 1 else 'axes'}",
                "state grid = [height, width]",
            )
        return values * rank if len(values) == 1 else values

    def axis(self, axis: int, grid: Grid) -> int:
        rank = len(grid.queries)
        if not -rank <= axis < rank:
            self.fail(f"the grid {shown(grid.queries)} has no axis {axis}", None)
        return axis % rank

    def same_grids(self, grid: Grid) -> None:
        if grid.queries != grid.keys:
            self.fail(
                "this domain takes queries and keys of one grid",
                "write a condition: where(iy // 8 == jy // 4 and ix // 8 == jx // 4)",
            )

    def check_lengths(self, lengths: Shape, tokens: Size, what: str) -> None:
        total: Size = 0
        for length in lengths:
            total = total + length
        if total != tokens:
            self.fail(f"blocks of {total} {what} in all, of which there are {tokens}", None)

    def check_regions(self, regions: Shape, grid: Grid) -> None:
        for shape in (grid.queries, grid.keys):
            if len(shape) != len(regions) or any(
                size % count != 0 for size, count in zip(shape, regions, strict=True)
            ):
                self.fail(
                    f"the grid {shown(shape)} does not part into regions {shown(regions)}",
                    "pad the map before, or choose other regions",
                )

    def check_index(self, tree: ScoreTree, axis: int, expected: Size) -> None:
        values = dict(self.given.tensors)
        if isinstance(tree, Load) and values[tree.tensor].shape[axis] != expected:
            shape = values[tree.tensor].type
            self.fail(f"{tree.tensor} {shape} has not {expected} entries along axis {axis}", None)

    def fail(self, detail: str, hint: str | None) -> NoReturn:
        fail(codes.ARGUMENT.at(self.span, op="attend", detail=detail, hint=hint))


def _grids(domain: Domain) -> list[Grid | None]:
    match domain:
        case PerHeads(domains):
            return [grid for each in domains for grid in _grids(each)]
        case Windows() | Stripes() | Neighborhood() | Overlapping():
            return [domain.grid]
        case RoutedRegions() | RoutedKeys() | Sampled():
            return [domain.grid]
    return []


def _stripes(axis: int, width: Size, grid: Grid) -> Windows:
    rank = len(grid.queries)
    size = tuple(width if each == axis else None for each in range(rank))
    return Windows(size, (0,) * rank, (1,) * rank, grid=grid)

"""Tiles on a grid: boxes of queries and of the keys around them, in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Union

from attnc.backends.tiled.functions import TileFunction
from attnc.compiler.kernel import Site
from attnc.dsl.attention import All, Blocks, Domain, Grid, Neighborhood, Overlapping, Windows
from attnc.dsl.scorelang.grids import margin, window_size

RUNS = {1: 64, 2: 8, 3: 4}
"""Queries of a box along each axis of a grid, where the domain leaves the choice."""

Spatial = Union[Windows, Neighborhood, Overlapping]


class Boxes:
    """How the sources of a site are walked by boxes of the queries' grid.

    Attributes:
        exact: for each source whether a box sees all of its keys, so that no condition is left.
    """

    def __init__(self, site: Site, leader: Spatial, domains: Sequence[Domain]) -> None:
        assert leader.grid is not None
        self.made = TileFunction(site, by_number=True)
        self.leader, self.domains, self.grid = leader, domains, leader.grid
        exact = (Windows, Overlapping)
        self.exact = tuple(isinstance(each, (All, *exact)) for each in domains)

    def lines(self, cols: Sequence[str], streams: Sequence[str]) -> Iterator[str]:
        """Yield lines up to `rows` and `cols`, the last ones inside the loops."""
        axes = range(len(self.grid.queries))
        for axis in axes:
            yield f"{'    ' * axis}for own{axis} in {self._own(axis)}:"
        depth = "    " * len(axes)
        own = [f"own{axis}" for axis in axes]
        yield f"{depth}rows = {self._crossed(own, self.grid.queries)}"
        for domain, col, stream in zip(self.domains, cols, streams, strict=True):
            if isinstance(domain, All):
                yield f"{depth}{col} = slice(0, {stream}.shape[2])"
            elif isinstance(domain, Windows):
                yield f"{depth}{col} = rows"
            else:
                assert isinstance(domain, (Neighborhood, Overlapping)) and domain.grid is not None
                seen = [self._seen(domain, domain.grid, axis) for axis in axes]
                yield from self._binding(depth, col, seen, domain.grid)
        yield f"{depth}if not ({' or '.join(f'size_of({col})' for col in cols)}):"
        yield f"{depth}    continue"

    def _binding(self, depth: str, col: str, seen: Sequence[str], grid: Grid) -> Iterator[str]:
        names = [f"seen{axis}" for axis in range(len(seen))]
        yield from (f"{depth}{name} = {each}" for name, each in zip(names, seen, strict=True))
        yield f"{depth}{col} = {self._crossed(names, grid.keys)}"

    def _own(self, axis: int) -> str:
        """Return the runs of queries along an axis."""
        size, length = self.made.size, self.made.size(self.grid.queries[axis])
        match self.leader:
            case Windows(_, shift, dilation, wrap):
                window = size(window_size(self.leader, self.grid, axis))
                name = "turned" if wrap else "cut"
                further = f", {size(shift[axis])}, {size(dilation[axis])}"
                further = "" if further == ", 0, 1" else further.removesuffix(", 1")
                return f"{name if further else 'cut'}({length}, {window}{further})"
            case Overlapping(each):
                return f"cut({length}, {size(each[axis])})"
            case Neighborhood(_, _, dilation):
                run = RUNS[len(self.grid.queries)]
                step = "" if dilation[axis] == 1 else f", 0, {size(dilation[axis])}"
                return f"cut({length}, {run}{step})"

    def _seen(self, domain: Neighborhood | Overlapping, grid: Grid, axis: int) -> str:
        """Return the keys along an axis that a run of queries sees."""
        size, own, length = self.made.size, f"own{axis}", self.made.size(grid.keys[axis])
        edge = margin(grid, axis)
        if isinstance(domain, Overlapping):
            before = (domain.key_size[axis] - domain.size[axis]) // 2 - edge
            reach = size(domain.key_size[axis] - before)
            return f"within(range({own}.start - {size(before)}, {own}.start + {reach}), {length})"
        kernel, step = domain.kernel[axis], domain.dilation[axis]
        if domain.edge == "clamp":
            return f"clamped({own}, {size(kernel)}, {length})"
        before = kernel // 2 * step - edge
        behind = size((kernel - 1) * step - kernel // 2 * step + edge + 1)
        reach = f"{own}.start - {size(before)}, {own}[-1] + {behind}, {own}.step"
        return f"within(range({reach}), {length})"

    def _crossed(self, names: Sequence[str], shape: Sequence[object]) -> str:
        lengths = ", ".join(self.made.size(each) for each in shape)  # type: ignore[arg-type]
        comma = "," if len(names) == 1 else ""
        return f"crossed(({', '.join(names)}{comma}), ({lengths}{comma}), q.device)"


def boxes(site: Site) -> Boxes | None:
    """Return how a site is walked by boxes; none where its domains are not on one grid."""
    domains = [source.domain for source in site.attention.sources]
    spatial = [each for each in domains if isinstance(each, (Windows, Neighborhood, Overlapping))]
    if not spatial:
        return None
    rigid = [each for each in spatial if not isinstance(each, Neighborhood)]
    leader = (rigid or spatial)[0]
    known = all(isinstance(each, All) or _follows(each, leader) for each in domains)
    return Boxes(site, leader, domains) if known else None


def _follows(domain: Domain, leader: Spatial) -> bool:
    """Say whether the keys of a box of the leader are a box for a domain as well."""
    if domain == leader:
        return True
    if not isinstance(domain, Neighborhood) or domain.grid is None or leader.grid is None:
        return False
    steps = leader.dilation if isinstance(leader, (Windows, Neighborhood)) else (1,) * 3
    straight = not (isinstance(leader, Windows) and leader.wrap)
    axes = range(len(leader.grid.queries))
    same = all(domain.dilation[axis] == steps[axis] for axis in axes)
    return straight and same and domain.grid.queries == leader.grid.queries


def run_lengths(site: Site) -> Sequence[tuple[int, int]] | None:
    """Return the lengths of the runs of queries and keys of a domain of blocks, all numbers."""
    (first, *others) = site.attention.sources
    if others or not isinstance(first.domain, Blocks):
        return None
    runs = list(zip(first.domain.queries, first.domain.keys, strict=True))
    known = [(n, m) for n, m in runs if isinstance(n, int) and isinstance(m, int)]
    return known if len(known) == len(runs) else None

"""Sources whose queries have keys of their own: by slot of a domain, or named by an index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import mul

from attnc.backends.tiled.functions import Piece, TileFunction, TileWriter
from attnc.backends.tiled.scores import SourceFunctions
from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    OVER_QUERIES,
    Among,
    Band,
    Coordinate,
    Domain,
    Neighborhood,
    Overlapping,
    RoutedKeys,
    RoutedRegions,
    Sampled,
    ScoreTree,
    Windows,
)
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import (
    Reach,
    condition,
    fill,
    make,
    reaches,
    simplify,
    size_tree,
    slot,
    slot_count,
)

Spatial = (Windows, Neighborhood, Overlapping, Sampled)
Routed = (RoutedKeys, RoutedRegions)


def gathers(site: Site, number: int) -> bool:
    """Say whether the keys of a source are gathered, query by query."""
    attention = site.attention
    if isinstance(attention.normaliser, OVER_QUERIES) or attention.given:
        return False
    domain = attention.sources[number].domain
    several = len(attention.sources) > 1
    if several and "index" in attention.outputs:
        return False
    by_slot = "slot_weights" in attention.outputs and isinstance(domain, (Band, *Spatial))
    return by_slot or isinstance(domain, (Sampled, *Routed))


def keys_of(domain: Domain) -> Size:
    """Return how many keys each query has."""
    match domain:
        case RoutedKeys(_, chosen):
            return chosen
        case RoutedRegions(_, chosen):
            return chosen * reduce(mul, _sides(domain), 1)
    count = slot_count(domain)
    assert count is not None, f"{domain} has no slots"
    return count


class GatheredFunction(TileFunction):
    """A function of one tile in which `j` [b, h, n, slots] has the numbers of keys."""

    def __init__(self, site: Site, number: int) -> None:
        super().__init__(site, by_number=True)
        self._suffix, self._result = self.suffixes[number], ""
        self._slots = _slots(site.attention.sources[number].domain)
        for name, (tree, _) in self._slots.items():
            self.known[number][tree] = name
        self.known[number][Coordinate("j")] = f"j{self._suffix}"

    def statements(self) -> list[str]:
        """Return the body so far; slots that it reads are bound first."""
        lines = super().statements()
        for name, (_, count) in reversed([*self._slots.items()]):
            if any(re.search(rf"\b{name}\b", line) for line in (*lines, self._result)):
                lines.insert(0, f"{name} = {self._slot(name, count)}")
        return lines

    def piece(
        self, name: str, doc: str, result: str, further: Iterable[str] = (), *, given: bool = True
    ) -> Piece:
        """Return the function with those parameters that it reads."""
        self._result = result
        near = (f"k_near{self._suffix}", f"j{self._suffix}")
        return super().piece(name, doc, result, (*further, *near), given=given)

    def _slot(self, name: str, sizes: Sequence[Size]) -> str:
        """Write the slots of a query, or their places along an axis: of so many, stride, count."""
        if name == "slot":
            return f"torch.arange({self.size(sizes[0])}, device={self.query}.device)"
        stride, number = sizes
        place = "slot" if stride == 1 else f"slot // {self.size(stride)}"
        return f"{place} % {self.size(number)}"


def _slots(domain: Domain) -> Mapping[str, tuple[ScoreTree, Sequence[Size]]]:
    """Return the trees of the slot and of its places along several axes, by variable."""
    tree, count = slot(domain), slot_count(domain)
    if tree is None or count is None:
        return {}
    found: dict[str, tuple[ScoreTree, Sequence[Size]]] = {"slot": (simplify(tree), (count,))}
    if isinstance(domain, Spatial):
        along = reaches(domain)
        for axis, reach in enumerate(along if len(along) > 1 else ()):
            stride = reduce(mul, (each.number for each in along[axis + 1 :]), 1)
            found[f"slot_{axis}"] = simplify(reach.slot), (stride, reach.number)
    return found


class GatheredSource(SourceFunctions):
    """Writes the functions of a source whose keys are gathered."""

    def __init__(self, site: Site, number: int) -> None:
        super().__init__(site, number, by_number=True, exact=True)
        self.is_masked = True

    def keys(self) -> Piece:
        """Return the function of the keys of each query, and of which of them do not count."""
        made, domain = TileFunction(self.site, by_number=True), self.source.domain
        if isinstance(domain, Routed):
            self._named(made, domain)
        else:
            self._around(made, domain)
        shape = ", ".join(f"size_of({made.place(name, self.number)})" for name in "bhi")
        made.line(f"j, absent = (x.expand({shape}, -1) for x in (j, absent))")
        doc = "Keys [b, h, n, slots] of each query, and which of them are not there."
        return made.piece(self._name("keys"), doc, "j, absent")

    def _around(self, made: TileFunction, domain: Domain) -> None:
        """Bind `j` and `absent` for a domain by slot."""
        found = _frames(self.site, self.number)
        names = [self._positions(made, axis, reach) for axis, reach in enumerate(found)]
        if len(names) > 1:
            spread = [self._spread(name, at, len(names)) for at, name in enumerate(names)]
            made.line(f"{', '.join(names)} = {', '.join(spread)}")
        limits = zip(names, found, strict=True)
        beyond = [
            f"({name} < {made.size(reach.exists[0])}) | ({name} >= {made.size(reach.exists[1])})"
            for name, reach in limits
        ]
        flat = f".flatten(-{len(names)})" if len(names) > 1 else ""
        together = " | ".join(beyond)
        made.line(f"absent = ({together}){flat}" if flat else f"absent = {together}")
        made.line(f"j = {self._row_major(made, names, found, domain)}{flat}")

    def _positions(self, made: TileFunction, axis: int, reach: Reach) -> str:
        """Name the positions along an axis that a query sees, [b, h, n, number]."""
        start = TileWriter(made, self.number).integer(reach.start)
        steps = f"torch.arange({made.size(reach.number)}, device=q.device)"
        if reach.step != 1:
            steps = f"{steps} * {made.size(reach.step)}"
        return made.bind(f"place{axis}", f"{start} + {steps}")

    @staticmethod
    def _spread(name: str, at: int, axes: int) -> str:
        places = [":" if axis == at else "None" for axis in range(axes)]
        return f"{name}[..., {', '.join(places)}]"

    def _row_major(
        self, made: TileFunction, names: Sequence[str], found: Sequence[Reach], domain: Domain
    ) -> str:
        """Return the numbers of keys; of positions outside, those of the nearest inside."""
        text = ""
        for axis, (name, reach) in enumerate(zip(names, found, strict=True)):
            first, stop = reach.exists
            length = made.size(stop - first)
            place = f"{name}.clamp({made.size(first)}, {made.size(stop - 1)})"
            if first != 0:
                place = fill("{a} - {b}", place, made.size(first))
            if isinstance(domain, Windows) and domain.wrap and domain.shift[axis] != 0:
                place = fill("({a} + {b}) % {c}", place, made.size(domain.shift[axis]), length)
            rows = text and fill("{a} * {b}", text, length)
            text = fill("{a} + {b}", rows, place) if rows else place
        return f"({text})"

    def _named(self, made: TileFunction, domain: RoutedKeys | RoutedRegions) -> None:
        """Bind `j` and `absent` for keys, or regions of keys, that an index names."""
        seen = condition(domain)
        assert isinstance(seen, Among)
        writer = TileWriter(made, self.number)
        shape = made.tensor_type(seen.row.tensor).shape[:-1]
        row = writer.gathered(made.tensor(seen.row.tensor), seen.row.indices, shape)
        made.line(f"j = {row}.squeeze(-2)")
        made.line("absent = repeated(j)")
        if isinstance(domain, RoutedKeys):
            return
        assert domain.grid is not None
        sides = _sides(domain)
        axes = range(len(sides))
        strides = [reduce(mul, domain.regions[axis + 1 :], 1) for axis in axes]
        for axis in axes:
            region = "j" if strides[axis] == 1 else f"j // {made.size(strides[axis])}"
            region = fill("{a} % {b}", region, made.size(domain.regions[axis])) if axis else region
            first = fill("{a} * {b}", region, made.size(sides[axis]))
            steps = f"torch.arange({made.size(sides[axis])}, device=q.device)"
            made.line(f"place{axis} = ({first}).unsqueeze(-1) + {steps}")
        spread = [self._spread(f"place{axis}", axis, len(sides)) for axis in axes]
        text = ""
        for axis, place in enumerate(spread):
            rows = text and fill("{a} * {b}", text, made.size(domain.grid.keys[axis]))
            text = fill("{a} + {b}", rows, place) if rows else place
        made.line(f"j = ({text}).flatten(3)")
        tokens = made.size(reduce(mul, sides, 1))
        made.line(f"absent = absent.repeat_interleave({tokens}, dim=-1)")

    # Parts ---------------------------------------------------------------------------------

    def _function(self) -> GatheredFunction:
        return GatheredFunction(self.site, self.number)

    def _dot(self, made: TileFunction, scaled: str = "") -> str:
        q = f"(q[bs, hs, rows]{scaled})" if scaled else "q[bs, hs, rows]"
        return f"(k_near{self.suffix} @ {q}.unsqueeze(-1)).squeeze(-1)"

    def _distance(self, made: TileFunction) -> str:
        return f"(q[bs, hs, rows].unsqueeze(-2) - k_near{self.suffix}).abs().sum(-1)"

    def _sizes(self, made: TileFunction) -> Sequence[str]:
        sizes = [f"size_of({made.place(name, self.number)})" for name in "bhi"]
        return [*sizes, f"j{self.suffix}.shape[-1]"]


def _frames(site: Site, number: int) -> Sequence[Reach]:
    """Return what a query sees along each axis, of a band along the only one."""
    domain = site.attention.sources[number].domain
    if isinstance(domain, Spatial):
        return reaches(domain)
    assert isinstance(domain, Band)
    query, keys = Coordinate("i"), site.sources[number][0].shape[2]
    tree, count, inside = slot(domain), slot_count(domain), condition(domain)
    assert tree is not None and count is not None and inside is not None
    start = make("sub", query, size_tree(domain.left))
    return (Reach(inside, start, 1, count, (0, keys), tree),)


def _sides(domain: RoutedRegions) -> Sequence[Size]:
    """Return the tokens of a region of keys along each axis."""
    assert domain.grid is not None, f"{domain} has no grid"
    return [size // count for size, count in zip(domain.grid.keys, domain.regions, strict=True)]

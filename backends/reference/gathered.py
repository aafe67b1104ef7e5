"""Sampled boxes, gathered: scores [b, h, n, slots] of the keys of each query, not of all pairs.

The result is that of `Generator`, which computes all pairs; `serves` says for which sites nothing
by pair is asked for.
"""

from __future__ import annotations

from math import prod

from attnc.backends.materialised.generate import Generator
from attnc.backends.materialised.part import Part
from attnc.backends.torch_function import site_trees
from attnc.backends.torch_scores import ScoreWriter
from attnc.compiler.kernel import Site
from attnc.dsl.attention import OVER_QUERIES, ArgmaxKeys, Bilinear, Coordinate, Sampled, ScoreTree
from attnc.dsl.scorelang import Reach, fill, make, reaches, slot, slot_count, subtrees

_SPREAD = {
    1: ("",),
    2: ("[..., :, None]", "[..., None, :]"),
    3: ("[..., :, None, None]", "[..., None, :, None]", "[..., None, None, :]"),
}
"""How positions along each axis broadcast over the box."""


def serves(site: Site) -> bool:
    """Say whether a site is one sampled source of which no result is asked by pair."""
    attention = site.attention
    if len(attention.sources) > 1 or attention.given:
        return False
    by_pair = {*attention.outputs} - {"out", "slot_weights", "lse"}
    if by_pair or isinstance(attention.normaliser, (*OVER_QUERIES, ArgmaxKeys)):
        return False
    return isinstance(attention.sources[0].domain, Sampled)


class Gathered(Generator):
    """Writes the function of a site that `serves` takes: `j` is a tensor of keys by slot."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        domain = self._sources[0].domain
        assert isinstance(domain, Sampled) and domain.grid is not None
        self._domain, self._keys_shape = domain, domain.grid.keys
        self._axes = dict(zip("zyx"[-len(domain.radius) :], reaches(domain), strict=True))
        self._slot_weights = "weights"

    def _take_keys(self, number: int) -> None:
        self._bind_slots()
        names = [self._positions(axis, reach) for axis, reach in self._axes.items()]
        flat = ".flatten(3)" if len(names) > 1 else ""
        if flat:
            spread = zip(names, _SPREAD[len(names)], strict=True)
            shaped = ", ".join(f"{name}{shape}" for name, shape in spread)
            self._line(f"{', '.join(names)} = {shaped}")
        sizes = [self._function.size(size) for size in self._keys_shape]
        beyond = [f"({a} < 0) | ({a} >= {size})" for a, size in zip(names, sizes, strict=True)]
        self._line(f"outside = ({' | '.join(beyond)}){flat}  # slots without a key")
        self._line(f"j = ({self._row_major(names)}){flat}")
        self._function.known[number][Coordinate("j")] = "j"
        b, h = (self._function.coordinate(name, number) for name in "bh")
        for name in "kv" if self._reads_key(number) else "v":
            self._line(f"{name} = {name}[{b}, {h}, j]")

    def _bind_slots(self) -> None:
        """Name the slots, and those along each axis, where an expression reads them."""
        whole, count = slot(self._domain), slot_count(self._domain)
        assert whole is not None and count is not None
        along = [reach.slot for reach in self._axes.values()]
        read = {part for tree in site_trees(self._site) for part in subtrees(tree)}
        mixed = isinstance(self._attention.normaliser, Bilinear)
        if not mixed and read.isdisjoint({whole, *along}):
            return
        device = f"{self._function.query}.device"
        known = self._function.known[0]
        self._line(f"slot = torch.arange({self._function.size(count)}, device={device})")
        known[whole] = "slot"
        for at, (axis, reach) in enumerate(self._axes.items()):
            stride = prod([each.number for each in [*self._axes.values()][at + 1 :]], start=1)
            if reach.slot in known or not (mixed or reach.slot in read):
                continue
            text = "slot" if stride == 1 else f"slot // {self._function.size(stride)}"
            text += f" % {self._function.size(reach.number)}" if at else ""
            known[reach.slot] = self._function.bind(f"slot_{axis}", text)

    def _positions(self, axis: str, reach: Reach) -> str:
        """Name the positions of a query's box along an axis, [b, h, n, number]."""
        start = self._writers[0].integer(reach.start)
        number = self._function.size(reach.number)
        box = f"torch.arange({number}, device={self._function.query}.device)"
        return self._function.bind(axis, f"{start} + {box}")

    def _row_major(self, names: list[str]) -> str:
        """Return the numbers of the keys; of positions outside, those of the nearest inside."""
        text = ""
        for name, size in zip(names, self._keys_shape, strict=True):
            place = f"{name}.clamp(0, {self._function.size(size - 1)})"
            rows = text and fill("{a} * {b}", text, self._function.size(size))
            text = fill("{a} + {b}", rows, place) if rows else place
        return text

    def _keys(self, number: int) -> str:
        return str(slot_count(self._domain))

    def _blocked(self, number: int, writer: ScoreWriter) -> str:
        mask: ScoreTree | None = self._sources[number].mask
        if mask is None:
            return "outside"
        return fill("{a} | {b}", "outside", writer.condition(make("not", mask)))

    def _by_slot(self, part: Part) -> None:
        """Weights stand by slot already."""

    def _product(self, suffix: str) -> str:
        return "(k @ q.unsqueeze(-1)).squeeze(-1)"

    def _differences(self, suffix: str) -> str:
        return "q[:, :, :, None] - k"

    def _summed(self, weights: str, values: str) -> str:
        return fill("({a}.unsqueeze(-2) @ {b}).squeeze(-2)", weights, values)

"""How tokens stand in blocks of slots, in closed form: the order in which tiles take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul

from attnc.dsl.attention import Coordinate, ScoreTree
from attnc.dsl.dims import Shape, Size
from attnc.dsl.scorelang import decide, make, size_tree, whole_range
from attnc.dsl.scorelang.grids import along
from attnc.dsl.scorelang.ranges import Interval
from attnc.dsl.scorelang.simplify import TRUE

BLOCK, SLOT = Coordinate("block"), Coordinate("slot")


@dataclass(frozen=True, slots=True)
class Layout:
    """One side of the pairs in blocks of equally many slots; a slot holds a token or nothing.

    Attributes:
        blocks: their number.
        slots: of each.
        shape: of the grid that the tokens stand on.
        places: position of the token along each axis; int trees of `block` and `slot`.
        conditions: what must hold for a token to be there; they read `places` or parts of them.
        extents: slots of a block along each axis, int trees of `block`.
        meaning: for docstrings: `Windows of 7 * 7`.
    """

    blocks: Size
    slots: Size
    shape: Shape
    places: tuple[ScoreTree, ...]
    conditions: tuple[ScoreTree, ...]
    extents: tuple[ScoreTree, ...]
    meaning: str

    @property
    def count(self) -> ScoreTree:
        """Slots of a block that may hold a token, the first ones; an int tree of `block`."""
        return reduce(_times, self.extents)

    @property
    def token(self) -> ScoreTree:
        """The token of a slot, in raster order; any number where there is none."""
        tree = self.places[0]
        for place, length in zip(self.places[1:], self.shape[1:], strict=True):
            tree = make("add", make("mul", tree, size_tree(length)), place)
        return tree

    @property
    def ranges(self) -> Mapping[str, Interval]:
        """What `block` and `slot` run over."""
        return {"block": whole_range(self.blocks), "slot": whole_range(self.slots)}


@dataclass(frozen=True, slots=True)
class View:
    """Blocks of one side, and what each of them sees of the other side.

    There is a layout for each of several equal groups of heads, in order; mostly there is one.

    Attributes:
        own: each token stands in one block.
        seen: of the block with the same number.
        exact: whether tokens of a block see all that it sees; else a condition says.
    """

    own: tuple[Layout, ...]
    seen: tuple[Layout, ...]
    exact: bool

    @property
    def packs(self) -> bool:
        """Whether a tile may hold several blocks: they see themselves and nothing else."""
        alike = len({layout.slots for layout in self.own}) == 1
        return self.own == self.seen and self.exact and alike

    @property
    def even(self) -> bool:
        """Whether all heads have the same layouts."""
        return len(self.own) == 1


@dataclass(frozen=True, slots=True)
class Views:
    """The same pairs from both sides; slots of `by_query` count for reads by pair.

    Attributes:
        by_query: blocks of queries and the keys they see.
        by_key: blocks of keys and the queries that see them.
    """

    by_query: View
    by_key: View


@dataclass(frozen=True, slots=True)
class Run:
    """Blocks along one axis.

    Attributes:
        count: blocks.
        size: slots of a block.
        start: from the number of the block along the axis to the position of its first slot.
        step: distance of slots.
        length: of the axis.
        turn: for a position on a ring: added to it, modulo the length.
        extent: slots that a block has there, where they may be fewer than `size`.
    """

    count: Size
    size: Size
    start: Callable[[ScoreTree], ScoreTree]
    step: Size
    length: Size
    turn: Size | None = None
    extent: Callable[[ScoreTree], ScoreTree] | None = None


def on_grid(runs: Sequence[Run], meaning: str) -> Layout:
    """Return the blocks that are products of runs along the axes, the last axis fastest."""
    counts, sizes = tuple(run.count for run in runs), tuple(run.size for run in runs)
    ranges = {"block": whole_range(_product(counts)), "slot": whole_range(_product(sizes))}
    at_block = [
        size_tree(0) if count == 1 else along("block", counts, axis)
        for axis, count in enumerate(counts)
    ]
    extents = [
        size_tree(run.size) if run.extent is None else run.extent(block)
        for run, block in zip(runs, at_block, strict=True)
    ]
    at_slot = list(_row_major(extents))
    places, conditions = [], []
    for run, block, slot in zip(runs, at_block, at_slot, strict=True):
        at = make("add", run.start(block), make("mul", slot, size_tree(run.step)))
        bounds = (make("ge", at, size_tree(0)), make("lt", at, size_tree(run.length)))
        conditions += [each for each in bounds if each != TRUE and not decide(each, ranges)]
        if run.turn is not None and run.turn != 0:
            at = make("mod", make("add", at, size_tree(run.turn)), size_tree(run.length))
        places.append(at)
    return Layout(
        _product(counts), _product(sizes), tuple(run.length for run in runs), tuple(places),
        tuple(conditions), tuple(extents), meaning,
    )  # fmt: skip


def _row_major(extents: Sequence[ScoreTree]) -> Iterator[ScoreTree]:
    """Yield the position of a slot along each axis, the last axis fastest."""
    for axis, extent in enumerate(extents):
        inner = reduce(_times, extents[axis + 1 :], size_tree(1))
        tree: ScoreTree = SLOT if inner == size_tree(1) else make("floordiv", SLOT, inner)
        if extent == size_tree(1):
            yield size_tree(0)
        else:
            yield tree if axis == 0 else make("mod", tree, extent)


def _times(left: ScoreTree, right: ScoreTree) -> ScoreTree:
    return make("mul", left, right)


def _product(sizes: Shape) -> Size:
    return reduce(mul, sizes, 1)

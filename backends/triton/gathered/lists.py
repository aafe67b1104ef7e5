"""The keys of a query as a list of slots, and the functions that say which key a slot holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import ScoreWriter
from attnc.backends.triton.expressions import Printer
from attnc.backends.triton.layout import call, define
from attnc.backends.triton.names import Names
from attnc.backends.triton.routes import once_name
from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    Constant,
    Coordinate,
    Load,
    RoutedKeys,
    Sampled,
    ScoreTree,
    Source,
)
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import coordinates, make, reaches, size_tree
from attnc.dsl.scorelang.grids import AXES, along
from attnc.dsl.scorelang.ranges import Interval
from attnc.dsl.scorelang.simplify import TRUE

SLOT = Coordinate("slot")


@dataclass(frozen=True, slots=True)
class Listed:
    """Which key each slot of a query holds.

    Attributes:
        key: int tree of `b h i slot`, below 0 where a slot holds none.
        slots: of each query, a number unless an index tells it.
        index: the captured tensor that launchers put in order first; empty for none.
        meaning: for docstrings.
        places: parts of `key` by name: the position of a slot along each axis.
    """

    key: ScoreTree
    slots: Size
    index: str
    meaning: str
    places: tuple[tuple[str, ScoreTree], ...] = ()

    @property
    def by_head(self) -> bool:
        """Whether lists differ between heads."""
        return "h" in coordinates(self.key)


def listed(source: Source) -> Listed | None:
    """Return the lists of a source; none where keys stand in none, or the size of a box is open."""
    match source.domain:
        case RoutedKeys(index, chosen):
            places = (*index.indices, Coordinate("i"), SLOT)
            key = Load(once_name(index.tensor), places, "int")
            return Listed(key, chosen, index.tensor, "Keys that the index names")
        case Sampled():
            return _box(source.domain)
    return None


def _box(domain: Sampled) -> Listed | None:
    found, grid = reaches(domain), domain.grid
    assert grid is not None, f"{domain} has no grid"
    sides = tuple(each.number for each in found if isinstance(each.number, int))
    if len(sides) < len(found):
        return None
    key: ScoreTree = Constant(0)
    inside: ScoreTree = TRUE
    places: list[tuple[str, ScoreTree]] = []
    for axis, (each, length) in enumerate(zip(found, grid.keys, strict=True)):
        place = make("add", each.start, along("slot", sides, axis))
        places.append((AXES[axis - len(found)], place))
        inside = make("and", inside, make("ge", place, Constant(0)))
        inside = make("and", inside, make("lt", place, size_tree(length)))
        key = make("add", make("mul", key, size_tree(length)), place)
    key = make("where", inside, key, Constant(-1))
    return Listed(key, prod(sides), "", "A box around the centre", tuple(places))


@dataclass(frozen=True, slots=True)
class KeyFunction:
    """A device function from query and slot to key.

    Attributes:
        name: of the function.
        definitions: its source, after those of what it calls.
        arguments: what it takes besides query, slot and the number of keys.
    """

    name: str
    definitions: tuple[str, ...]
    arguments: tuple[str, ...]

    @property
    def used(self) -> set[str]:
        """Captured tensors, strides and sizes that it reads."""
        return {*self.arguments} - {"b", "h"}

    def keys(self, length: str) -> str:
        """Return the keys of slots `slot_j` of queries `i`; `length` where there is none."""
        return call(self.name, ["i", "slot_j", length, *self.arguments])


def key_function(
    name: str, lists: Listed, names: Names, ranges: Mapping[str, Interval]
) -> KeyFunction:
    """Write the function of a source.

    Args:
        name: of the function.
        lists: of the source.
        names: the vocabulary of the site.
        ranges: of `b`, `h` and `i`.

    Raises:
        Unknown: a size inside cannot be told.
    """
    printer = Printer(names, {**ranges, "slot": (0, None)})  # tiles may have more than there are
    for axis, place in lists.places:
        printer.assign(place, axis)
    printer.assign(lists.key, "key")
    slots = names.size(lists.slots)
    printer.used |= {slots} - {str(lists.slots)}
    body = [*printer.lines, f"exists = (slot < {slots}) & (key >= 0)"]
    used = (each for each in "bh" if each in printer.used)
    arguments = (*used, *names.ordered(printer.used))
    doc = f"{lists.meaning}: the key in a slot of a query, length for none."
    source = define(
        name, ["i", "slot", "length", *arguments], doc,
        [*body, "return tl.where(exists, key, length)"],
    )  # fmt: skip
    return KeyFunction(name, (*printer.definitions, source), arguments)


def lists_in_torch(name: str, lists: Listed, site: Site, number: int) -> str:
    """Write lists as a torch function of the entry's arguments, [b, h or 1, n, slots].

    Args:
        name: of the function.
        lists: of the source, in closed form.
        site: what they are of; `number` is that of the source.
    """
    attention = replace(site.attention, outputs=("out",))
    made = TorchFunction(replace(site, name=name, attention=attention))
    made.line(f"slot = torch.arange({lists.slots}, device=q.device)")
    known = made.known[number]
    known[SLOT] = "slot"
    writer = ScoreWriter(made, number)
    for axis, place in lists.places:
        known[place] = made.bind(axis, writer.integer(place))
    key = made.bind("key", writer.integer(lists.key))
    return made.source(f"{lists.meaning}: the key in each slot, -1 for none", f"{key}.int()")

"""Tiles of the template of pairs: by card, head dim and length, never tuned at a first call.

The rows are data (`cards`). Every one is held to a budget by `crosscompile`: no spills, shared
memory within the card's limit, tensor cores in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Union

from attnc.backends.triton import cards
from attnc.compiler.kernel import Target

Capability = tuple[int, int]

CAPABILITIES: Mapping[str, Capability] = {
    "cuda:80": (8, 0),
    "cuda:90": (9, 0),
    "cuda:100": (10, 0),
    "hip:gfx942": (9, 4),
}
"""What `torch.cuda.get_device_capability` says of each target."""

KINDS = ("forward", "queries", "keys", "pairs", "offsets")
"""The kernels of a site; the last, which walks diagonals of tiles, has square ones."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows of q and rows of k that a program holds at a time, warps, pipeline stages."""

    queries: int
    keys: int
    warps: int
    stages: int

    def __str__(self) -> str:
        return f"({self.queries}, {self.keys}, {self.warps}, {self.stages})"


LENGTHS: tuple[int | None, ...] = (16, 64, None)
"""Classes of the side whose tiles are spread over programs: up to so many rows, or any number."""

ANY = "any"
"""The last class in the files of cards."""

ByLength = Mapping[Union[int, None], Tile]
Tiles = Mapping[str, ByLength]
"""Kind of kernel -> length class -> tile."""


def _tables(card: str) -> Mapping[int, Tiles]:
    """Return the tables of a card's file: head dims up to -> kind -> length class -> tile."""
    tables: dict[int, dict[str, dict[int | None, Tile]]] = {}
    for (dim, kind, length), row in cards.rows(card, "pairs").items():
        by_length = tables.setdefault(int(dim), {}).setdefault(kind, {})
        by_length[None if length == ANY else int(length)] = Tile(*row)
    return tables


TILES: Mapping[str, Mapping[int, Tiles]] = {target: _tables(target) for target in CAPABILITIES}
"""Target -> head dims up to -> tiles, for float16 and bfloat16."""


def _heavy(card: str) -> Mapping[int, Mapping[str, Tile]]:
    tables: dict[int, dict[str, Tile]] = {}
    for (dim, kind), row in cards.rows(card, "heavy").items():
        tables.setdefault(int(dim), {})[kind] = Tile(*row)
    return tables


HEAVY: Mapping[str, Mapping[int, Mapping[str, Tile]]] = {
    target: _heavy(target) for target in CAPABILITIES
}
"""Target -> head dims up to -> tiles of sides over 16 where a pair takes more registers."""

SAFE: Mapping[int, Tiles] = _tables(cards.SAFE)
"""Head dims up to -> tiles that fit every card; for float32, and for cards that are not listed."""


def tiles_for(target: Target, dim: int) -> Tiles:
    """Return the tiles of a target for head dims up to `dim`."""
    return _at(TILES[str(target)], dim)


def safe_tiles(dim: int) -> Tiles:
    """Return the tiles that fit every card for head dims up to `dim`."""
    return _at(SAFE, dim)


def listed_tiles(target: Target, dim: int, heavy: bool) -> Tiles:
    """Return the tiles of a target as `tile_table` lists them."""
    tiles, name = tiles_for(target, dim), str(target)
    return _heavier(tiles, HEAVY[name][_most(HEAVY[name], dim)]) if heavy else tiles


def tile_of(tiles: ByLength, length: int) -> Tile:
    """Return the tile for a number of rows that tiles are spread over, as launchers choose it."""
    fitting = [most for most in tiles if most is not None and length <= most]
    return tiles[min(fitting, default=None)]


def tile_table(
    name: str,
    targets: Sequence[Target],
    dim: int,
    heavy: bool = False,
    kinds: Sequence[str] = KINDS,
) -> str:
    """Return the table of tile sizes that a file of kernels holds, as source.

    Args:
        name: of the table.
        targets: whose tiles it lists besides those that fit every card.
        dim: the larger head dim.
        heavy: whether a pair takes more registers than a scaled product and a term added to it.
        kinds: of kernels that the site has.
    """
    lines = [
        "# Per kernel: rows of q and of k in a tile, warps and stages, by the number of rows that",
        f"# tiles are spread over; on {', '.join(map(str, targets))} and elsewhere.",
        f"{name} = {{",
        *tile_rows(kinds, targets, dim, heavy),
    ]
    return "\n".join([*lines, "}"]) + "\n"


def tile_rows(
    kinds: Iterable[str], targets: Sequence[Target], dim: int, heavy: bool
) -> Iterator[str]:
    """Yield the lines of the table for some kinds of kernels; see `tile_table`."""
    listed = {str(target): listed_tiles(target, dim, heavy) for target in targets}
    safe = safe_tiles(dim)
    for kind in kinds:
        yield f'    "{kind}": {{'
        for target, tiles in listed.items():
            yield f"        {CAPABILITIES[target]}: {_row(tiles[kind])},"
        yield f"        None: {_row(safe[kind])},"
        yield "    },"


def _heavier(tiles: Tiles, own: Mapping[str, Tile]) -> Tiles:
    """Return tiles with those for heavy pairs in their places."""
    short, *longer = LENGTHS
    return {
        kind: {short: by_length[short], **{each: own.get(kind, by_length[each]) for each in longer}}
        for kind, by_length in tiles.items()
    }


def _at(table: Mapping[int, Tiles], dim: int) -> Tiles:
    return table[_most(table, dim)]


def _most(dims: Iterable[int], dim: int) -> int:
    return min(most for most in dims if dim <= most)


def _row(tiles: ByLength) -> str:
    """Return one row of the table, without classes that equal the next longer one."""
    kept: dict[int | None, Tile] = {}
    for length in reversed(LENGTHS):
        if not kept or list(kept.values())[-1] != tiles[length]:
            kept[length] = tiles[length]
    return "{" + ", ".join(f"{length}: {kept[length]}" for length in reversed(kept)) + "}"

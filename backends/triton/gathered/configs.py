"""Tile sizes of gathered rows: what a program holds of two sides, a row of d for each pair of them.

Nothing is multiplied on tensor cores, as every query has keys of its own: rows are read once and
tiles are small. Every row is held to the budget of `crosscompile`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attnc.backends.triton import cards
from attnc.backends.triton.configs import CAPABILITIES, Tile, tile_rows
from attnc.compiler.kernel import Target

KINDS = ("forward", "queries", "keys")
"""The kernels of a site: queries and their slots, or keys and the pairs that name them."""

ByKind = Mapping[str, Tile]
"""Kind of kernel -> queries and slots, or pairs and keys, in a tile, warps, stages."""


def _tables(card: str) -> Mapping[int, ByKind]:
    tables: dict[int, dict[str, Tile]] = {}
    for (dim, kind), row in cards.rows(card, "gathered").items():
        tables.setdefault(int(dim), {})[kind] = Tile(*row)
    return tables


TILES: Mapping[str, Mapping[int, ByKind]] = {target: _tables(target) for target in CAPABILITIES}
"""Target -> head dims up to -> tiles, for float16 and bfloat16."""

SAFE: Mapping[int, ByKind] = _tables(cards.SAFE)
"""Head dims up to -> tiles that fit every card; for float32, and for cards that are not listed."""


@dataclass(frozen=True, slots=True)
class Joint:
    """How kernels over queries hold lists and, beside them, keys that are multiplied as tiles.

    Attributes:
        tile: of queries and of keys.
        slots: of lists in a tile of as many queries.
    """

    tile: Tile
    slots: int


def _joint() -> Mapping[int, Mapping[str, Joint]]:
    tables: dict[int, dict[str, Joint]] = {}
    for (dim, kind), (queries, keys, slots, *others) in cards.rows(cards.SAFE, "joint").items():
        tables.setdefault(int(dim), {})[kind] = Joint(Tile(queries, keys, *others), slots)
    return tables


JOINT = _joint()
"""Head dims up to -> kernels over queries -> tiles that fit every card; wider rows spill."""


def joint(kind: str, dim: int) -> Joint:
    """Return how a kernel over queries holds lists beside tiles of keys."""
    return JOINT[min(most for most in JOINT if dim <= most)][kind]


def tile_table(name: str, targets: Sequence[Target], dim: int, box: int = 0) -> str:
    """Return the table of tile sizes that a file of kernels holds, as source.

    Args:
        name: of the table.
        targets: whose tiles it lists besides those that fit every card.
        dim: the larger head dim.
        box: slots that a tile of queries holds; 0 where that is free.
    """
    lines = [
        "# Per kernel: queries and slots, or pairs and keys, in a tile, warps and stages; on",
        f"# {', '.join(map(str, targets))} and elsewhere.",
        f"{name} = {{",
        *(line for kind in KINDS for line in _rows(kind, kind, targets, dim, box)),
    ]
    return "\n".join([*lines, "}"]) + "\n"


def joint_table(name: str, targets: Sequence[Target], dim: int, heavy: bool) -> str:
    """Return the same where tiles of keys are beside lists.

    Args:
        name: of the table; `targets` and `dim` likewise.
        targets: see there.
        dim: see there.
        heavy: whether a pair takes more registers than a scaled product and a term added to it.
    """
    lines = [
        "# Per kernel: rows of q and of k in a tile, of lists pairs and keys, warps and stages, by",
        f"# the number of rows that tiles are spread over; on {', '.join(map(str, targets))} and",
        "# elsewhere.",
        f"{name} = {{",
    ]
    for kind in ("forward", "queries"):
        lines += [f'    "{kind}": {{None: {{None: {joint(kind, dim).tile}}}}},']
    lines += [*_rows("lists", "keys", targets, dim, 0)]
    lines += [*tile_rows(("keys", "pairs"), targets, dim, heavy)]
    return "\n".join([*lines, "}"]) + "\n"


def _rows(name: str, kind: str, targets: Sequence[Target], dim: int, box: int) -> Iterator[str]:
    """Yield the lines for a kind of kernel, under a name."""
    yield f'    "{name}": {{'
    for each in map(str, targets):
        yield f"        {CAPABILITIES[each]}: {{None: {_at(TILES[each], dim, box)[kind]}}},"
    yield f"        None: {{None: {_at(SAFE, dim, box)[kind]}}},"
    yield "    },"


def _at(table: Mapping[int, ByKind], dim: int, box: int) -> ByKind:
    tiles = table[min(most for most in table if dim <= most)]
    if not box:
        return tiles
    return {kind: tile if kind == "keys" else _whole(tile, box) for kind, tile in tiles.items()}


def _whole(tile: Tile, box: int) -> Tile:
    """Return a tile of whole boxes, of as many pairs or, if one box is more, by more threads."""
    pairs = tile.queries * tile.keys
    warps = min(tile.warps * max(1, box // pairs), 16)
    return Tile(max(1, pairs // box), box, warps, tile.stages)

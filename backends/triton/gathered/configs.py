"""Tile sizes of gathered rows: what a program holds of two sides, a row of d for each pair of them.

Nothing is multiplied on tensor cores, as every query has keys of its own: rows are read once and
tiles are small. Every row is held to the budget of `crosscompile`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnc.backends.triton.configs import CAPABILITIES, Tile
from attnc.compiler.kernel import Target

KINDS = ("forward", "queries", "keys")
"""The kernels of a site: queries and their slots, or keys and the pairs that name them."""

ByKind = Mapping[str, Tile]
_Row = tuple[int, int, int, int]


def _tiles(forward: _Row, queries: _Row, keys: _Row) -> ByKind:
    return {"forward": Tile(*forward), "queries": Tile(*queries), "keys": Tile(*keys)}


_HALF: Mapping[int, ByKind] = {
    32: _tiles((16, 8, 4, 1), (8, 8, 4, 1), (16, 4, 4, 1)),
    64: _tiles((8, 8, 4, 1), (8, 4, 4, 1), (8, 4, 4, 1)),
    128: _tiles((8, 4, 4, 1), (4, 4, 4, 1), (16, 2, 4, 1)),
    256: _tiles((4, 4, 4, 1), (4, 2, 4, 1), (8, 2, 4, 1)),
}
TILES: Mapping[str, Mapping[int, ByKind]] = dict.fromkeys(CAPABILITIES, _HALF)
"""Target -> head dims up to -> tiles, for float16 and bfloat16: none is bound by what differs."""

SAFE: Mapping[int, ByKind] = {
    32: _tiles((8, 8, 4, 1), (8, 4, 4, 1), (16, 4, 4, 1)),
    64: _tiles((8, 4, 4, 1), (4, 4, 4, 1), (16, 2, 4, 1)),
    128: _tiles((4, 4, 4, 1), (4, 2, 4, 1), (8, 2, 4, 1)),
    256: _tiles((4, 2, 4, 1), (2, 2, 4, 1), (8, 1, 4, 1)),
}
"""Head dims up to -> tiles that fit every card; for float32, and for cards that are not listed."""


def tile_table(name: str, targets: Sequence[Target], dim: int, box: int = 0) -> str:
    """Return the table of tile sizes that a file of kernels holds, as source.

    Args:
        name: of the table.
        targets: whose tiles it lists besides those that fit every card.
        dim: the larger head dim.
        box: slots that a tile of queries holds; 0 where that is free.
    """
    listed = {CAPABILITIES[str(each)]: _at(TILES[str(each)], dim, box) for each in targets}
    safe = _at(SAFE, dim, box)
    lines = [
        "# Per kernel: queries and slots, or pairs and keys, in a tile, warps and stages; on",
        f"# {', '.join(map(str, targets))} and elsewhere.",
        f"{name} = {{",
    ]
    for kind in KINDS:
        lines.append(f'    "{kind}": {{')
        lines += [f"        {card}: {{None: {tiles[kind]}}}," for card, tiles in listed.items()]
        lines += [f"        None: {{None: {safe[kind]}}},", "    },"]
    return "\n".join([*lines, "}"]) + "\n"


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

"""Tile sizes of gathered rows: what a program holds of two sides, a row of d for each pair of them.

Nothing is multiplied on tensor cores, as every query has keys of its own: rows are read once and
tiles are small. Every row is held to the budget of `crosscompile`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnc.backends.triton import cards
from attnc.backends.triton.configs import CAPABILITIES, Tile
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

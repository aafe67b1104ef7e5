"""Tile sizes as shipped data, as `triton.configs` has them for the templates of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnc.backends.triton.configs import CAPABILITIES, Tile
from attnc.compiler.kernel import Target

KINDS = ("products", "weighted")
"""The kernels: x y^T, and weights x."""

ByRows = Mapping[int | None, Tile]
"""Rows up to -> rows of a tile, columns that are gone through at a time, warps, stages."""


def _tiles(*rows: tuple[int, int, int, int]) -> ByRows:
    return {most: Tile(*row) for most, row in zip((16, 32, None), rows, strict=True)}


TILES: Mapping[str, Mapping[str, ByRows]] = {
    card: {
        "products": _tiles((16, 128, 4, 3), (32, 128, 4, 3), (64, 64, 4, 3)),
        "weighted": _tiles((16, 128, 4, 2), (32, 128, 4, 2), (64, 64, 8, 2)),
    }
    for card in CAPABILITIES
}
"""Target -> kernel -> tiles for float16 and bfloat16; bytes count here, the same on every card."""

SAFE: Mapping[str, ByRows] = {
    "products": _tiles((16, 64, 4, 1), (32, 64, 4, 1), (64, 32, 4, 1)),
    "weighted": _tiles((16, 32, 4, 1), (32, 64, 4, 1), (32, 64, 4, 1)),
}
"""For float32, and for cards that are not listed."""


def tile_table(targets: Sequence[Target]) -> str:
    """Return the table of tile sizes that a file of kernels holds, as source."""
    lines = [
        "# Per kernel, by the number of rows: rows of a tile, columns at a time, warps and stages;",
        f"# on {', '.join(map(str, targets))} and elsewhere.",
        "gram_tiles = {",
    ]
    for kind in KINDS:
        lines.append(f'    "{kind}": {{')
        for target in targets:
            row = _row(TILES[str(target)][kind])
            lines.append(f"        {CAPABILITIES[str(target)]}: {row},")
        lines += [f"        None: {_row(SAFE[kind])},", "    },"]
    return "\n".join([*lines, "}"]) + "\n"


def _row(tiles: ByRows) -> str:
    return "{" + ", ".join(f"{most}: {tile}" for most, tile in tiles.items()) + "}"

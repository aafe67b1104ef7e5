"""Tile sizes as shipped data, as `triton.configs` has them for the templates of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnc.backends.triton.configs import CAPABILITIES, Tile
from attnc.compiler.kernel import Target

KINDS = ("chunks", "rates", "rows")
"""Kernels that go through chunks, that for the gradient of the rate, and those without order."""

ByKind = Mapping[str, Tile]
"""Kind of kernel -> rows of a chunk and columns of what a program writes, warps, stages."""


_Row = tuple[int, int, int, int]


def _tiles(*rows: _Row) -> ByKind:
    return {kind: Tile(*row) for kind, row in zip(KINDS, rows, strict=True)}


TILES: Mapping[str, Mapping[int, ByKind]] = {
    "cuda:80": {
        32: _tiles((64, 32, 4, 1), (32, 32, 4, 1), (64, 64, 4, 1)),
        64: _tiles((32, 32, 4, 1), (32, 16, 4, 1), (64, 64, 8, 1)),
        128: _tiles((32, 32, 8, 1), (32, 16, 4, 1), (64, 64, 4, 1)),
        256: _tiles((16, 16, 8, 1), (32, 16, 4, 1), (64, 32, 8, 1)),
    },
    "cuda:90": {
        32: _tiles((64, 32, 4, 2), (64, 32, 8, 1), (64, 64, 4, 2)),
        64: _tiles((64, 64, 8, 2), (64, 32, 8, 1), (64, 64, 4, 2)),
        128: _tiles((32, 64, 8, 1), (64, 32, 8, 1), (64, 64, 4, 2)),
        256: _tiles((16, 32, 8, 1), (64, 32, 8, 1), (64, 32, 8, 2)),
    },
    "cuda:100": {
        32: _tiles((64, 32, 4, 1), (32, 32, 4, 1), (64, 64, 4, 1)),
        64: _tiles((32, 32, 4, 1), (32, 16, 4, 1), (64, 64, 4, 1)),
        128: _tiles((32, 32, 8, 1), (32, 16, 4, 1), (64, 64, 4, 1)),
        256: _tiles((16, 32, 8, 1), (32, 16, 4, 1), (64, 32, 8, 1)),
    },
    "hip:gfx942": {
        32: _tiles((64, 32, 4, 2), (64, 32, 4, 1), (64, 64, 4, 1)),
        64: _tiles((64, 32, 4, 2), (32, 32, 4, 1), (64, 64, 4, 1)),
        128: _tiles((32, 32, 4, 1), (32, 32, 4, 1), (64, 64, 4, 1)),
        256: _tiles((16, 16, 8, 1), (32, 32, 4, 1), (64, 32, 8, 1)),
    },
}
"""Target -> head dims up to -> tiles, for float16 and bfloat16."""

SAFE: Mapping[int, ByKind] = {
    32: _tiles((16, 32, 4, 1), (16, 16, 4, 1), (16, 16, 4, 1)),
    64: _tiles((16, 32, 4, 1), (16, 16, 4, 1), (16, 16, 4, 1)),
    128: _tiles((16, 16, 8, 1), (16, 16, 4, 1), (16, 16, 16, 1)),
    256: _tiles((16, 16, 8, 1), (16, 16, 4, 1), (16, 16, 16, 1)),
}
"""Head dims up to -> tiles that fit every card; for float32, and for cards that are not listed."""


def tile_table(name: str, targets: Sequence[Target], dim: int, kinds: Sequence[str]) -> str:
    """Return the table of tile sizes that a file of kernels holds, as source.

    Args:
        name: of the table.
        targets: whose tiles it lists besides those that fit every card.
        dim: the larger head dim.
        kinds: of kernels that the file has.
    """
    listed = {CAPABILITIES[str(each)]: _at(TILES[str(each)], dim) for each in targets}
    cards = ", ".join(map(str, targets))
    lines = [
        "# Per kernel: rows of a chunk and columns of what a program writes, warps and stages;",
        f"# on {cards} and elsewhere, for any number of rows.",
        f"{name} = {{",
    ]
    for kind in kinds:
        lines.append(f'    "{kind}": {{')
        lines += [f"        {card}: {{None: {tiles[kind]}}}," for card, tiles in listed.items()]
        lines += [f"        None: {{None: {_at(SAFE, dim)[kind]}}},", "    },"]
    return "\n".join([*lines, "}"]) + "\n"


def _at(table: Mapping[int, ByKind], dim: int) -> ByKind:
    return table[min(most for most in table if dim <= most)]

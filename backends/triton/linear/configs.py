"""Tiles of the template of linear attention, as `triton.configs` has those of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnc.backends.triton import cards
from attnc.backends.triton.configs import CAPABILITIES, Tile
from attnc.compiler.kernel import Target

KINDS = ("chunks", "rates", "rows")
"""Kernels that go through chunks, that for the gradient of the rate, and those without order."""

ByKind = Mapping[str, Tile]
"""Kind of kernel -> rows of a chunk and columns of what a program writes, warps, stages."""


def _tables(card: str) -> Mapping[int, ByKind]:
    tables: dict[int, dict[str, Tile]] = {}
    for (dim, kind), row in cards.rows(card, "linear").items():
        tables.setdefault(int(dim), {})[kind] = Tile(*row)
    return tables


TILES: Mapping[str, Mapping[int, ByKind]] = {target: _tables(target) for target in CAPABILITIES}
"""Target -> head dims up to -> tiles, for float16 and bfloat16."""

SAFE: Mapping[int, ByKind] = _tables(cards.SAFE)
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

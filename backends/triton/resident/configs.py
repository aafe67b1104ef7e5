"""Tiles of resident kernels: rows of the streamed side, warps and stages, by card; data of `cards`.

The side that stays is a tile of its own. Every row is held to the budget of `crosscompile`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnc.backends.triton import cards
from attnc.backends.triton.configs import CAPABILITIES
from attnc.compiler.kernel import Target

MOST = 128
"""Tokens that may stay in a tile."""

WIDEST = 128
"""Largest head dim beside them."""

KINDS = ("forward", "gradients")


_Row = tuple[int, int, int]
"""Rows of a streamed tile, warps, pipeline stages."""

Place = tuple[int, int]
"""Head dims up to; rows of the tile that stays."""

ByKind = Mapping[str, _Row]


def _tables(card: str) -> Mapping[Place, ByKind]:
    tables: dict[Place, dict[str, _Row]] = {}
    for (dim, stays, kind), (rows, warps, stages) in cards.rows(card, "resident").items():
        tables.setdefault((int(dim), int(stays)), {})[kind] = rows, warps, stages
    return tables


TILES: Mapping[str, Mapping[Place, ByKind]] = {target: _tables(target) for target in CAPABILITIES}
"""Target -> what stays -> tiles of both kernels in half precision; what is not here spills."""

SAFE: _Row = (16, 8, 1)
"""For float32, and for cards that are not listed."""


def fits(target: Target, dim: int, stays: int) -> bool:
    """Say whether there are tiles on a target for head dims up to `dim`."""
    return _place(dim, stays) in TILES[str(target)]


def _place(dim: int, stays: int) -> Place:
    return next((most for most in (32, 64, 128) if dim <= most), dim), stays


def tile_table(name: str, targets: Sequence[Target], dim: int, stays: int, keys_stay: bool) -> str:
    """Return the table of tile sizes that a file of kernels holds, as source.

    Args:
        name: of the table.
        targets: whose tiles it lists besides those that fit every card.
        dim: the larger head dim.
        stays: rows of the tile that stays.
        keys_stay: whether they are of k.
    """
    place = _place(dim, stays)
    targets = [each for each in targets if fits(each, dim, stays)]
    lines = [
        "# Per kernel: rows of q and of k in a tile, warps and stages; on "
        f"{', '.join(map(str, targets))} and elsewhere.",
        f"{name} = {{",
    ]
    for kind in KINDS:
        lines.append(f'    "{kind}": {{')
        for target in targets:
            row = _row(TILES[str(target)][place][kind], stays, keys_stay)
            lines.append(f"        {CAPABILITIES[str(target)]}: {row},")
        lines.append(f"        None: {_row(SAFE, stays, keys_stay)},")
        lines.append("    },")
    return "\n".join([*lines, "}"]) + "\n"


def _row(tile: _Row, stays: int, keys_stay: bool) -> str:
    rows, *others = tile
    both = (rows, stays) if keys_stay else (stays, rows)
    return f"{{None: {(*both, *others)}}}"

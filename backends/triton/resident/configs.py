"""Tile sizes of resident kernels: rows of the streamed side, warps and stages, by card.

The side that stays is a tile of its own. Every row is held to the budget of `crosscompile`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnc.backends.triton.configs import CAPABILITIES
from attnc.compiler.kernel import Target

MOST = 128
"""Tokens that may stay in a tile."""

WIDEST = 128
"""Largest head dim beside them."""

KINDS = ("forward", "gradients")


@dataclass(frozen=True, slots=True)
class Streamed:
    """Rows of a streamed tile, warps, pipeline stages."""

    rows: int
    warps: int
    stages: int


def tiles(target: Target, kind: str, dim: int, stays: int) -> Streamed:
    """Return the tiles of a target."""
    return Streamed(32, 8, 1)


def safe_tiles(kind: str, dim: int, stays: int) -> Streamed:
    """Return tiles that fit every card; for float32, and for cards that are not listed."""
    return Streamed(16, 8, 1)


def tile_table(name: str, targets: Sequence[Target], dim: int, stays: int, keys_stay: bool) -> str:
    """Return the table of tile sizes that a file of kernels holds, as source.

    Args:
        name: of the table.
        targets: whose tiles it lists besides those that fit every card.
        dim: the larger head dim.
        stays: rows of the tile that stays.
        keys_stay: whether they are of k.
    """
    lines = [
        "# Per kernel: rows of q and of k in a tile, warps and stages; on "
        f"{', '.join(map(str, targets))} and elsewhere.",
        f"{name} = {{",
    ]
    for kind in KINDS:
        lines.append(f'    "{kind}": {{')
        for target in targets:
            row = _row(tiles(target, kind, dim, stays), stays, keys_stay)
            lines.append(f"        {CAPABILITIES[str(target)]}: {row},")
        lines.append(f"        None: {_row(safe_tiles(kind, dim, stays), stays, keys_stay)},")
        lines.append("    },")
    return "\n".join([*lines, "}"]) + "\n"


def _row(tile: Streamed, stays: int, keys_stay: bool) -> str:
    both = (tile.rows, stays) if keys_stay else (stays, tile.rows)
    return f"{{None: {(*both, tile.warps, tile.stages)}}}"

"""Tile sizes as shipped data: chosen by card, head dim and length, never tuned at the first call.

Every row of the table is held to a budget by `crosscompile`: no spills, shared memory within the
card's limit, tensor cores in use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

from attnc.compiler.kernel import Target

Capability = tuple[int, int]

CAPABILITIES: Mapping[str, Capability] = {
    "cuda:80": (8, 0),
    "cuda:90": (9, 0),
    "cuda:100": (10, 0),
    "hip:gfx942": (9, 4),
}
"""What `torch.cuda.get_device_capability` says of each target."""

KINDS = ("forward", "queries", "keys", "pairs")
"""The kernels of a site."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows of q and rows of k that a program holds at a time, warps, pipeline stages."""

    queries: int
    keys: int
    warps: int
    stages: int

    def __str__(self) -> str:
        return f"({self.queries}, {self.keys}, {self.warps}, {self.stages})"


ByLength = Mapping[Union[int, None], Tile]
"""Longest side -> tile; none stands for any length and comes last."""

SAFE: Mapping[str, ByLength] = {kind: {None: Tile(32, 32, 4, 1)} for kind in KINDS}


def tile_table(name: str, target: Target, dim: int) -> str:
    """Return the table of tile sizes that a file of kernels holds, as source.

    Args:
        name: of the table.
        target: whose sizes it lists besides those that fit every card.
        dim: the larger head dim.
    """
    lines = [f"{name} = {{"]
    for kind in KINDS:
        lines.append(f'    "{kind}": {{')
        lines.append(f"        None: {_row(SAFE[kind])},")
        lines.append("    },")
    return "\n".join([*lines, "}"]) + "\n"


def _row(tiles: ByLength) -> str:
    return "{" + ", ".join(f"{length}: {tile}" for length, tile in tiles.items()) + "}"

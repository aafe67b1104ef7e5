"""How often the forward kernel reads a row of q or k, as far as numbers tell."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.backends.triton.configs import ByLength, tile_of
from attnc.backends.triton.launcher import FULL
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.streams import Stream
from attnc.compiler.kernel import Site


def row_reads(problem: Problem, site: Site, tiles: ByLength) -> Mapping[str, int | None]:
    """Return for q, and for the k of each source, how often each of its rows is read.

    A row of q is in one tile; one of k is read by each tile of queries that may see it, all of them
    where the domain is not by block. None where a size is a symbol.

    Args:
        problem: the site as the template sees it; `site` as the planner does.
        tiles: of the forward kernel, by the number of rows.
    """
    found: dict[str, int | None] = {"q": 1}
    for number, (stream, (k, _)) in enumerate(zip(problem.streams, site.sources, strict=True)):
        heads, own, n = site.q.shape[1], k.shape[1], site.q.shape[2]
        shared = heads // own if isinstance(heads, int) and isinstance(own, int) else None
        if heads == own:
            shared = 1
        runs = None if shared is None else _runs(problem, stream, n, shared, tiles)
        found[f"k{number}"] = None if runs is None else runs * (1 + problem.late)
    return found


def _runs(problem: Problem, stream: Stream, n: object, shared: int, tiles: ByLength) -> int | None:
    """Return how many tiles of queries read a key, those of all heads that share it."""
    blocks = stream.blocks
    if blocks is not None:
        if not blocks.packs or not isinstance(blocks.own.size, int):
            return None
        tile = tile_of(tiles, max(blocks.own.size, FULL))
        return shared * -(-blocks.own.size // tile.queries)
    if not isinstance(n, int):
        return None
    rows, times = (n * shared, 1) if problem.group else (n, shared)
    return times * -(-rows // tile_of(tiles, rows).queries)

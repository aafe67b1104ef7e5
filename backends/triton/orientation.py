"""How kernels hold a tile of pairs: queries by keys, or keys by queries."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a kernel holds a tile of pairs.

    Attributes:
        product: qk; `grad_product` is dp.
        i: rows of a tile of queries; `j` of keys.
        per_query: index that stretches one value per query over the tile; `per_key` likewise.
        stays: `i` or `j`.
        h: heads of a tile.
    """

    product: str
    grad_product: str
    i: str
    j: str
    per_query: str
    per_key: str
    stays: str
    h: str = "h"

    def stretched(self, token: str) -> str:
        """Return the index that stretches one value per token over the tile."""
        return self.per_query if token == "i" else self.per_key


def product(left: str, right: str, into: str = "") -> str:
    """Return left times right, added to `into` if given; both are tiles."""
    if into:
        return f"tl.dot({left}, {right}, {into}, PRECISION)"
    return f"tl.dot({left}, {right}, None, PRECISION, out_dtype=tl.float32)"


QUERIES_BY_KEYS = Orientation(
    product("q_tile", "tl.trans(k_tile)"), product("grad_tile", "tl.trans(v_tile)"),
    "i", "cols", "[:, None]", "[None, :]", "i",
)  # fmt: skip
KEYS_BY_QUERIES = Orientation(
    product("k_tile", "tl.trans(q_tile)"), product("v_tile", "tl.trans(grad_tile)"),
    "near", "j", "[None, :]", "[:, None]", "j",
)  # fmt: skip
HEADS_BY_KEYS = replace(QUERIES_BY_KEYS, h="h[:, None]")
KEYS_BY_HEADS = replace(KEYS_BY_QUERIES, h="h[None, :]")
"""Both for tiles of the queries of several heads."""
PAIRS = replace(QUERIES_BY_KEYS, i="near_i")

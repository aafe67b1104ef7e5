"""The results of a site: made before the tiles, finished after them, kept for the gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnc.backends.tiled.functions import TileFunction
from attnc.backends.tiled.gathered import keys_of
from attnc.backends.tiled.tile import Tile, listed

NARROW = ("out", "back", "slot_weights")
"""Results in the dtype of values; statistics are in float32 at least."""


class Results:
    """Writes what stands around the loops over tiles.

    Attributes:
        names: of the results, in the order of the operator.
        kept: further results of the forward pass, which are for the backward pass alone.
        read_back: results, some of them kept, that the backward pass reads.
    """

    def __init__(self, tile: Tile) -> None:
        self._tile, self._functions = tile, tile.functions
        self._site, self._suffixes = tile.functions.site, tile.suffixes
        self.names = tuple(tile.results)
        self.kept, self.read_back = self._carried()

    @property
    def graded(self) -> tuple[str, ...]:
        """Results whose gradients are taken."""
        return tuple(name for name in self.names if name != "index")

    def empty(self, name: str) -> str:
        """Return the line that makes an empty result."""
        return self._empty(name, "", " + ".join(f"k{each}.shape[2]" for each in self._suffixes))

    def empties(self) -> Iterator[str]:
        """Yield lines that make all results, part by part where keys are of several sources."""
        for name in (*self.names, *(("sums",) if self._tile.divides_later else ())):
            if name in self._by_key and name != "back":
                yield from (self._empty(name, s, f"k{s}.shape[2]") for s in self._suffixes)
            else:
                yield self.empty(name)
        if "out" in self.names:
            yield "out.zero_()  # queries without keys have no tile"
        if "back" in self.names:
            yield "back.zero_()"
            yield from self._parted("back") if "back" in self._by_key else ()
        for suffix in self._suffixes if "back" in self.names else ():
            yield f"peaks{suffix} = q.new_full(back{suffix}.shape[:3], -torch.inf)"
            yield f"totals{suffix} = q.new_zeros(back{suffix}.shape[:3])"

    def finished(self) -> Iterator[str]:
        """Yield lines from what the tiles left to the results."""
        for suffix in self._suffixes if "back" in self.names else ():
            peaks, totals = f"peaks{suffix}", f"totals{suffix}"
            yield f"back{suffix} /= {totals}.masked_fill({totals} == 0, 1.0).unsqueeze(-1)"
            lse = f"torch.where({totals} == 0, 0.0, {peaks} + {totals}.log())"
            yield f"back_lse{suffix} = {lse}"
        if self._tile.divides_later:
            yield from self._only_rows("sums", "1.0")
            yield "sums = sums.masked_fill(sums == 0, 1.0)"
            yield "out /= sums"
        for name in self._by_key:
            parts = listed([f"{name}{suffix}" for suffix in self._suffixes])
            if name != "back":  # its parts are views
                yield f"{name} = torch.cat({parts}, dim=-1)"

    def carried_back(self) -> Iterator[str]:
        """Yield lines from what the backward pass is given to what its tiles read."""
        if "back" in self.names:
            yield "pulls = (grad_back * back).sum(-1)"
        if self._tile.divides_later:
            yield "drift = (grad_out * out).sum(-1, keepdim=True)"
            yield from self._only_rows("drift", "0.0")
        for name in self._by_key:
            if name in self.kept:
                yield from self._parted(name)
            elif name != "index":
                yield from self._parted(f"grad_{name}")
        if "back" in self._by_key:
            yield from self._parted("pulls")

    def _carried(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what is kept for the backward pass, and all results that it reads."""
        if "back" in self.names:
            return ("back_lse",), ("back", "back_lse")
        return (("sums",), ("out", "sums")) if self._tile.divides_later else ((), ())

    @property
    def _by_key(self) -> Sequence[str]:
        """Results of several sources that have an axis of keys."""
        names = {
            "received",
            "back",
            "back_lse",
            *(("lse", "index") if self._tile.by_column else ()),
        }
        found = (*self.names, *self.kept) if len(self._suffixes) > 1 else ()
        return [name for name in found if name in names]

    def _parted(self, name: str) -> Iterator[str]:
        """Yield the line that parts a tensor by the keys of sources."""
        lengths = listed([f"k{suffix}.shape[2]" for suffix in self._suffixes])
        parts = ", ".join(f"{name}{suffix}" for suffix in self._suffixes)
        yield f"{parts} = {name}.split({lengths}, dim={-2 if name.endswith('back') else -1})"

    def _only_rows(self, name: str, otherwise: str) -> Iterator[str]:
        """Yield lines that leave a number for rows that are not renormalised."""
        rows = self._functions.rows
        if rows is not None:
            yield "bs, hs, rows = (slice(0, size) for size in q.shape[:3])"
            yield f"{name} = torch.where({rows.call}, {name}, {otherwise})"

    def _empty(self, name: str, suffix: str, keys: str) -> str:
        """Return the line that makes an empty result, or its part of so many keys."""
        made, statistic = f"{name}{suffix}", keys if self._tile.by_column else "q.shape[2]"
        match name:
            case "out":
                v = f"v{self._suffixes[0]}"
                return f"out = empty_by_token({v}, *q.shape[1:3], {v}.shape[3])"
            case "back":
                return f"{made} = empty_by_token(vq, q.shape[1], {keys}, vq.shape[3])"
            case "slot_weights":
                count = keys_of(self._site.attention.sources[0].domain)
                slots = TileFunction(self._site).inline(count)
                return f"slot_weights = q.new_zeros(*q.shape[:3], {slots})"
            case "received" | "back_lse":
                return f"{made} = q.new_zeros(*q.shape[:2], {keys})"
            case "sums":
                return "sums = q.new_zeros(*q.shape[:3], 1)"
            case "lse":
                return f"{made} = q.new_full((*q.shape[:2], {statistic}), -torch.inf)"
        return f"{made} = q.new_full((*q.shape[:2], {statistic}), -1, dtype=torch.long)"

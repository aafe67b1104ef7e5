"""What generated kernels call: attention tile by tile in plain torch, emitted as it stands here.

A tile is a run of queries against a run of keys. Scores exist for one tile at a time; the backward
pass computes them again and finds the weights from lse. Everything is in the dtype of the
statistics: float32, or float64 where q is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LOG2_E = 1.4426950408889634
TILE = 2**19
"""Pairs of a tile, over batch and heads: some megabytes, what caches hold."""


@dataclass(frozen=True)
class Tile:
    """Queries `rows` against keys `cols`; `cut` if the band may forbid some of the pairs."""

    rows: slice
    cols: slice
    cut: bool
    device: torch.device

    @property
    def i(self) -> Tensor:
        """The queries, [rows, 1]."""
        return torch.arange(self.rows.start, self.rows.stop, device=self.device)[:, None]

    @property
    def j(self) -> Tensor:
        """The keys, [1, cols]."""
        return torch.arange(self.cols.start, self.cols.stop, device=self.device)[None]

    @property
    def apart(self) -> Tensor:
        """Every value of i - j, one for each diagonal: [1, rows + cols - 1]."""
        first, last = self.rows.stop - 1 - self.cols.start, self.rows.start - self.cols.stop
        return torch.arange(first, last, -1, device=self.device)[None]

    def spread(self, values: Tensor) -> Tensor:
        """Values by `apart`, [..., 1, rows + cols - 1], at their pairs: [..., rows, cols]."""
        count = self.rows.stop - self.rows.start
        values = torch.nn.functional.pad(values, (0, 1))
        columns = values.expand(*values.shape[:-2], count, values.shape[-1]).contiguous()
        return diagonals(columns)

    def gather(self, pairs: Tensor) -> Tensor:
        """Sums over pairs equally far apart: [..., rows, cols] to [..., 1, rows + cols - 1]."""
        *outer, count, width = pairs.shape
        columns = pairs.new_zeros(*outer, count, count + width)
        diagonals(columns).copy_(pairs)
        return columns.sum(-2, keepdim=True)[..., :-1]


@dataclass(frozen=True)
class Part:
    """One source under the query, with the functions that are its own.

    Attributes:
        k, v: [b * hk, m, d] and [b * hk, m, e].
        group: heads of q that share one of k and v.
        operands: arguments of the site, which its functions take last.
        scale: what q is multiplied by.
        reach: (first, last query) to the keys that some of them see, and within them those that
            the band allows to all: start, full_start, full_stop, stop.
        scores: (qk, tile) to scores; may write to qk.
        allowed: (tile) to the pairs allowed within the band; none where all are.
        gradient: (d scores, qk, tile, gradients of captured tensors, which it adds to) to d qk.
        fragile: whether scores of forbidden pairs may be no numbers.
    """

    k: Tensor
    v: Tensor
    group: int
    operands: tuple[Tensor, ...]
    scale: float
    reach: Callable[..., tuple[int, int, int, int]]
    scores: Callable[..., Tensor]
    allowed: Callable[..., Tensor] | None
    gradient: Callable[..., Tensor]
    fragile: bool

    def fold(self, x: Tensor) -> Tensor:
        """Lay the rows of heads that share keys side by side: [b * hk, group * n, width]."""
        batch, heads, n, width = x.shape
        return x.reshape(batch * heads // self.group, self.group * n, width)

    def tiles(self, rows: slice, most: int) -> Iterator[Tile]:
        """Cut the keys that some of the queries see."""
        start, full_start, full_stop, stop = self.reach(rows.start, rows.stop - 1, *self.operands)
        full_start = min(max(full_start, start), stop)
        full_stop = min(max(full_stop, full_start), stop)
        runs = [(start, full_start, True), (full_start, full_stop, False), (full_stop, stop, True)]
        if stop - start <= most:
            runs = [(start, stop, (full_start, full_stop) != (start, stop))]
        for first, last, cut in runs:
            for cols in even(first, last, most):
                yield Tile(rows, cols, cut, self.k.device)


def even(start: int, stop: int, most: int) -> Iterator[slice]:
    """Cut a run into even pieces of `most` at most."""
    length = max(stop - start, 0)
    count = -(-length // most)
    for at in range(count):
        yield slice(start + length * at // count, start + length * (at + 1) // count)


def diagonals(columns: Tensor) -> Tensor:
    """View columns [..., rows, rows + cols] as [..., rows, cols], each column a diagonal."""
    count, width = columns.shape[-2:]
    flat = columns.flatten(-2)[..., count - 1 : -1]
    return flat.unflatten(-1, (count, width - 1))[..., : width - count]


def exp_(x: Tensor) -> Tensor:
    """Exponentiate in place; powers of 2 take CPUs a third of the time."""
    return x.mul_(LOG2_E).exp2_()

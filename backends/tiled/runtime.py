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


@dataclass(frozen=True)
class Tile:
    """Queries `rows` against keys `cols`; `cut` where the band may forbid some of the pairs."""

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
        first = self.rows.stop - 1 - self.cols.start
        last = self.rows.start - self.cols.stop
        return torch.arange(first, last, -1, device=self.device)[None]

    def spread(self, values: Tensor) -> Tensor:
        """Values by `apart`, [..., 1, rows + cols - 1], at their pairs: [..., rows, cols]."""
        count = self.rows.stop - self.rows.start
        values = torch.nn.functional.pad(values, (0, 1))
        shape = (*values.shape[:-2], count, values.shape[-1])
        return diagonals(values.expand(shape).contiguous())

    def gather(self, pairs: Tensor) -> Tensor:
        """Sums of pairs equally far apart: [..., rows, cols] to [..., 1, rows + cols - 1]."""
        count, width = pairs.shape[-2:]
        columns = pairs.new_zeros(*pairs.shape[:-1], count + width)
        diagonals(columns).copy_(pairs)
        return columns.sum(-2, keepdim=True)[..., :-1]


def diagonals(columns: Tensor) -> Tensor:
    """View columns [..., rows, rows + cols] as [..., rows, cols]; each becomes a diagonal."""
    count, width = columns.shape[-2:]
    flat = columns.flatten(-2)[..., count - 1 : -1]
    return flat.unflatten(-1, (count, width - 1))[..., : width - count]


def take(x: Tensor, index: Tensor) -> Tensor:
    """Read x[..., index]: [..., *index.shape]."""
    index = torch.atleast_2d(index)
    return x.index_select(-1, index.flatten()).view(*x.shape[:-1], *index.shape)


def put_(x: Tensor, index: Tensor, values: Tensor) -> None:
    """Add values [b, h, rows, cols], summed to the shape of that, to x[..., index]."""
    index = torch.atleast_2d(index)
    values = values.sum_to_size(*x.shape[:-1], *index.shape)
    x.index_add_(-1, index.flatten(), values.flatten(x.dim() - 1))


def add_(x: Tensor, values: Tensor) -> None:
    """Add values [b, h, rows, cols], summed to the shape of x, to x."""
    x += values.sum_to_size(x.shape)


def exp_(x: Tensor) -> Tensor:
    """Exponentiate in place: powers of 2 take a CPU a third of the time."""
    return x.mul_(LOG2_E).exp2_()


def even(start: int, stop: int, most: int) -> Iterator[slice]:
    """Cut a run into even pieces of `most` at most."""
    length = max(stop - start, 0)
    count = -(-length // most)
    for at in range(count):
        yield slice(start + length * at // count, start + length * (at + 1) // count)


@dataclass(frozen=True)
class Rules:
    """What is particular to one source; its functions take all operands last.

    Attributes:
        reach: of (first, last query), the keys from start to stop that some of them see and
            those that the band allows to all: start, full start, full stop, stop.
        scores: of (qk, tile), which it may write to; q comes scaled.
        gradient: of (d scores, qk, tile, gradients of captured tensors), d qk. It adds to the
            gradients, which are None where no one asks.
        allowed: of (tile), the pairs allowed besides those of the band; None for all.
        scale: of q.
    """

    reach: Callable[..., tuple[int, int, int, int]]
    scores: Callable[..., Tensor]
    gradient: Callable[..., Tensor]
    allowed: Callable[..., Tensor] | None
    scale: float


@dataclass(frozen=True)
class Stream:
    """One source under the query.

    Attributes:
        k: [b * hk, m, d]; v: [b * hk, m, e].
        group: heads of q that share one of k and v.
    """

    rules: Rules
    k: Tensor
    v: Tensor
    group: int
    operands: tuple[Tensor, ...]

    def fold(self, x: Tensor) -> Tensor:
        """Lay rows of heads that share keys side by side: [b * hk, group * rows, width]."""
        batch, heads, count, width = x.shape
        return x.reshape(batch * heads // self.group, self.group * count, width)

    def queries(self, rows: slice) -> Tensor:
        """Scaled, [b * hk, group * rows, d]."""
        return self.fold(self.operands[0][:, :, rows] * self.rules.scale)

    def seen(self, rows: slice) -> tuple[int, int, int, int]:
        """The keys that some of the queries see, and that all see, each range in order."""
        given = self.rules.reach(rows.start, rows.stop - 1, *self.operands)
        start, full_start, full_stop, stop = given
        stop = max(stop, start)
        full_start = min(max(full_start, start), stop)
        return start, full_start, min(max(full_stop, full_start), stop), stop

    def tiles(self, rows: slice, most: int) -> Iterator[Tile]:
        """Cut what the queries see; runs up to twice the most are taken whole."""
        start, full_start, full_stop, stop = self.seen(rows)
        runs = [(start, full_start, True), (full_start, full_stop, False)]
        runs.append((full_stop, stop, True))
        if stop - start <= 2 * most:
            runs, most = [(start, stop, full_stop - full_start < stop - start)], 2 * most
        for first, last, cut in runs:
            for cols in even(first, last, most):
                yield Tile(rows, cols, cut, self.k.device)

    def scores(self, q: Tensor, tile: Tile) -> tuple[Tensor, Tensor] | None:
        """Return qk and scores, [b, h, rows, cols]; None where no pair is allowed."""
        allowed = self.rules.allowed and self.rules.allowed(tile, self.operands)
        if allowed is not None and not allowed.any():
            return None
        product = torch.bmm(q, self.k[:, tile.cols].mT)
        batch, heads = self.operands[0].shape[:2]
        qk = product.view(batch, heads, -1, product.shape[-1])
        scores = self.rules.scores(qk, tile, self.operands)
        if allowed is not None:
            scores += torch.where(allowed, 0.0, -torch.inf)
        return qk, scores

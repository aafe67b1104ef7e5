"""Reading what attentions of a running model weigh, without storing more than is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from attnc.compiler.kernel import Site
from attnc.compiler.leaf import Function, Provider
from attnc.compiler.rows import concrete, of_rows
from attnc.dsl.attention import (
    OVER_QUERIES,
    ArgmaxKeys,
    ArgmaxQueries,
    Attention,
    Bilinear,
    SoftmaxBoth,
    SoftmaxKeys,
    SoftmaxQueries,
)

CHUNK = 256
"""Rows of weights that are held at once to sum weights over queries."""

WHAT = ("weights", "scores", "received", "lse", "index")
"""What can be captured: outputs of the attention operator."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What to keep of an attention.

    Attributes:
        what: one of `WHAT`.
        rows: the queries whose weights or scores are kept, negative numbers from the end; none
            for all. Only these are computed.
    """

    what: str
    rows: tuple[int, ...] | None = None


def has(attention: Attention, what: str) -> bool:
    """Say whether an attention has what is to be captured: an lse takes a softmax, for one."""
    needs = {
        "lse": (SoftmaxKeys, SoftmaxQueries, SoftmaxBoth),
        "index": (ArgmaxKeys, ArgmaxQueries),
    }
    return what not in needs or isinstance(attention.normaliser, needs[what])


class Watched(nn.Module):
    """An attention leaf that also gives what is asked for to `keep`.

    The result comes from the leaf's own kernel. What that kernel does not give is computed from
    the same operands in a second sweep.

    Attributes:
        provider: gives the function of the site, and of those of further sweeps.
        extra: operands behind those of the call.
    """

    def __init__(
        self,
        site: Site,
        provider: Provider,
        extra: Sequence[Tensor] = (),
        watch: Watch | None = None,
        keep: Callable[[Tensor], None] = lambda seen: None,
    ) -> None:
        super().__init__()
        self.site, self.provider = site, provider
        self.extra, self.watch, self.keep = tuple(extra), watch, keep
        self.function: Function = provider(site)

    def forward(self, *tensors: Tensor) -> object:
        """Attend. `tensors`: q [b, h, n, d]; k [b, hk, m, d] and v [b, hk, m, e] of each source."""
        operands = (*tensors, *self.extra)
        result = self.function(*operands)
        if self.watch is not None:
            self.keep(self._seen(self.watch, operands, result))
        return result

    def _seen(self, watch: Watch, operands: tuple[Tensor, ...], result: object) -> Tensor:
        outputs = self.site.attention.outputs
        if watch.what in outputs and watch.rows is None:
            return _picked(result, outputs.index(watch.what))
        call = _Call(self, operands)
        if watch.what == "received":
            return call.received()
        if watch.rows is None or watch.what not in ("weights", "scores"):
            return call.output(watch.what)
        return call.rows(watch.what, [row % call.queries for row in watch.rows])


@dataclass(frozen=True, slots=True)
class _Call:
    """The operands of one call of a watched leaf."""

    leaf: Watched
    operands: tuple[Tensor, ...]

    @property
    def attention(self) -> Attention:
        return self.leaf.site.attention

    @property
    def queries(self) -> int:
        return self.operands[0].shape[2]

    def output(self, name: str) -> Tensor:
        """Return one further output of the attention, from a sweep of its own."""
        back = ("back",) if "back" in self.attention.outputs else ()
        outputs = ("out", *back, name)
        site = replace(self.leaf.site, attention=replace(self.attention, outputs=outputs))
        return _picked(self.leaf.provider(site)(*self.operands), -1)

    def received(self) -> Tensor:
        """Return the sums of weights over queries [b, h, m], a chunk of rows at a time."""
        n = self.queries
        chunks = (range(first, min(first + CHUNK, n)) for first in range(0, n, CHUNK))
        sums = [self.rows("weights", [*chunk]).sum(-2) for chunk in chunks]
        return torch.stack(sums).sum(0) if sums else self.output("received")

    def rows(self, what: str, rows: list[int]) -> Tensor:
        """Return weights or scores [b, h, r, m] of some queries; no others are computed.

        Where weights depend on all queries a first sweep gives what sums them up.
        """
        if what == "weights" and isinstance(self.attention.normaliser, OVER_QUERIES):
            return self._over_queries(rows)
        if what == "weights" and isinstance(self.attention.normaliser, Bilinear):
            return self.output(what)[:, :, rows]  # it mixes by the box of each query
        return self._by_row(what, rows)

    def _over_queries(self, rows: list[int]) -> Tensor:
        attention = self.attention
        if isinstance(attention.normaliser, SoftmaxBoth):  # its weights are those over keys
            return self._by_row("weights", rows)
        if attention.renormalise is not None or any(each.post for each in attention.sources):
            return self.output("weights")[:, :, rows]
        if isinstance(attention.normaliser, ArgmaxQueries):
            best = self.output("index")[:, :, None]
            mine = torch.tensor(rows, device=best.device)[:, None]
            return (best == mine).to(self.operands[0].dtype)
        lse = self.output("lse")[:, :, None]
        weights = (self._by_row("scores", rows) - lse).exp()
        return weights.masked_fill(lse == -torch.inf, 0.0)

    def _by_row(self, what: str, rows: list[int]) -> Tensor:
        site = concrete(self.leaf.site, [each.shape for each in self.operands])
        q, *others = self.operands
        if site.vq is not None:
            del others[2 * len(site.sources)]
        chosen = torch.tensor(rows, device=q.device)
        function = self.leaf.provider(of_rows(site, len(rows), ("out", what)))
        return _picked(function(q[:, :, chosen], *others, chosen), -1)


def _picked(results: object, at: int) -> Tensor:
    """Return one of the results; a single one stands for itself."""
    return results if isinstance(results, Tensor) else cast(tuple[Tensor, ...], results)[at]

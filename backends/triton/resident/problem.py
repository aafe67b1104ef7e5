"""A site as the resident template sees it: the side that stays, the side that is streamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from attnc.backends.triton.epilogue import Epilogue
from attnc.backends.triton.names import Names
from attnc.backends.triton.orientation import Orientation, product
from attnc.backends.triton.pieces import padded
from attnc.backends.triton.problem import Problem, digest
from attnc.backends.triton.resident.readings import Reading, readings
from attnc.backends.triton.streams import Stream, Term
from attnc.compiler.kernel import Site
from attnc.dsl.attention import SoftmaxKeys, Unnormalised
from attnc.dsl.dims import Size

RESERVED = frozenset({
    "at_top", "back", "back_lse", "best", "bests", "better", "cells", "chosen", "counts", "delta",
    "end", "first_best", "gamma", "held", "index", "inverse", "merged", "more", "norm", "of_rows",
    "of_values", "own", "peaks", "places", "scores", "shift", "split", "split_rows", "splits",
    "store_part", "taken", "top", "totals",
})  # fmt: skip
"""Names that resident kernels and launchers use themselves."""


@dataclass(frozen=True, slots=True)
class Side:
    """Names of one of the two sides.

    Attributes:
        token: `i` or `j`; `operand`: `q` or `k`.
        length: expression of its number of tokens in kernels; `on_host` likewise.
        width: columns of its operand.
    """

    token: str
    operand: str
    length: str
    on_host: str
    width: int

    @property
    def tile(self) -> str:
        """The name of a tile of its operand."""
        return f"{self.operand}_tile"

    @property
    def block(self) -> str:
        """The constant that holds the rows of its tiles."""
        return f"BLOCK_{self.token.upper()}"


@dataclass(frozen=True, slots=True)
class Resident:
    """All that the template needs of a site.

    Attributes:
        base: names, score, mask and gradients of captured tensors, as a plain softmax has them.
        stand_in: the site with that softmax.
        stays: the side in a tile, whose length is a number; `streams` the other one.
        count: tokens that stay.
        readings: what is made of the scores.
        outputs: of the entry.
        averages: whether weights are divided by their sum over keys again.
    """

    base: Problem
    stand_in: Site
    stays: Side
    streams: Side
    count: int
    readings: tuple[Reading, ...]
    outputs: tuple[str, ...]
    averages: bool

    @property
    def name(self) -> str:
        """Name of the entry."""
        return self.base.name

    @property
    def names(self) -> Names:
        """Names of tensors and sizes."""
        return self.base.names

    @property
    def stream(self) -> Stream:
        """Score, mask, post and their derivatives."""
        return self.base.streams[0]

    def private(self, name: str) -> str:
        """Return the name of a function of this site."""
        return self.base.private(name)

    # What the kernels hold -------------------------------------------------------------------

    @property
    def rows(self) -> int:
        """Rows of the tile that stays."""
        return padded(self.count)

    @property
    def is_full(self) -> bool:
        """Whether the tile that stays has no row too many."""
        return self.rows == self.count

    @property
    def stayed(self) -> str:
        """Name of the rows that are read of the side that stays."""
        return "slots" if self.is_full else "held"

    @property
    def orientation(self) -> Orientation:
        """Tiles of pairs are [streamed rows, rows that stay]."""
        streamed, stays = "[:, None]", "[None, :]"
        keys_stay = self.stays.token == "j"
        return Orientation(
            product(self.streams.tile, f"tl.trans({self.stays.tile})"),
            "",
            *(("near", self.stayed) if keys_stay else (self.stayed, "near")),
            *((streamed, stays) if keys_stay else (stays, streamed)),
            self.stays.token,
        )

    def owner(self, reading: Reading) -> Side:
        """Return the side whose tokens have the result."""
        return self.stays if reading.gathers else self.streams

    @property
    def is_hard(self) -> bool:
        """Whether weights pass no gradient to scores."""
        return self.readings[0].hard

    @property
    def has_slope(self) -> bool:
        """Whether anything reaches the scores."""
        return not self.is_hard or "scores" in self.outputs

    def terms(self, side: Side) -> list[Term]:
        """Return gradients of captured tensors that are summed for each token of a side."""
        kind = "row" if side.token == "i" else "col"
        return self.stream.of_kind(kind) if self.has_slope else []

    # The boundary ----------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of q, k, v and vq."""
        back = any(each.values == "vq" for each in self.readings)
        return ("q", "k", "v", *(["vq"] if back else []))

    @property
    def widths(self) -> Mapping[str, int]:
        """Input -> its last size."""
        dim = self.base.dim
        return {"q": dim, "k": dim} | {each.values: each.width for each in self.readings}

    @property
    def results(self) -> list[str]:
        """Results of readings, statistics, scores, index, then what is for gradients alone."""
        wanted = [name for name in ("lse", "scores") if name in self.outputs]
        running = [each.lse for each in self.readings if not each.whole and not each.hard]
        known = [*(each.result for each in self.readings), *wanted]
        known += [name for name in running if name == "lse" and name not in known]
        last = [name for name in running if name not in known]
        last += [*(["totals"] if self.averages else []), *self.if_kept]
        return [*known, *(["index"] if self.is_hard else []), *last]

    def shape_of(self, statistic: str) -> str:
        """Return the host's expression of the shape of a statistic."""
        if statistic == "scores":
            return "batch, heads, n, k.shape[2]"
        return f"batch, heads, {self.side_of(statistic).on_host}"

    def side_of(self, statistic: str) -> Side:
        """Return the side whose tokens have a statistic."""
        reading = self.readings[-1 if statistic == "back_lse" else 0]
        queries = self.stays if self.stays.token == "i" else self.streams
        if statistic == "totals":
            return queries
        return self.streams if reading.whole else self.stays

    @property
    def fakes(self) -> Mapping[str, str]:
        """Result -> expression of an empty one."""
        made = {"out": f"token_rows(q, {self.readings[0].width})"}
        made["back"] = f"token_rows(k, {self.readings[-1].width})"
        made["normal"] = f"token_rows(q if keep else q[:0], {self.readings[0].width})"
        for name in self.results:
            shape = {"i": "q.shape[:3]", "j": "k.shape[:3]"}[self.side_of(name).token]
            shape = "*q.shape[:3], k.shape[2]" if name == "scores" else f"*{shape}"
            made.setdefault(name, f"by_query(q, {shape})")
        if self.is_hard:
            made["index"] += ".long()"
        return made

    @property
    def differentiable(self) -> list[str]:
        """Results whose gradients the backward pass takes."""
        statistics = [each for each in ("lse", "scores") if each in self.outputs]
        return [*(each.result for each in self.readings), *statistics]

    @property
    def saved(self) -> list[str]:
        """Results that the backward pass takes."""
        needed = {"index", "totals", *self.if_kept} | {
            name for each in self.readings if not each.whole for name in (each.result, each.lse)
        }
        if self.is_hard:
            needed = {"index", "totals", *self.if_kept}
        elif self.averages:
            needed.add("out")
        return [name for name in self.results if name in needed]

    @property
    def spared(self) -> list[tuple[str, ...]]:
        """Inputs whose gradients are made together, and only where one of them is asked for."""
        return []

    @property
    def learned(self) -> list[str]:
        """Captured tensors that the loss reaches, by generated name in argument order."""
        return self.base.learned if self.has_slope else []

    @property
    def beside(self) -> Mapping[str, str]:
        """Captured tensors beside the result -> their gradients as autograd has them."""
        return self.base.beside

    @property
    def if_kept(self) -> Sequence[str]:
        """Results that are empty unless gradients are wanted, as the launcher's `keep` says."""
        return ("normal",) if self.base.reads_result else ()

    @property
    def epilogue(self) -> Epilogue | None:
        """What becomes of the result of streamed queries, if anything."""
        after = self.base.epilogue
        return None if after is None else replace(after, head="h", near="near")


def stand_in(site: Site) -> Site:
    """Return a site of one plain row of weights with the same scores, for what they share."""
    hard = readings_of(site, keys_stay=True)[0].hard
    plain = replace(
        site.attention, normaliser=Unnormalised() if hard else SoftmaxKeys(), outputs=("out",),
        renormalise=None,
    )  # fmt: skip
    return replace(site, attention=plain)


def readings_of(site: Site, keys_stay: bool) -> tuple[Reading, ...]:
    """Return how a site reads its scores; nothing where its normaliser compares no tokens."""
    width, back = site.sources[0][1].shape[3], 0 if site.vq is None else site.vq.shape[3]
    if not isinstance(width, int) or not isinstance(back, int):
        return ()
    return readings(site.attention.normaliser, keys_stay, width, back) or ()


def prepare(site: Site, keys_stay: bool) -> Resident:
    """Prepare a site, of which keys or queries stay."""
    plain = stand_in(site)
    base = digest(plain, RESERVED)
    dim = base.dim
    counts: dict[bool, Size] = {True: site.sources[0][0].shape[2], False: site.q.shape[2]}
    count = counts[keys_stay]
    assert isinstance(count, int), "refused before"
    keys = Side("j", "k", str(count) if keys_stay else "m", "k.shape[2]", dim)
    queries = Side("i", "q", "n" if keys_stay else str(count), "n", dim)
    stays, streams = (keys, queries) if keys_stay else (queries, keys)
    return Resident(
        base, plain, stays, streams, count, readings_of(site, keys_stay), site.attention.outputs,
        site.attention.renormalise is not None,
    )  # fmt: skip

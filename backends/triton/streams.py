"""One source under the query as the templates see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from attnc.backends.triton.expressions import Formula, is_even
from attnc.backends.triton.tokens import BlockedSide
from attnc.dsl.attention import Load
from attnc.dsl.scorelang import LinearBand
from attnc.dsl.scorelang.ranges import Interval


@dataclass(frozen=True, slots=True)
class Term:
    """Reads of captured tensors that the loss reaches alike, their gradients in one buffer.

    The buffer holds d loss / d of * slope in float32, summed over the axes that the reads do
    not depend on: `row` [b, h, n, 1], `col` [b, h, 1, m], `pair` [parts of b, h, n, m] and
    `offset` [parts of b, h, n + m - 1], by i - j from 1 - m on; where the source is walked by
    block, pairs are of slots, and blocks an axis before if kept apart.

    Attributes:
        buffer: its name: `pair_grad`.
        kind: `row`, `col`, `pair` or `offset`.
        slope: d of / d read.
        reads: loads of captured tensors, as the spec has them; by slot where those by pair are.
        of: what they stand in: `score`, `post`, `weight` (of the source) or `sink`.
        by_batch: whether elements of the batch differ, so that none are summed.
    """

    buffer: str
    kind: str
    slope: Formula
    reads: tuple[Load, ...]
    of: str
    by_batch: bool

    @property
    def by_pair(self) -> Slope:
        """What a tile of pairs adds to the buffer."""
        return Slope(self.slope, "dp" if self.of == "post" else "ds")


@dataclass(frozen=True, slots=True)
class Slope:
    """A derivative by pair, and what it is multiplied by.

    Attributes:
        formula: d score / d x, or d post / d x.
        base: `ds`, d loss / d score, or `dp`, d loss / d weight.
    """

    formula: Formula
    base: str


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks that tiles are taken from: tokens of the side that stays, and what they see.

    Attributes:
        own: the side that stays.
        seen: the side that is walked.
        packs: whether a tile may hold several blocks, each of which sees itself alone.
    """

    own: BlockedSide
    seen: BlockedSide
    packs: bool

    @property
    def used(self) -> set[str]:
        """Captured tensors, strides and sizes that kernels read for both sides."""
        return self.own.used | self.seen.used

    @property
    def single(self) -> Blocks:
        """The same for tiles that hold one block each."""
        own, seen = (replace(each, tokens=each.tokens.single) for each in (self.own, self.seen))
        return Blocks(own, seen, packs=False)

    @property
    def constants(self) -> tuple[str, ...]:
        """Constants that kernels take besides the rows of tiles."""
        return ("PACK",) if self.packs else ()


@dataclass(frozen=True, slots=True)
class Stream:
    """One source under the query, as seen by a tile of one side that walks the other.

    Attributes:
        tag: what names of its own end in: empty for a single source, else its number.
        inside: the band of pairs that loops run over.
        blocks: what tiles are taken from; none where they are of tokens in a row.
        masked: whether `keep` asks for more than the band.
        grouped: whether several heads of q share one of k and v.
        score: times log2(e) where the rule asks for bits.
        copies: what kernels load in the place of reads by pair -> the read.
        offsets: likewise for reads by i - j alone.
        keep: the condition on pairs; none where all are allowed.
        slope: d score / d qk.
        distance_slope: d score / d l1(q, k); none for 0.
        share: what post multiplies weights by; none for 1. It adds `extra`; none for nothing.
        late: the weight after post, where that is not linear in w; then `share` is d post / d w.
        post_slope: d post / d qk; none for 0.
        sink: score of a key without a value, as `score` is taken; none for no such key.
        weight: factor of the result; none for 1.
        terms: gradients of captured tensors.
        text: the score as the spec writes it.
        ranges: of the coordinates.
    """

    tag: str
    inside: LinearBand
    blocks: Blocks | None
    masked: bool
    grouped: bool
    score: Formula
    copies: Mapping[str, Load]
    offsets: Mapping[str, Load]
    keep: Formula | None
    slope: Formula
    distance_slope: Formula | None
    share: Formula | None
    extra: Formula | None
    late: Formula | None
    post_slope: Formula | None
    sink: Formula | None
    weight: Formula | None
    terms: tuple[Term, ...]
    text: str
    ranges: Mapping[str, Interval]

    def own(self, name: str) -> str:
        """Return `k0` for `k`."""
        return f"{name}{self.tag}"

    @property
    def even(self) -> bool:
        """Whether d score / d qk is one number for all pairs of a head."""
        return is_even(self.slope.tree)

    def of_kind(self, kind: str) -> list[Term]:
        """Return the terms of pairs with gradients of one kind."""
        by_pair = (each for each in self.terms if each.of in ("score", "post"))
        return [each for each in by_pair if each.kind == kind]

    @property
    def apart(self) -> bool:
        """Whether blocks read by pair in ways of their own, so that gradients are kept apart."""
        local = list(self.copies.values())
        reads = [load for term in self.of_kind("pair") for load in term.reads]
        return self.blocks is not None and any(load not in local for load in reads)

    @property
    def slopes(self) -> dict[str, Slope]:
        """d score / d qk and d post / d qk."""
        found = {"slope": Slope(self.slope, "ds")}
        return found | ({"post_slope": Slope(self.post_slope, "dp")} if self.post_slope else {})

    def formulas(self) -> Iterator[Formula]:
        """Yield everything that kernels may call."""
        yield self.score
        yield self.slope
        others = (
            self.keep, self.distance_slope, self.share, self.extra, self.late, self.post_slope,
            self.sink, self.weight,
        )  # fmt: skip
        yield from (each for each in others if each is not None)
        yield from (each.slope for each in self.terms)

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

    The buffer holds d loss / d score * slope in float32, summed over the axes that the reads do
    not depend on: `row` [b, h, n, 1], `col` [b, h, 1, m], `pair` [parts of b, h, n, m]; where
    the source is walked by block, a pair is one of slots.

    Attributes:
        buffer: its name: `pair_grad`.
        kind: `row`, `col` or `pair`.
        slope: d score / d read; d weight / d read where `of_weight`.
        reads: loads of captured tensors, as the spec has them; by slot where those by pair are.
        of_weight: whether they stand in the weight of the source.
        by_batch: whether elements of the batch differ, so that none are summed.
    """

    buffer: str
    kind: str
    slope: Formula
    reads: tuple[Load, ...]
    of_weight: bool
    by_batch: bool


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
        score: times log2(e).
        copies: reads by pair -> the copy that kernels load in their place.
        keep: the condition on pairs; none where all are allowed.
        slope: d score / d qk.
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
    keep: Formula | None
    slope: Formula
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
        """Return the terms of scores with gradients of one kind."""
        return [each for each in self.terms if each.kind == kind and not each.of_weight]

    def formulas(self) -> Iterator[Formula]:
        """Yield everything that kernels may call."""
        yield self.score
        yield self.slope
        yield from (each for each in (self.keep, self.weight) if each is not None)
        yield from (each.slope for each in self.terms)

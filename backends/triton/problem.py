"""A site as the templates see it: streams with their formulas, and what captured tensors get."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from attnc.backends.triton.expressions import Formula, formula, in_bits, is_even
from attnc.backends.triton.names import Names
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Apply, Constant, Coordinate, Dot, Load, ScoreTree
from attnc.dsl.scorelang import (
    COORDINATES,
    LinearBand,
    allowed,
    band,
    coordinates,
    derivative,
    loads,
    simplify,
    text,
    whole_range,
)
from attnc.dsl.scorelang.ranges import Interval

ONE, ZERO = Constant(1.0), Constant(0.0)


@dataclass(frozen=True, slots=True)
class Term:
    """Reads of captured tensors that the loss reaches alike, their gradients in one buffer.

    The buffer holds d loss / d score * slope in float32, summed over the axes that the reads do
    not depend on: `row` [b, h, n, 1], `col` [b, h, 1, m], `pair` [parts of b, h, n, m].

    Attributes:
        buffer: its name: `pair_grad`.
        kind: `row`, `col` or `pair`.
        slope: d score / d read; d weight / d read where `of_weight`.
        reads: loads of captured tensors, as the spec has them.
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
class Stream:
    """One source under the query.

    Attributes:
        tag: what names of its own end in: empty for a single source, else its number.
        inside: the band of pairs that loops run over.
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


@dataclass(frozen=True, slots=True)
class Problem:
    """All that the templates need of a site.

    Attributes:
        name: of the entry.
        names: of tensors and sizes.
        dim: width of q and k; `width` of v and the result.
        streams: one for each source.
        summed: whether each source is normalised alone and the results are added.
        with_lse: whether lse is a result of the entry.
    """

    name: str
    names: Names
    dim: int
    width: int
    streams: tuple[Stream, ...]
    summed: bool
    with_lse: bool

    def private(self, name: str) -> str:
        """Return the name of a function of this site."""
        return f"{self.name}_{name}"

    @property
    def late_slope(self) -> Formula | None:
        """d score / d qk where it is one number for all sources, applied to sums at the end."""
        first = self.streams[0]
        same = all(each.slope.tree == first.slope.tree for each in self.streams)
        return first.slope if same and first.even else None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of q, k and v of all sources."""
        pairs = ((each.own("k"), each.own("v")) for each in self.streams)
        return ("q", *(name for pair in pairs for name in pair))

    @property
    def statistics(self) -> list[str]:
        """Tags of separate softmax statistics: one in all, or one per summed source."""
        return [stream.tag for stream in self.streams] if self.summed else [""]

    def statistic(self, stream: Stream, name: str) -> str:
        """Return `lse` of a stream: `lse0` where sources are normalised alone."""
        return stream.own(name) if self.summed else name

    @property
    def learned(self) -> list[str]:
        """Captured tensors that the loss reaches, by generated name in argument order."""
        reached = {load.tensor for each in self.terms() for load in each.reads}
        return [each.name for each in self.names.tensors.values() if each.tensor in reached]

    @property
    def gradients(self) -> list[str]:
        """Names of all gradients, in the order of the arguments."""
        return [f"grad_{name}" for name in (*self.inputs, *self.learned)]

    @property
    def backward_arguments(self) -> list[str]:
        """Names of all that the backward pass takes."""
        grads = ["grad_out", *(["grad_lse"] if self.with_lse else [])]
        saved = [] if self.summed else ["out", "lse"]
        wanted = ["wanted"] if self.learned else []
        return [*grads, *self.names.arguments, *saved, *wanted]

    def terms(self) -> Iterator[Term]:
        """Yield the terms of all streams."""
        return (term for stream in self.streams for term in stream.terms)

    def shared(self) -> list[str]:
        """Return sources of device functions from the table of functions, each once."""
        each = (block for s in self.streams for f in s.formulas() for block in f.shared)
        return list(dict.fromkeys(each))


def digest(site: Site) -> Problem:
    """Prepare a site.

    Raises:
        Unknown: a size that scores need cannot be told from the tensors' shapes.
    """
    names = Names(site)
    attention = site.attention
    several = len(attention.sources) > 1
    summed = attention.join == "sum" and (several or attention.sources[0].weight is not None)
    streams = tuple(
        _Reader(site, names, number, str(number) if several else "").stream(summed)
        for number in range(len(attention.sources))
    )
    dim, width = site.q.shape[3], site.sources[0][1].shape[3]
    assert isinstance(dim, int) and isinstance(width, int)
    return Problem(
        site.name, names, dim, width, streams, summed, "lse" in attention.outputs
    )  # fmt: skip


class _Reader:
    """Reads one source of a site.

    Reads of float tensors by pair, such as `table[h, i - j + 7]`, are replaced by reads of copies
    that are laid out by pair: wide loads in place of a gather in the innermost loop.
    """

    def __init__(self, site: Site, names: Names, number: int, tag: str) -> None:
        self._site, self._names, self._tag = site, names, tag
        self._source = site.attention.sources[number]
        self._key = site.sources[number][0]
        batch, heads, queries, _ = site.q.shape
        sizes = {"b": batch, "h": heads, "i": queries}
        self._ranges: Mapping[str, Interval] = {
            **{name: whole_range(size) for name, size in sizes.items()},
            "j": (0, None),  # keys of the last tile run past the end
        }
        self._copies: dict[str, Load] = {}

    def stream(self, summed: bool) -> Stream:
        """Return the source with its formulas."""
        source, given = self._source, simplify(self._source.score)
        inside = band(source.domain)
        keep = allowed(source)
        weight = simplify(source.weight) if summed and source.weight is not None else None
        score = self._with_copies(given)
        terms = [*self._terms(score, False), *(self._terms(weight, True) if weight else ())]
        return Stream(
            self._tag,
            inside or LinearBand(),
            inside is None or source.mask is not None,
            self._key.shape[1] != self._site.q.shape[1],
            self._formula(in_bits(score), "score", f"{text(given)}, times log2(e)."),
            self._copies,
            None if keep is None else self._formula(keep, "keep", f"{text(keep)}."),
            self._formula(derivative(score, Dot()), "slope", "d score / d qk."),
            None if weight is None else self._formula(weight, "weight", f"{text(weight)}."),
            tuple(terms),
            text(given),
            self._ranges,
        )

    def _formula(self, tree: ScoreTree, name: str, doc: str) -> Formula:
        function = f"{self._site.name}_{name}{self._tag}"
        return formula(simplify(tree), function, doc, self._names, self._ranges)

    def _with_copies(self, tree: ScoreTree) -> ScoreTree:
        """Replace float reads by pair."""
        match tree:
            case Load(tensor, _, "float") if _kind(tree) == "pair":
                name = next((n for n, read in self._copies.items() if read == tree), None)
                name = name or self._names.spread(tensor)
                self._copies[name] = tree
                read = coordinates(tree)
                indices = (Coordinate(c) if c in read else Constant(0) for c in COORDINATES)
                return Load(name, tuple(indices))
            case Apply(_, arguments):
                inner = tuple(self._with_copies(argument) for argument in arguments)
                return replace(tree, arguments=inner)
        return tree

    def _terms(self, tree: ScoreTree, of_weight: bool) -> Iterator[Term]:
        """Group the reads in a tree by the axes they depend on and by their slope."""
        groups: dict[tuple[str, ScoreTree], list[Load]] = {}
        for load in _reached(tree):
            kind = "row" if of_weight else _kind(load)
            read = self._copies.get(load.tensor, load)
            groups.setdefault((kind, derivative(tree, load)), []).append(read)
        counts: dict[str, int] = {}
        for (kind, slope), reads in groups.items():
            stem = f"{'weight' if of_weight else kind}_grad{self._tag}"
            count = counts[kind] = counts.get(kind, 0) + 1
            buffer = stem if count == 1 else f"{stem}_{count}"
            by_batch = any("b" in coordinates(load) for load in reads)
            written = self._formula(slope, f"{buffer}_slope", "d score / d read.")
            yield Term(buffer, kind, written, tuple(reads), of_weight, by_batch)


def _reached(tree: ScoreTree) -> Iterator[Load]:
    """Yield the loads of float tensors on which a tree depends smoothly."""
    for reads in loads(tree).values():
        yield from (load for load in reads if derivative(tree, load) != ZERO)


def _kind(load: Load) -> str:
    axes = coordinates(load) & {"i", "j"}
    return "pair" if len(axes) == 2 else "col" if "j" in axes else "row"

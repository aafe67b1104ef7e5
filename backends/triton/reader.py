"""From a source of a site to the streams of the kernels that walk its keys and its queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from attnc.backends.triton.expressions import Formula, formula, in_bits
from attnc.backends.triton.layouts import View
from attnc.backends.triton.local import Anchor, local_read
from attnc.backends.triton.names import Names
from attnc.backends.triton.rules import affine, elementwise, is_elementwise, rule_of, with_weight
from attnc.backends.triton.streams import Blocks, Stream, Term
from attnc.backends.triton.tokens import blocked_side
from attnc.backends.triton.views import Blocked, condition_within
from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    L1,
    Apply,
    Constant,
    Coordinate,
    Dot,
    Load,
    ScoreTree,
    SoftmaxKeys,
    Weight,
)
from attnc.dsl.dims import floor_divide
from attnc.dsl.scorelang import (
    COORDINATES,
    LinearBand,
    allowed,
    band,
    by_offset,
    coordinates,
    derivative,
    loads,
    make,
    simplify,
    size_tree,
    text,
    whole_range,
)
from attnc.dsl.scorelang.ranges import Interval

ZERO = Constant(0.0)
_SLOTS = {"i": Coordinate("slot_i"), "j": Coordinate("slot_j")}


def read_streams(
    site: Site,
    names: Names,
    number: int,
    summed: bool,
    found: Blocked | None,
    listed: bool = False,
    by_offset: bool = False,
) -> tuple[Stream, Stream]:
    """Return a source as its queries see it and as its keys do.

    Args:
        site: what to compute.
        names: the vocabulary of the site.
        number: of the source.
        summed: whether sources are normalised alone.
        found: the source by block, if it is to be walked so.
        listed: whether keys come from a list of each query: nothing is laid out by pair, and what
            is read by key is summed by pair.
        by_offset: whether what is read by `i - j` alone is laid out so.

    Raises:
        Unknown: a size that scores need cannot be told from the tensors' shapes.
    """
    tag = str(number) if len(site.sources) > 1 else ""
    reader = _Reader(site, names, number, tag, summed, listed, by_offset)
    if found is None:
        stream = reader.stream(None)
        return stream, stream
    for each in found.derived:
        names.derive(each.tensor, each.of, each.stem, each.shape)
    sides = (found.views.by_query, found.views.by_key)
    by_query, by_key = zip(sides, found.anchors, strict=True)
    stream = reader.stream(_Facing(*by_query, ("query", "seen_key")))
    if by_query == by_key:
        return stream, stream
    return stream, reader.stream(_Facing(*by_key, ("key", "seeing_query")), "turned")


@dataclass(frozen=True, slots=True)
class _Facing:
    """One way to walk a source by block.

    Attributes:
        view: its blocks; `anchors` what is known of positions in them.
        anchors: of both tokens.
        sides: what functions call the side that stays, and that which is walked.
    """

    view: View
    anchors: Sequence[Anchor]
    sides: tuple[str, str]


class _Reader:
    """Reads one source of a site.

    Reads of float tensors by pair, such as `table[h, i - j + 7]`, are replaced by reads of copies
    that are laid out by pair: wide loads in place of a gather in the innermost loop. By block that
    takes a copy of one block's pairs, where all blocks read alike. Reads by `i - j` alone take one
    line of values for each row of `OFFSET_ROWS` queries.
    """

    def __init__(
        self,
        site: Site,
        names: Names,
        number: int,
        tag: str,
        summed: bool,
        listed: bool,
        by_offset: bool,
    ) -> None:
        self._site, self._names, self._tag = site, names, tag
        self._summed, self._listed, self._by_offset = summed, listed, by_offset
        self._source, self._normaliser = site.attention.sources[number], site.attention.normaliser
        rule = rule_of(site.attention)
        assert rule is not None, "refused before"
        self._rule = rule
        self._sink = self._sink_of(number)
        self._key = site.sources[number][0]
        batch, heads, queries, _ = site.q.shape
        sizes = {"b": batch, "h": heads, "i": queries}
        self._ranges: Mapping[str, Interval] = {
            **{name: whole_range(size) for name, size in sizes.items()},
            "j": (0, None),  # keys of the last tile run past the end
        }
        self._copies: dict[str, Load] = {}
        self._offsets: dict[str, Load] = {}
        self._facing: _Facing | None = None
        self._suffix = ""
        self._made: dict[str, ScoreTree] = {}

    def stream(self, facing: _Facing | None, suffix: str = "") -> Stream:
        """Return the source with its formulas; names that differ from earlier ones get a suffix."""
        self._facing, self._suffix, self._copies, self._offsets = facing, suffix, {}, {}
        source, given = self._source, simplify(self._source.score)
        weight = source.weight if self._summed else None
        weight = None if weight is None else simplify(weight)
        score, post = map(self._with_copies, self._weighed())
        parts, late = affine(post), None
        if parts is None:
            parts, late = (derivative(post, Weight()), ZERO), post
        inside = band(source.domain) if facing is None else LinearBand()
        keep = allowed(source) if facing is None else condition_within(source, facing.view)
        of = {"score": score, "post": post, "weight": weight, "sink": self._sink}
        terms = [term for name, tree in of.items() if tree for term in self._terms(tree, name)]
        return Stream(
            self._tag,
            inside or LinearBand(),
            None if facing is None else self._blocks(facing),
            self._listed or inside is None or source.mask is not None or facing is not None,
            self._key.shape[1] != self._site.q.shape[1],
            self._scored(score, "score", text(self._weighed()[0])),
            self._copies,
            self._offsets,
            self._optional(keep, "keep"),
            self._formula(derivative(score, Dot()), "slope", "d score / d qk."),
            self._optional(derivative(score, L1()), "distance_slope", unless=0.0),
            self._optional(parts[0], "share", unless=1.0),
            self._optional(parts[1], "extra", unless=0.0),
            self._optional(late, "late"),
            self._optional(derivative(post, Dot()), "post_slope", unless=0.0),
            self._scored(self._sink, "sink", text(self._sink)) if self._sink else None,
            self._optional(weight, "weight"),
            tuple(terms),
            text(given),
            self._ranges,
        )

    def _weighed(self) -> tuple[ScoreTree, ScoreTree]:
        """Return score and post; a weight that depends on its own score alone is a score."""
        score, post = simplify(self._source.score), simplify(self._source.post or Weight())
        if is_elementwise(self._normaliser):
            return with_weight(post, elementwise(self._normaliser, score)), Weight()
        return score, post

    def _sink_of(self, number: int) -> ScoreTree | None:
        """Return the score of a key without a value, of one source where they share a softmax."""
        match self._normaliser:
            case SoftmaxKeys(sink) if sink is not None and (self._summed or number == 0):
                return simplify(sink)
        return None

    def _scored(self, tree: ScoreTree, name: str, shown: str) -> Formula:
        if self._rule.in_bits:
            return self._formula(in_bits(tree), name, f"{shown}, times log2(e).")
        return self._formula(tree, name, f"{shown}.")

    def _optional(
        self, tree: ScoreTree | None, name: str, unless: float | None = None
    ) -> Formula | None:
        if tree is None or (unless is not None and tree == Constant(unless)):
            return None
        return self._formula(tree, name, f"{text(tree)}.")

    def _blocks(self, facing: _Facing) -> Blocks:
        view, heads = facing.view, self._site.q.shape[1]
        assert isinstance(heads, int) or view.even
        sides = [view.own] if view.own == view.seen else [view.own, view.seen]
        stems = ("token",) if len(sides) == 1 else facing.sides
        own, *rest = (
            blocked_side(
                f"{self._site.name}_{stem}{self._tag}", layouts, self._names, self._ranges,
                heads if isinstance(heads, int) else 1, view.packs,
            )
            for stem, layouts in zip(stems, sides, strict=True)
        )  # fmt: skip
        return Blocks(own, rest[0] if rest else own, view.packs)

    def _formula(self, tree: ScoreTree, name: str, doc: str) -> Formula:
        function, tree = f"{self._site.name}_{name}{self._tag}", simplify(tree)
        if self._made.setdefault(function, tree) != tree:
            function = f"{function}_{self._suffix}"
        return formula(tree, function, doc, self._names, self._ranges)

    def _with_copies(self, tree: ScoreTree) -> ScoreTree:
        """Replace float reads by pair."""
        match tree:
            case _ if self._listed:
                return tree
            case Load(tensor, _, "float") if _kind(tree) == "pair" and self._is_of_offset(tree):
                name = self._copied(self._offsets, tree, tensor, "offsets")
                return Load(name, (*self._outer(tree), *self._line()))
            case Load(tensor, _, "float") if _kind(tree) == "pair":
                read = local_read(tree, self._facing.anchors) if self._facing else tree
                if read is None:  # blocks differ: each pair reads where it stands
                    return tree
                name = self._copied(self._copies, read, tensor, self._suffix or "pairs")
                return Load(name, tuple(self._places(coordinates(read))))
            case Apply(_, arguments):
                inner = tuple(self._with_copies(argument) for argument in arguments)
                return replace(tree, arguments=inner)
        return tree

    def _is_of_offset(self, load: Load) -> bool:
        if not self._by_offset or self._facing is not None:
            return False
        places = (by_offset(index, Coordinate(OFFSET)) for index in load.indices)
        return None not in places

    def _copied(self, copies: dict[str, Load], read: Load, tensor: str, over: str) -> str:
        """Return the name of the copy that holds a read, which is made unless there is one."""
        name = next((name for name, each in copies.items() if each == read), None)
        name = name or self._names.spread(tensor, over)
        copies[name] = read
        return name

    def _outer(self, read: Load) -> Iterator[ScoreTree]:
        """Yield where a copy is read along batch and heads."""
        known = coordinates(read)
        yield from (Coordinate(name) if name in known else Constant(0) for name in "bh")

    def _line(self) -> Iterator[ScoreTree]:
        """Yield the place of a pair in a copy by offset: see the function that makes it."""
        query, rows = Coordinate("i"), Constant(OFFSET_ROWS)
        yield make("mod", query, rows)
        last = size_tree(floor_divide(self._site.q.shape[2] + OFFSET_ROWS - 1, OFFSET_ROWS))
        yield make("sub", last, make("floordiv", query, rows))
        yield Coordinate("j")

    def _places(self, read: frozenset[str]) -> Iterator[ScoreTree]:
        """Yield where a copy is read along each of its axes."""
        for name in COORDINATES:
            token: ScoreTree = Coordinate(name)
            if self._facing is not None:
                token = _SLOTS.get(name, token)
            yield token if name in read else Constant(0)

    def _terms(self, tree: ScoreTree, of: str) -> Iterator[Term]:
        """Group the reads in a tree by the axes they depend on and by their slope."""
        groups: dict[tuple[str, ScoreTree], list[Load]] = {}
        for load in _reached(tree):
            kind = "row" if of in ("weight", "sink") else self._kind(load)
            read = self._offsets.get(load.tensor) or self._copies.get(load.tensor, load)
            groups.setdefault((kind, derivative(tree, load)), []).append(read)
        counts: dict[str, int] = {}
        for (kind, slope), reads in groups.items():
            stem = f"{_BUFFERS.get(of, of).format(kind)}_grad{self._tag}"
            count = counts[kind] = counts.get(kind, 0) + 1
            buffer = stem if count == 1 else f"{stem}_{count}"
            by_batch = any("b" in coordinates(load) for load in reads)
            written = self._formula(slope, f"{buffer}_slope", f"d {of} / d read.")
            yield Term(buffer, kind, written, tuple(reads), of, by_batch)

    def _kind(self, load: Load) -> str:
        if self._listed:
            return "pair" if coordinates(load) & {"j", "slot_j"} else "row"
        if load.tensor in self._offsets:
            return "offset"
        return "pair" if load.tensor in self._copies else _kind(load)


OFFSET = "offset"
"""The coordinate that stands for `i - j`."""
OFFSET_ROWS = 16
"""Elements that lines of a copy by offset begin at a multiple of, for wide loads."""
_BUFFERS = {"score": "{}", "post": "{}_post"}


def _reached(tree: ScoreTree) -> Iterator[Load]:
    """Yield the loads of float tensors on which a tree depends smoothly."""
    for reads in loads(tree).values():
        yield from (load for load in reads if derivative(tree, load) != ZERO)


def _kind(load: Load) -> str:
    axes = coordinates(load) & {"i", "j"}
    return "pair" if len(axes) == 2 else "col" if "j" in axes else "row"

"""All functions of one tile that the passes of a site call, and what is normalised together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnc.backends.tiled.corners import Corners
from attnc.backends.tiled.functions import Piece, TileFunction, TileWriter
from attnc.backends.tiled.gathered import GatheredSource, gathers
from attnc.backends.tiled.normalise import BY_COLUMN, Part
from attnc.backends.tiled.scores import Chain, SourceFunctions
from attnc.backends.tiled.walk import Walk
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Bilinear, Constant, SoftmaxKeys
from attnc.dsl.scorelang import every_column_has_query, every_row_has_key, simplify


class SiteFunctions:
    """The functions of a site; lists have one entry for each source.

    Attributes:
        keys: which keys each query has, of a gathered source; none for others.
        scores: scores of a tile.
        chains: where the gradients of scores go.
        distance_chains: where they go through `l1(q, k)`; none where scores do not read it.
        posts: weights after the post expression; none where there is no such expression.
        post_chains: where the gradients of posted weights go.
        factors: the factor of the source, a number or a function; none for no factor.
        factor_chains: where the gradient of a factor goes; none for none and for numbers.
        sink: the score of the sink, where there is one.
        sink_chain: where its gradient goes.
        rows: which rows are renormalised; none for all or none.
        corners: the corners of sampled boxes, for their bilinear mixture, else none.
        corners_chain: where the gradients of their shares go.
    """

    def __init__(self, site: Site, walk: Walk) -> None:
        self.site, self.by_number = site, walk.by_number
        self.sources = [
            GatheredSource(site, number)
            if gathers(site, number)
            else SourceFunctions(site, number, by_number=walk.by_number, exact=exact)
            for number, exact in enumerate(walk.exact)
        ]
        self.keys = [
            each.keys() if isinstance(each, GatheredSource) else None for each in self.sources
        ]
        function = TileFunction(site, walk.by_number)
        self.parameters, self.suffixes = function.parameters, function.suffixes
        self._tensor = function.tensor
        self.scores = [each.scores() for each in self.sources]
        self.chains = [each.chain() for each in self.sources]
        self.distance_chains = [each.distance_chain() for each in self.sources]
        self.posts = [None if each.source.post is None else each.post() for each in self.sources]
        self.post_chains = [
            None if each.source.post is None else each.post_chain() for each in self.sources
        ]
        self.factors = [
            None if each.source.weight is None else each.factor() for each in self.sources
        ]
        self.factor_chains = [
            each.factor_chain() if isinstance(factor, Piece) else None
            for each, factor in zip(self.sources, self.factors, strict=True)
        ]
        self.sink, self.sink_chain = self._sunk()
        self.rows = self._rows()
        mixed = Corners(site) if isinstance(site.attention.normaliser, Bilinear) else None
        self.corners = None if mixed is None else mixed.shares()
        self.corners_chain = None if mixed is None else mixed.chain()

    @property
    def learned(self) -> tuple[str, ...]:
        """Captured tensors that the loss reaches, by parameter."""
        reached = {name for chain in self._every_chain for name in chain.learned}
        names = self.site.attention.tensors
        return tuple(self._tensor(name) for name in names if name in reached)

    def texts(self) -> Iterator[str]:
        """Yield the texts of all functions."""
        functions = [
            *self.keys, *self.scores, *self.posts, *self.factors,
            self.sink, self.rows, self.corners,
            *(chain.piece for chain in self._every_chain),
        ]  # fmt: skip
        yield from (each.text for each in functions if isinstance(each, Piece))

    def parts(self) -> Iterator[Part]:
        """Yield what is normalised together: each source alone where they are summed, else all.

        Over queries a column is normalised by itself, so that sources are alone there, too.
        """
        attention, normaliser = self.site.attention, self.site.attention.normaliser
        numbers, outputs = range(len(self.sources)), self.site.attention.outputs
        by_column = isinstance(normaliser, BY_COLUMN)
        apart = by_column or attention.join == "sum"
        for group in [(number,) for number in numbers] if apart else [tuple(numbers)]:
            streams = [
                (self.sources[at].source, self.site.q.shape[2], self.site.sources[at][0].shape[2])
                for at in group
            ]
            if by_column:
                can_lack = not all(every_column_has_query(*stream) for stream in streams)
            else:
                can_lack = not any(every_row_has_key(*stream) for stream in streams)
            suffix = self.suffixes[group[0]] if len(group) == 1 else ""
            own = suffix if by_column else ""
            yield Part(
                normaliser,
                group,
                suffix,
                any(self.sources[at].is_masked for at in group),
                can_lack,
                self.sink.call if self.sink else "",
                f"lse{own}" if "lse" in outputs else "",
                f"index{own}" if "index" in outputs else "",
                self._chosen(group),
                self.corners.call if self.corners else "",
            )

    def _chosen(self, group: Sequence[int]) -> str:
        """Return the tokens that stand at `best` in a tile; keys are counted over all sources."""
        if isinstance(self.site.attention.normaliser, BY_COLUMN):
            return "tokens_at(best, rows)"
        if len(group) == 1:
            suffix = self.suffixes[group[0]]
            gathered = self.keys[group[0]] is not None
            return f"j{suffix}.gather(-1, best)" if gathered else f"tokens_at(best, cols{suffix})"
        starts = ["", *(f"k{self.suffixes[number]}.shape[2] + " for number in group[:-1])]
        before = ["".join(starts[: number + 1]) for number in range(len(group))]
        each = [
            f"{start}numbers(cols{self.suffixes[number]}, q.device)"
            for start, number in zip(before, group, strict=True)
        ]
        return f"torch.cat(({', '.join(each)}))[best]"

    @property
    def _every_chain(self) -> Iterator[Chain]:
        chains = [
            *self.chains, *self.distance_chains, *self.post_chains, *self.factor_chains,
            self.sink_chain, self.corners_chain,
        ]  # fmt: skip
        return (chain for chain in chains if chain is not None)

    def _sunk(self) -> tuple[Piece | None, Chain | None]:
        normaliser = self.site.attention.normaliser
        if not isinstance(normaliser, SoftmaxKeys) or normaliser.sink is None:
            return None, None
        return self.sources[0].of_sink(simplify(normaliser.sink))

    def _rows(self) -> Piece | None:
        rows = self.site.attention.renormalise
        if rows is None or rows == Constant(True):
            return None
        made = TileFunction(self.site, self.by_number)
        written = TileWriter(made, 0).condition(rows)
        doc = "Which rows are divided by their sum."
        return made.piece(f"{self.site.name}_rows", doc, written)

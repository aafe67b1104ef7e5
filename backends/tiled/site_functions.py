"""All functions of one tile that the passes of a site call, and what is normalised together."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.backends.tiled.functions import Piece, TileFunction, TileWriter
from attnc.backends.tiled.normalise import BY_COLUMN, Part
from attnc.backends.tiled.scores import Chain, SourceFunctions
from attnc.backends.tiled.walk import Walk
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Constant, SoftmaxKeys
from attnc.dsl.scorelang import every_column_has_query, every_row_has_key, simplify


class SiteFunctions:
    """The functions of a site; lists have one entry for each source.

    Attributes:
        scores: scores of a tile.
        chains: where the gradients of scores go.
        posts: weights after the post expression; none where there is no such expression.
        post_chains: where the gradients of posted weights go.
        factors: the factor of the source, a number or a function; none for no factor.
        factor_chains: where the gradient of a factor goes; none for none and for numbers.
        sink: the score of the sink, where there is one.
        sink_chain: where its gradient goes.
        rows: which rows are renormalised; none for all or none.
    """

    def __init__(self, site: Site, walk: Walk) -> None:
        self.site, self.by_number = site, walk.by_number
        self.sources = [
            SourceFunctions(site, number, by_number=walk.by_number, exact=exact)
            for number, exact in enumerate(walk.exact)
        ]
        function = TileFunction(site, walk.by_number)
        self.parameters, self.suffixes = function.parameters, function.suffixes
        self._tensor = function.tensor
        self.scores = [each.scores() for each in self.sources]
        self.chains = [each.chain() for each in self.sources]
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

    @property
    def learned(self) -> tuple[str, ...]:
        """Captured tensors that the loss reaches, by parameter."""
        reached = {name for chain in self._every_chain for name in chain.learned}
        names = self.site.attention.tensors
        return tuple(self._tensor(name) for name in names if name in reached)

    def texts(self) -> Iterator[str]:
        """Yield the texts of all functions."""
        functions = [
            *self.scores, *self.posts, *self.factors, self.sink, self.rows,
            *(chain.piece for chain in self._every_chain),
        ]  # fmt: skip
        yield from (each.text for each in functions if isinstance(each, Piece))

    def parts(self) -> Iterator[Part]:
        """Yield what is normalised together: each source alone where they are summed, else all."""
        attention, normaliser = self.site.attention, self.site.attention.normaliser
        numbers = range(len(self.sources))
        groups = [(number,) for number in numbers] if attention.join == "sum" else [tuple(numbers)]
        by_column = isinstance(normaliser, BY_COLUMN)
        for group in groups:
            streams = [
                (self.sources[at].source, self.site.q.shape[2], self.site.sources[at][0].shape[2])
                for at in group
            ]
            if by_column:
                can_lack = not all(every_column_has_query(*stream) for stream in streams)
            else:
                can_lack = not any(every_row_has_key(*stream) for stream in streams)
            yield Part(
                normaliser,
                group,
                self.suffixes[group[0]] if len(group) == 1 else "",
                any(self.sources[at].condition is not None for at in group),
                can_lack,
                self.sink.call if self.sink else "",
                "lse" if "lse" in attention.outputs else "",
                "index" if "index" in attention.outputs else "",
            )

    @property
    def _every_chain(self) -> Iterator[Chain]:
        chains = [*self.chains, *self.post_chains, *self.factor_chains, self.sink_chain]
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

"""The lines of one tile: from scores to results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnc.backends.tiled.functions import Piece
from attnc.backends.tiled.normalise import BY_COLUMN, Part, weights
from attnc.backends.tiled.products import Gathered, Products, SideBySide
from attnc.backends.tiled.site_functions import SiteFunctions
from attnc.backends.torch_function import INDENT, WIDTH
from attnc.dsl.scorelang import reads_pair

BY_KEYS = ("back", "peaks", "totals")
"""What keys have read so far, in units of the exponential of the highest score, and its divisor."""


class Tile:
    """Writes a tile of a site.

    Args:
        single: the operands are one tile: what a line gives is the whole.
        routed: keys are gathered, and `again` says which stand there once more.

    Attributes:
        products: of each source.
        by_column: whether tiles hold whole columns.
        divides_later: whether rows are divided by their sum after the last tile.
    """

    def __init__(self, functions: SiteFunctions, *, single: bool, routed: bool) -> None:
        self.functions, self.suffixes = functions, functions.suffixes
        self.attention = functions.site.attention
        self.results = self.attention.outputs
        self.products: list[Products] = [
            SideBySide(suffix, single, functions.by_number) if keys is None else Gathered(suffix)
            for suffix, keys in zip(self.suffixes, functions.keys, strict=True)
        ]
        self.by_column = isinstance(self.attention.normaliser, BY_COLUMN)
        self.divides_later = self.by_column and self.attention.renormalise is not None
        self.divides_later &= not single
        self._single, self._routed = single, routed

    def forward(self, parts: Sequence[Part]) -> Iterator[str]:
        """Yield the lines that give all results of a tile."""
        terms: list[str] = []
        for part in parts:
            yield from self.weigh(part, results=True)
            yield from self.weighted(part, results=True)
            for number in part.numbers:
                yield from self._further(number)
            terms += self._terms(part)
        if "out" in self.results:
            assign = "+=" if self.by_column else "="
            yield from _sum("out = " if self._single else f"out[bs, hs, rows] {assign} ", terms)

    def weigh(self, part: Part, *, results: bool) -> Iterator[str]:
        """Yield lines up to the weights as the normaliser gives them."""
        for number in part.numbers:
            yield from self._gather(number)
            yield f"scores{self.suffixes[number]} = {self.functions.scores[number].call}"
            if self.functions.keys[number] is not None:
                suffix = self.suffixes[number]
                yield f"scores{suffix}.masked_fill_(absent{suffix}, -torch.inf)"
            if self._routed:
                yield "if again is not None:"
                yield "    scores.masked_fill_(again, -torch.inf)"
        if len(part.numbers) > 1:
            yield f"scores = torch.cat({listed(self.each('scores', part))}, dim=-1)"
        yield from weights(part, results=results)

    def weighted(self, part: Part, *, results: bool) -> Iterator[str]:
        """Yield lines to the weights as values are multiplied by them, `posted` if changed.

        Args:
            results: whether rows that are divided by their sum only after the last tile are left.
        """
        name = part.own("weights")
        if len(part.numbers) > 1:
            split = f"{name}.split({self.sizes(part)}, dim=-1)"
            yield f"{', '.join(self.each('weights', part))} = {split}"
        for number in part.numbers:
            if self.functions.posts[number] is not None:
                yield f"posted{self.suffixes[number]} = {self._posted(number)}"
        if not (self.divides_later and results):
            yield from self._renormalise(part)

    def final(self, number: int) -> str:
        """Return the variable of the weights that values are multiplied by."""
        if self.attention.renormalise is None:
            return self.before(number)
        return f"final{self.suffixes[number]}"

    def each(self, name: str, part: Part) -> list[str]:
        """Return the variables of the sources of a part."""
        return [f"{name}{self.suffixes[number]}" for number in part.numbers]

    def sizes(self, part: Part) -> str:
        """Return the numbers of keys of the sources of a part, as a tuple."""
        return listed([self.products[number].count for number in part.numbers])

    def factor(self, number: int) -> str:
        """Return the factor of a source; empty where there is none."""
        factor = self.functions.factors[number]
        return factor.call if isinstance(factor, Piece) else factor or ""

    def _gather(self, number: int) -> Iterator[str]:
        """Yield lines that find the keys of each query, where they are gathered."""
        keys, suffix = self.functions.keys[number], self.suffixes[number]
        if keys is None:
            return
        names = ["v"]
        if reads_pair(self.functions.sources[number].score):
            names.insert(0, "k")
        yield f"j{suffix}, absent{suffix} = {keys.call}"
        for name in names:
            yield f"{name}_near{suffix} = keys_at({name}{suffix}, bs, hs, j{suffix})"

    def _further(self, number: int) -> Iterator[str]:
        """Yield lines to the results besides `out`."""
        suffix = self.suffixes[number]
        if "received" in self.results:
            yield self.products[number].received(self.final(number))
        if "slot_weights" in self.results:
            yield f"slot_weights[bs, hs, rows] = {self.final(number)}"
        if self.divides_later:
            yield f"sums[bs, hs, rows] += {self.before(number)}.sum(-1, keepdim=True)"
        if "back" in self.results:
            names = [f"{name}{suffix}[bs, hs, cols{suffix}]" for name in BY_KEYS]
            yield f"so_far = {', '.join(names)}"
            yield f"so_far = read_by_keys(scores{suffix}, vq[bs, hs, rows], *so_far)"
            yield f"{', '.join(names)} = so_far"

    def _posted(self, number: int) -> str:
        """Return the call of a post function, whose parameters have the names of this source."""
        post, suffix = self.functions.posts[number], self.suffixes[number]
        assert post is not None
        own = {"weights": f"weights{suffix}", "scores": f"scores{suffix}"}
        return f"{post.name}({', '.join(own.get(each, each) for each in post.parameters)})"

    def _renormalise(self, part: Part) -> Iterator[str]:
        if self.attention.renormalise is None:
            return
        names = [self.before(number) for number in part.numbers]
        if self.divides_later:
            for number, name in zip(part.numbers, names, strict=True):
                yield f"final{self.suffixes[number]} = {name} / sums[bs, hs, rows]"
            return
        yield f"sums = {' + '.join(f'{name}.sum(-1, keepdim=True)' for name in names)}"
        if self.functions.rows is not None:
            yield f"sums = torch.where({self.functions.rows.call}, sums, 1.0)"
        yield "sums = sums.masked_fill(sums == 0, 1.0)"
        for number, name in zip(part.numbers, names, strict=True):
            yield f"final{self.suffixes[number]} = {name} / sums"

    def before(self, number: int) -> str:
        """Return the variable of the weights before they are renormalised."""
        stem = "weights" if self.functions.posts[number] is None else "posted"
        return f"{stem}{self.suffixes[number]}"

    def _terms(self, part: Part) -> Iterator[str]:
        for number in part.numbers:
            weights = self.before(number) if self.divides_later else self.final(number)
            product, factor = self.products[number].read(weights), self.factor(number)
            yield f"{factor} * ({product})" if factor else product


def listed(items: Sequence[str]) -> str:
    """Return a tuple of expressions."""
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def _sum(assigned: str, terms: Sequence[str]) -> Iterator[str]:
    one = f"{assigned}{' + '.join(terms)}"
    if len(one) + 2 * len(INDENT) <= WIDTH:
        yield one
        return
    yield f"total = {terms[0]}"
    yield from (f"total = total + {term}" for term in terms[1:])
    yield f"{assigned}total"

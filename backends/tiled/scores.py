"""The functions of one source on a tile: scores, what gradients of scores lead to, post, factor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from attnc.backends.tiled.functions import Piece, TileFunction, TileWriter
from attnc.backends.torch_scores import LONGEST, Kind
from attnc.compiler.kernel import Site
from attnc.dsl.attention import L1, All, Apply, Constant, Dot, Load, ScoreTree, Source, Weight
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import (
    FUNCTIONS,
    LinearBand,
    allowed,
    as_size,
    classify,
    derivative,
    fill,
    has_distance,
    has_dot,
    has_weight,
    loads,
    make,
    reads_pair,
    replaced,
    scaled_product,
    simplify,
    subtrees,
    text,
)

ONE, ZERO = Constant(1.0), Constant(0.0)


@dataclass(frozen=True, slots=True)
class Chain:
    """What d loss / d (a tree) leads to.

    Attributes:
        slope: d tree / d qk where it is a number, else none.
        piece: a function of `grad` that adds to gradients of captured tensors and returns the
            gradient of what it stands for, where it is more than a number; none for nothing to do.
        learned: captured tensors that it adds to.
    """

    slope: float | None
    piece: Piece | None
    learned: tuple[str, ...]


class SourceFunctions:
    """Writes the functions of one source of a site."""

    def __init__(
        self, site: Site, number: int, *, by_number: bool = False, exact: bool = False
    ) -> None:
        self.site, self.number, self.by_number = site, number, by_number
        self.source: Source = site.attention.sources[number]
        self.suffix = str(number) if len(site.sources) > 1 else ""
        self.score = simplify(self.source.score)
        self.condition = allowed(replace(self.source, domain=All()) if exact else self.source)
        self.is_masked = self.condition is not None

    # Scores --------------------------------------------------------------------------------

    def scores(self) -> Piece:
        """Return the function of the scores of a tile, forbidden pairs -inf."""
        made, product = self._function(), scaled_product(self.score)
        if product is not None and product.scale != 0:
            scaled = "" if product.scale == 1 else f" * {product.scale!r}"
            made.line(f"scores = {self._dot(made, scaled)}")
            if product.bias is not None:
                writer = self._writer(made, product.bias)
                made.line(f"scores += {writer.floating(product.bias)}")
        else:
            writer = self._writer(made, self.score)
            made.line(f"scores = {writer.floating(self.score)}")
            if not reads_pair(self.score):
                made.line(f"scores = scores.expand({', '.join(self._sizes(made))}).clone()")
        self._forbid(made)
        where = "" if self.condition is None else f" where {text(self.condition)}, else -inf"
        doc = f"{text(self.score)}{where}, for a tile of pairs."
        return made.piece(self._name("scores"), doc, "scores")

    def scale(self) -> float | None:
        """Return the scale of a score that is `qk * scale` for all pairs; none for all else."""
        product = scaled_product(self.score)
        plain = product is not None and product.bias is None and not self.is_masked
        return product.scale if product is not None and plain and product.scale != 0 else None

    def _forbid(self, made: TileFunction) -> None:
        if self.condition is None:
            return
        band = None if self.by_number else classify(self.condition)
        sides = _sides(band)
        cols = made.place("j", self.number)
        if band is not None and sides is not None:
            for side, function in zip(sides, ("cut_before", "cut_behind"), strict=True):
                if side is not None:
                    made.line(f"{function}(scores, rows, {cols}, {made.size(side)})")
            return
        writer = self._writer(made, self.condition)
        blocked = writer.condition(make("not", self.condition))
        if len(blocked) > LONGEST // 2:
            blocked = made.bind("blocked", blocked)
        made.line(f"scores.masked_fill_({blocked}, -torch.inf)")

    # Gradients -----------------------------------------------------------------------------

    def chain(self) -> Chain:
        """Return where the gradient of scores goes."""
        return self._chain(self.score, "chain", Dot(), "scores", "qk")

    def distance_chain(self) -> Chain | None:
        """Return where the gradient of scores goes through `l1(q, k)`; none where it does not."""
        if not has_distance(self.score):
            return None
        slope = derivative(self.score, L1())
        if isinstance(slope, Constant):
            return Chain(float(slope.value), None, ())
        return self._times_slope(slope, "distance_chain", "scores", "l1(q, k)")

    def post_chain(self) -> Chain:
        """Return where the gradient of posted weights goes; the slope is that of the weight."""
        assert self.source.post is not None
        return self._chain(simplify(self.source.post), "post_chain", Weight(), "weights", "weights")

    def factor_chain(self) -> Chain:
        """Return where the gradient [bs, hs, 1, 1] of the factor of the source goes."""
        assert self.source.weight is not None
        return self._chain(simplify(self.source.weight), "factor_chain", Dot(), "factor", "")

    def _chain(self, tree: ScoreTree, name: str, through: Dot | Weight, of: str, to: str) -> Chain:
        slope = derivative(tree, through)
        reads = [(read, derivative(tree, read)) for read in reached(tree)]
        learned = tuple(dict.fromkeys(read.tensor for read, _ in reads))
        number = slope.value if isinstance(slope, Constant) else None
        if number is not None and not reads:
            return Chain(float(number), None, ())
        if not reads:
            return self._times_slope(slope, name, of, to)
        made = self._function()
        trees = [slope, *(each for _, each in reads)]
        writer = self._writer(made, *trees, has_weight="weights")
        fragile = self.is_masked and any(map(_is_fragile, trees))
        for read, each in reads:
            self._learn(made, writer, read, each, fragile)
        result = ""
        if number is None:
            result = self._times(made, writer, "grad", slope, fragile)
        names = [made.tensor(each) for each in learned]
        what = f" and return that of {to}" if number is None else ""
        doc = f"Add to gradients of captured tensors from that of {of}{what}."
        further = ("grad", *(f"grad_{each}" for each in names), "weights", "scores")
        piece = made.piece(self._name(name), doc, result, further)
        return Chain(None if number is None else float(number), piece, learned)

    def _times_slope(self, slope: ScoreTree, name: str, of: str, to: str) -> Chain:
        """Return a chain that is a product, tensor by tensor, and reaches nothing else."""
        made = self._function()
        writer = self._writer(made, slope, has_weight="weights")
        fragile = self.is_masked and _is_fragile(slope)
        result = self._times(made, writer, "grad", slope, fragile)
        doc = f"The gradient of {to} from that of {of}."
        piece = made.piece(self._name(name), doc, result, ("grad", "weights", "scores"))
        return Chain(None, piece, ())

    def _learn(
        self, made: TileFunction, writer: TileWriter, read: Load, slope: ScoreTree, fragile: bool
    ) -> None:
        target = f"grad_{made.tensor(read.tensor)}"
        kind, place = writer.read(read, target)
        grad = self._times(made, writer, "grad", slope, fragile)
        if kind == "view":
            if place == target:
                made.line(f"{target} += {grad}.sum_to_size({target}.shape)")
            else:
                view = made.bind("view", place)
                made.line(f"{view} += {grad}.sum_to_size({view}.shape)")
        elif kind == "diagonals":
            made.line(f"add_diagonals({grad}, {place})")
        else:
            places = place if ", " in place else f"{place},"
            made.line(f"add_at({grad}, {target}, ({places}))")

    def _times(
        self, made: TileFunction, writer: TileWriter, grad: str, slope: ScoreTree, fragile: bool
    ) -> str:
        """Return the gradient times a slope; nothing comes of forbidden pairs."""
        if slope == ONE:
            return grad
        product = fill("{a} * {b}", grad, writer.factor(slope).text)
        if fragile:
            product = f"torch.where(scores.isneginf(), 0.0, {product})"
        return made.bind("part", product)

    # Post and factor ------------------------------------------------------------------------

    def post(self) -> Piece:
        """Return the function of the posted weights of a tile."""
        assert self.source.post is not None
        made, tree = self._function(), simplify(self.source.post)
        writer = self._writer(made, tree, has_weight="weights")
        written = writer.floating(tree)
        if not has_weight(tree):
            written = fill("{a}.expand_as({b})", written, "weights")
        if self.is_masked and not vanishes(tree):
            written = made.bind("posted", written)
            written = f"{written}.masked_fill(scores.isneginf(), 0.0)"
        doc = f"{text(tree)}, for a tile of pairs."
        return made.piece(self._name("post"), doc, written, ("weights", "scores"))

    def factor(self) -> Piece | str:
        """Return the factor of the source: a number, or a function of a tile."""
        assert self.source.weight is not None
        made, tree = self._function(), simplify(self.source.weight)
        piece = TileWriter(made, self.number).factor(tree)
        if piece.kind is Kind.NUMBER:
            return piece.text
        doc = f"{text(tree)}, the factor of the source."
        return made.piece(self._name("factor"), doc, piece.text)

    def of_sink(self, sink: ScoreTree) -> tuple[Piece, Chain]:
        """Return the function of the score of the sink, and where its gradient goes."""
        made = self._function()
        written = TileWriter(made, self.number).floating(sink)
        name = f"{self.site.name}_sink"
        piece = made.piece(name, f"{text(sink)}, the score of the sink.", written)
        return piece, self._chain(sink, "sink_chain", Dot(), "the sink", "")

    # Parts ---------------------------------------------------------------------------------

    def _function(self) -> TileFunction:
        return TileFunction(self.site, self.by_number)

    def _name(self, what: str) -> str:
        return f"{self.site.name}_{what}{self.suffix}"

    def _dot(self, made: TileFunction, scaled: str = "") -> str:
        if self.site.attention.given:
            tile = f"qk[bs, hs, rows][..., {made.place('j', self.number)}]"
            return f"{tile}{scaled}" if scaled else f"{tile}.clone()"
        q = f"(q[bs, hs, rows]{scaled})" if scaled else "q[bs, hs, rows]"
        return f"{q} @ k{self.suffix}[bs, hs, {made.place('j', self.number)}].mT"

    def _writer(self, made: TileFunction, *trees: ScoreTree, has_weight: str = "") -> TileWriter:
        """Return a writer, `qk` bound where one of the trees reads it."""
        if any(map(has_dot, trees)):
            made.line(f"qk = {self._dot(made)}")
        if any(map(has_distance, trees)) and L1() not in made.known[self.number]:
            made.line(f"l1 = {self._distance(made)}")
            made.known[self.number][L1()] = "l1"
        return TileWriter(made, self.number, "qk", has_weight)

    def _distance(self, made: TileFunction) -> str:
        k = f"k{self.suffix}[bs, hs, {made.place('j', self.number)}]"
        return f"torch.cdist(q[bs, hs, rows], {k}, p=1.0)"

    def _sizes(self, made: TileFunction) -> Sequence[str]:
        """Return the sizes of a tile of scores."""
        return [f"size_of({made.place(name, self.number)})" for name in "bhij"]


def _sides(band: LinearBand | None) -> tuple[Size | None, Size | None] | None:
    """Return the sides of a band as sizes, none for no bound; none where one is no size."""
    if band is None:
        return None
    left, right = (None if side is None else as_size(side) for side in (band.left, band.right))
    if (band.left is None) != (left is None) or (band.right is None) != (right is None):
        return None
    return left, right


def reached(tree: ScoreTree) -> Iterator[Load]:
    """Yield the loads of float tensors on which a tree depends smoothly."""
    for reads in loads(tree).values():
        yield from (load for load in reads if derivative(tree, load) != ZERO)


def _is_fragile(tree: ScoreTree) -> bool:
    """Say whether a function in the tree may lack a finite value."""
    return any(isinstance(x, Apply) and not FUNCTIONS[x.function].finite for x in subtrees(tree))


def vanishes(post: ScoreTree) -> bool:
    """Say whether a weight of 0 stays 0."""

    def without(part: ScoreTree) -> ScoreTree:
        return ZERO if isinstance(part, Weight) else part

    return simplify(replaced(post, without)) == ZERO

"""The meaning of an attention as a plain torch function that materialises all scores.

Products are in the dtype of their operands. Softmax takes its statistics in float32 at least, and
every score that is more than a scaled product is computed there, as are weights that are more than
a softmax: half precision would round positions and biases. Weights return to the dtype of v.
"""

from __future__ import annotations

from attnc.backends.formula import formula
from attnc.backends.reference.normalise import (
    KEYS,
    QUERIES,
    Part,
    lse,
    normalised,
    softmax,
)
from attnc.backends.reference.post import Reduction
from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import LONGEST, Kind, ScoreWriter
from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    Constant,
    Dot,
    ScoreTree,
    SoftmaxBoth,
    SoftmaxKeys,
    SoftmaxQueries,
    Source,
)
from attnc.dsl.scorelang import (
    allowed,
    every_column_has_query,
    every_row_has_key,
    fill,
    has_dot,
    make,
    scaled_product,
    simplify,
    subtrees,
    text,
)


def generate(site: Site) -> str:
    """Return the source of the function `site.name(q, k0, v0, ..., *tensors)`."""
    return _Generator(site).source()


class _Generator:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._attention = site.attention
        self._sources = site.attention.sources
        self._function = TorchFunction(site)
        self._line = self._function.line
        self._writers = [ScoreWriter(self._function, at) for at in range(len(self._sources))]
        self._is_wide = _is_wide(site)
        self._dots: list[str] = []

    def source(self) -> str:
        for number in range(len(self._sources)):
            self._repeat_heads(number)
            self._score(number)
        parts = self._parts()
        out = self._out(parts)
        if isinstance(self._attention.normaliser, SoftmaxBoth):
            self._back(parts[0])
        self._extras(parts)
        outputs = self._attention.outputs
        returned = ", ".join(out if name == "out" else name for name in outputs)
        return self._function.source(formula(self._attention), returned)

    # Scores --------------------------------------------------------------------------------

    def _repeat_heads(self, number: int) -> None:
        """Give each head of q its own k and v."""
        heads, groups = self._site.q.shape[1], self._site.sources[number][0].shape[1]
        if heads == groups:
            return
        suffix, query = self._function.suffixes[number], self._function.query
        each = f"{query}.shape[1] // {self._function.stream(number)}.shape[1]"
        if isinstance(heads, int) and isinstance(groups, int):
            each = str(heads // groups)
        reads_key = _dots(self._sources[number]) and not self._attention.given
        for name in "kv" if reads_key else "v":
            self._line(f"{name}{suffix} = {name}{suffix}.repeat_interleave({each}, dim=1)")

    def _score(self, number: int) -> None:
        source, suffix = self._sources[number], self._function.suffixes[number]
        score = simplify(source.score)
        self._dots.append(self._dot(source, suffix))
        writer = ScoreWriter(self._function, number, self._dots[number])
        written = writer.floating(score)
        self._line(f"scores{suffix} = {written}")
        if not has_dot(score):
            shape = f"*{self._function.query}.shape[:3], {self._function.stream(number)}.shape[2]"
            self._line(f"scores{suffix} = scores{suffix}.expand({shape})")
        condition = allowed(source)
        if condition is not None:
            blocked = writer.condition(make("not", condition))
            if len(blocked) > LONGEST // 2:
                blocked = self._function.bind(f"blocked{suffix}", blocked)
            self._line(f"scores{suffix} = scores{suffix}.masked_fill({blocked}, -torch.inf)")

    def _dot(self, source: Source, suffix: str) -> str:
        """Return the expression of `qk`, a name if it is used often or in a long line."""
        product = "qk" if self._attention.given else f"q @ k{suffix}.transpose(-2, -1)"
        if self._is_wide and _dots(source):
            product = fill("{a}.to({b})", product, self._function.working_dtype())
        length = len(text(simplify(source.score))) + len(product)
        if product != "qk" and (_dots(source) > 1 or (_dots(source) and length > LONGEST)):
            self._line(f"qk{suffix} = {product}")
            return f"qk{suffix}"
        return product

    # Softmax and sum -----------------------------------------------------------------------

    def _parts(self) -> list[Part]:
        """Return what is normalised: each source alone, or all together."""
        suffixes, every = self._function.suffixes, range(len(self._sources))
        if len(suffixes) == 1:
            return [self._part("scores", "v", "", (0,))]
        if self._attention.join == "sum":
            return [
                self._part(f"scores{suffix}", f"v{suffix}", suffix, (number,))
                for number, suffix in zip(every, suffixes, strict=True)
            ]
        self._concatenate("scores", -1)
        self._concatenate("v", -2)
        return [self._part("scores", "v", "", tuple(every))]

    def _part(self, scores: str, values: str, suffix: str, numbers: tuple[int, ...]) -> Part:
        n, given = self._site.q.shape[2], self._attention.given
        streams = [(self._sources[at], n, self._site.sources[at][0].shape[2]) for at in numbers]
        lack = {
            KEYS: given or not any(every_row_has_key(*stream) for stream in streams),
            QUERIES: given or not all(every_column_has_query(*stream) for stream in streams),
        }
        is_masked = given or any(allowed(source) is not None for source, _, _ in streams)
        can_lack = frozenset(axis for axis, lacks in lack.items() if lacks)
        return Part(scores, values, suffix, numbers, is_masked, can_lack)

    def _out(self, parts: list[Part]) -> str:
        terms = [
            self._scaled(source.weight, f"{self._weights(part)} @ {part.values}", number, part)
            for number, (part, source) in enumerate(zip(parts, self._sources, strict=False))
        ]
        if len(terms) == 1:
            return terms[0]
        for part, term in zip(parts, terms, strict=True):
            self._line(f"out{part.suffix} = {term}")
        return " + ".join(f"out{part.suffix}" for part in parts)

    def _scaled(self, factor: ScoreTree | None, product: str, number: int, part: Part) -> str:
        """Return `factor * product` in the dtype of v."""
        if factor is None:
            return product
        piece = self._writers[number].factor(factor)
        written = piece.text
        if len(written) > LONGEST // 3:
            written = self._function.bind(f"factor{part.suffix}", written)
        scaled = fill("{a} * {b}", written, product)
        return scaled if piece.kind is Kind.NUMBER else f"({scaled}).to({part.values}.dtype)"

    def _weights(self, part: Part) -> str:
        """Return the weights in the dtype of v, as a name where they are used again."""
        written = normalised(self._function, part, self._attention.normaliser, self._sink())
        written = Reduction(self._function, part, self._dots).written(written)
        outputs, weights = self._attention.outputs, part.weights
        if "received" in outputs:
            self._line(f"{weights} = {written}")
            self._line(f"received{part.suffix} = {weights}.sum(-2)")
            written = weights
        narrowed = self._narrowed(written, part.values)
        if "weights" in outputs or written.startswith(weights) or len(written) > LONGEST // 2:
            if narrowed != weights:
                self._line(f"{weights} = {narrowed}")
            return weights
        return narrowed

    def _narrowed(self, written: str, values: str) -> str:
        return fill("{a}.to({b})", written, f"{values}.dtype") if self._is_wide else written

    def _sink(self) -> str:
        """Return the expression of the score of a key without a value; empty without one."""
        match self._attention.normaliser:
            case SoftmaxKeys(sink) if sink is not None:
                return self._writers[0].floating(sink)
        return ""

    # Further outputs -----------------------------------------------------------------------

    def _back(self, part: Part) -> None:
        """Bind `back`: the same scores, read by the keys."""
        written = self._narrowed(softmax(self._function, part, QUERIES, "back"), "vq")
        self._line(f"back = {fill('{a}.transpose(-2, -1) @ {b}', written, 'vq')}")

    def _extras(self, parts: list[Part]) -> None:
        outputs = self._attention.outputs
        if len(parts) > 1:
            for name in ("weights", "scores", "received"):
                if name in outputs or (name == "scores" and "lse" in outputs):
                    self._concatenate(name, -1)
        if "lse" not in outputs:
            return
        normaliser = self._attention.normaliser
        whole = parts[0]
        if len(parts) > 1:
            whole = self._part("scores", "v", "", tuple(range(len(self._sources))))
        lse(
            self._function,
            whole,
            QUERIES if isinstance(normaliser, SoftmaxQueries) else KEYS,
            has_sink=isinstance(normaliser, SoftmaxKeys) and normaliser.sink is not None,
            is_known=len(parts) == 1,
        )

    def _concatenate(self, name: str, axis: int) -> None:
        parts = ", ".join(f"{name}{suffix}" for suffix in self._function.suffixes)
        self._line(f"{name} = torch.cat(({parts}), dim={axis})")


def _dots(source: Source) -> int:
    """Count the uses of `qk`."""
    trees = (source.score, allowed(source) or Constant(True), source.post or Constant(0.0))
    return sum(isinstance(part, Dot) for tree in trees for part in subtrees(simplify(tree)))


def _is_wide(site: Site) -> bool:
    """Say whether scores and weights are kept in float32 or better beyond what softmax does."""
    attention = site.attention
    is_softmax = attention.normaliser in (SoftmaxKeys(), SoftmaxQueries(), SoftmaxBoth())
    is_plain = is_softmax and attention.renormalise is None
    has_statistics = not {"lse", "received"}.isdisjoint(attention.outputs)
    return has_statistics or not (is_plain and all(map(_is_product, attention.sources)))


def _is_product(source: Source) -> bool:
    """Say whether the score is `qk * number`, and nothing is done with the weights."""
    score = scaled_product(source.score)
    return score is not None and score.bias is None and score.scale != 0 and source.post is None

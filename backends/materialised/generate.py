"""An attention as a torch function that stores all its scores; in plain torch, its meaning.

Products are in the dtype of their operands. Softmax takes its statistics in float32 at least, and
every score that is more than a scaled product is computed there, as are weights that are more than
a softmax: half precision would round positions and biases. Weights return to the dtype of v.
"""

from __future__ import annotations

from attnc.backends.epilogue import written
from attnc.backends.formula import formula
from attnc.backends.materialised.normalise import lse, normalised, softmax
from attnc.backends.materialised.part import KEYS, QUERIES, Part
from attnc.backends.materialised.post import Reduction
from attnc.backends.prologue import applied
from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import LONGEST, Kind, ScoreWriter
from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    L1,
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
    condition,
    every_column_has_query,
    every_row_has_key,
    fill,
    make,
    reads_pair,
    scaled_product,
    simplify,
    size_tree,
    slot,
    slot_count,
    subtrees,
    text,
)


class Generator:
    """Writes the function of a site, in which all pairs have a score."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._attention = site.attention
        self._sources = site.attention.sources
        self._function = TorchFunction(site)
        self._line = self._function.line
        self._writers = [ScoreWriter(self._function, at) for at in range(len(self._sources))]
        self._is_wide = _is_wide(site)
        self._slot_weights = "slot_weights"
        self._dots: list[str] = []

    def source(self) -> str:
        """Return the text of the function."""
        applied(self._function)
        for number in range(len(self._sources)):
            self._repeat_heads(number)
            self._take_keys(number)
            self._score(number)
        parts = self._parts()
        out = self._out(parts)
        if self._attention.epilogue is not None:
            self._line(f"out = {out}")
            out = written(self._function)
        if isinstance(self._attention.normaliser, SoftmaxBoth):
            self._back(parts[0])
        self._extras(parts)
        outputs = self._attention.outputs
        held = {"out": out, "slot_weights": self._slot_weights}
        returned = ", ".join(held.get(name, name) for name in outputs)
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
        for name in "kv" if self._reads_key(number) else "v":
            self._line(f"{name}{suffix} = {name}{suffix}.repeat_interleave({each}, dim=1)")

    def _reads_key(self, number: int) -> bool:
        source = self._sources[number]
        return not self._attention.given and (_uses(source, Dot) + _uses(source, L1)) > 0

    def _take_keys(self, number: int) -> None:
        """Bring k and v into another form; here they stay [b, h, m, d]."""

    def _score(self, number: int) -> None:
        source, suffix = self._sources[number], self._function.suffixes[number]
        score = simplify(source.score)
        self._dots.append(self._dot(source, suffix))
        if _uses(source, L1):
            self._function.known[number][L1()] = self._distance(suffix)
        writer = ScoreWriter(self._function, number, self._dots[number])
        written = writer.floating(score)
        self._line(f"scores{suffix} = {written}")
        if not reads_pair(score):
            shape = f"*{self._function.query}.shape[:3], {self._keys(number)}"
            self._line(f"scores{suffix} = scores{suffix}.expand({shape})")
        blocked = self._blocked(number, writer)
        if len(blocked) > LONGEST // 2:
            blocked = self._function.bind(f"blocked{suffix}", blocked)
        if blocked:
            self._line(f"scores{suffix} = scores{suffix}.masked_fill({blocked}, -torch.inf)")

    def _keys(self, number: int) -> str:
        """Return the expression of the number of keys that scores are computed for."""
        return f"{self._function.stream(number)}.shape[2]"

    def _blocked(self, number: int, writer: ScoreWriter) -> str:
        """Return the expression of where a pair is not allowed; empty where all are."""
        condition = allowed(self._sources[number])
        return "" if condition is None else writer.condition(make("not", condition))

    def _product(self, suffix: str) -> str:
        return f"q @ k{suffix}.transpose(-2, -1)"

    def _differences(self, suffix: str) -> str:
        return f"q[:, :, :, None] - k{suffix}[:, :, None]"

    def _distance(self, suffix: str) -> str:
        """Name `l1(q, k)`."""
        distance = f"({self._differences(suffix)}).abs().sum(-1)"
        return self._function.bind(f"l1{suffix}", self._widened(distance))

    def _widened(self, product: str) -> str:
        """Return a product of q and k in the dtype of scores."""
        if not self._is_wide:
            return product
        return fill("{a}.to({b})", product, self._function.working_dtype())

    def _dot(self, source: Source, suffix: str) -> str:
        """Return the expression of `qk`, a name if it is used often or in a long line."""
        uses = _uses(source, Dot)
        product = "qk" if self._attention.given else self._product(suffix)
        if uses:
            product = self._widened(product)
        length = len(text(simplify(source.score))) + len(product)
        if product != "qk" and (uses > 1 or (uses and length > LONGEST)):
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
        known = {KEYS: [keys for _, _, keys in streams], QUERIES: [n]}
        can_vanish = frozenset(
            axis
            for axis, sizes in known.items()
            if not any(isinstance(each, int) for each in sizes)
        )
        return Part(scores, values, suffix, numbers, is_masked, can_lack, can_vanish)

    def _out(self, parts: list[Part]) -> str:
        terms = [
            self._scaled(
                source.weight, self._summed(self._weights(part), part.values), number, part
            )
            for number, (part, source) in enumerate(zip(parts, self._sources, strict=False))
        ]
        if len(terms) == 1:
            return terms[0]
        for part, term in zip(parts, terms, strict=True):
            self._line(f"out{part.suffix} = {term}")
        return " + ".join(f"out{part.suffix}" for part in parts)

    def _summed(self, weights: str, values: str) -> str:
        return f"{weights} @ {values}"

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
        is_read = not {"weights", "slot_weights"}.isdisjoint(outputs)
        if is_read or written.startswith(weights) or len(written) > LONGEST // 2:
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
        turned = fill("{a}.transpose(-2, -1)", written)
        self._line(f"back = {self._summed(turned, 'vq')}")

    def _extras(self, parts: list[Part]) -> None:
        outputs = self._attention.outputs
        if len(parts) > 1:
            for name in ("weights", "scores", "received"):
                if name in outputs or (name == "scores" and "lse" in outputs):
                    self._concatenate(name, -1)
        if "slot_weights" in outputs:
            self._by_slot(parts[0])
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

    def _by_slot(self, part: Part) -> None:
        """Bind `slot_weights`: weights brought to the slots of their keys."""
        domain = self._sources[0].domain
        place, count = slot(domain), slot_count(domain)
        assert place is not None and count is not None, f"{domain} has no slots"
        inside = condition(domain)
        if inside is not None:  # all other pairs go to a slot that is dropped
            place = make("where", inside, place, size_tree(count))
        written = self._writers[0].integer(place)
        name = self._function.bind("slot", f"({written}).expand_as({part.weights})")
        slots, weights = self._function.size(count), part.weights
        shape = f"*{weights}.shape[:3], {self._function.size(count + 1)}"
        zeros = self._function.bind("empty_slots", f"{weights}.new_zeros({shape})")
        self._line(f"slot_weights = {zeros}.scatter_add(-1, {name}, {weights})[..., :{slots}]")

    def _concatenate(self, name: str, axis: int) -> None:
        parts = ", ".join(f"{name}{suffix}" for suffix in self._function.suffixes)
        self._line(f"{name} = torch.cat(({parts}), dim={axis})")


def _uses(source: Source, leaf: type[Dot] | type[L1]) -> int:
    """Count the uses of `qk` or `l1(q, k)`."""
    trees = (source.score, allowed(source) or Constant(True), source.post or Constant(0.0))
    return sum(isinstance(part, leaf) for tree in trees for part in subtrees(simplify(tree)))


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

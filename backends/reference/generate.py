"""The meaning of an attention as a plain torch function that materialises all scores.

Products are in the dtype of their operands. Softmax takes its statistics in float32 at least, and
every score that is more than a scaled product is computed there: half precision would round
positions and biases. Weights return to the dtype of v.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnc.backends.formula import formula
from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import LONGEST, Kind, ScoreWriter
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Constant, Dot, ScoreTree, Source
from attnc.dsl.scorelang import (
    allowed,
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


@dataclass(frozen=True, slots=True)
class _Part:
    """One softmax: the names of its scores, values, and of all else by their suffix."""

    scores: str
    values: str
    suffix: str
    can_be_empty: bool


class _Generator:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._sources = site.attention.sources
        self._function = TorchFunction(site)
        self._line = self._function.line
        self._writers = [ScoreWriter(self._function, at) for at in range(len(self._sources))]
        self._is_wide = "lse" in site.attention.outputs or not all(map(_is_product, self._sources))

    def source(self) -> str:
        for number in range(len(self._sources)):
            self._repeat_heads(number)
            self._score(number)
        parts = self._parts()
        results = {"out": self._out(parts), **self._extras(parts)}
        returned = ", ".join(results[name] for name in self._site.attention.outputs)
        return self._function.source(formula(self._site.attention), returned)

    # Scores --------------------------------------------------------------------------------

    def _repeat_heads(self, number: int) -> None:
        """Give each head of q its own k and v."""
        heads, groups = self._site.q.shape[1], self._site.sources[number][0].shape[1]
        if heads == groups:
            return
        suffix = self._function.suffixes[number]
        each = f"q.shape[1] // k{suffix}.shape[1]"
        if isinstance(heads, int) and isinstance(groups, int):
            each = str(heads // groups)
        for name in "kv" if _dots(self._sources[number]) else "v":
            self._line(f"{name}{suffix} = {name}{suffix}.repeat_interleave({each}, dim=1)")

    def _score(self, number: int) -> None:
        source, suffix = self._sources[number], self._function.suffixes[number]
        score = simplify(source.score)
        writer = ScoreWriter(self._function, number, self._dot(source, suffix))
        written = writer.floating(score)
        self._line(f"scores{suffix} = {written}")
        if not has_dot(score):
            shape = f"*q.shape[:3], k{suffix}.shape[2]"
            self._line(f"scores{suffix} = scores{suffix}.expand({shape})")
        condition = allowed(source)
        if condition is not None:
            blocked = writer.condition(make("not", condition))
            if len(blocked) > LONGEST // 2:
                blocked = self._function.bind(f"blocked{suffix}", blocked)
            self._line(f"scores{suffix} = scores{suffix}.masked_fill({blocked}, -torch.inf)")

    def _dot(self, source: Source, suffix: str) -> str:
        """Return the expression of `qk`, a name if it is used often or in a long line."""
        product = f"q @ k{suffix}.transpose(-2, -1)"
        if self._is_wide and _dots(source):
            product = f"({product}).to({self._function.working_dtype()})"
        length = len(text(simplify(source.score))) + len(product)
        if _dots(source) > 1 or (_dots(source) and length > LONGEST):
            self._line(f"qk{suffix} = {product}")
            return f"qk{suffix}"
        return product

    # Softmax and sum -----------------------------------------------------------------------

    def _parts(self) -> list[_Part]:
        """Return the softmaxes: one for each source that is normalised alone, or one for all."""
        n = self._site.q.shape[2]
        never_empty = [
            every_row_has_key(source, n, k.shape[2])
            for source, (k, _) in zip(self._sources, self._site.sources, strict=True)
        ]
        suffixes = self._function.suffixes
        if len(suffixes) == 1:
            return [_Part("scores", "v", "", not never_empty[0])]
        if self._site.attention.join == "sum":
            return [
                _Part(f"scores{suffix}", f"v{suffix}", suffix, not sure)
                for suffix, sure in zip(suffixes, never_empty, strict=True)
            ]
        self._concatenate("scores", -1)
        self._concatenate("v", -2)
        return [_Part("scores", "v", "", not any(never_empty))]

    def _out(self, parts: list[_Part]) -> str:
        terms = [
            self._scaled(source.weight, f"{self._weights(part)} @ {part.values}", number, part)
            for number, (part, source) in enumerate(zip(parts, self._sources, strict=False))
        ]
        if len(terms) == 1:
            return terms[0]
        for part, term in zip(parts, terms, strict=True):
            self._line(f"out{part.suffix} = {term}")
        return " + ".join(f"out{part.suffix}" for part in parts)

    def _scaled(self, factor: ScoreTree | None, product: str, number: int, part: _Part) -> str:
        """Return `factor * product` in the dtype of v."""
        if factor is None:
            return product
        piece = self._writers[number].factor(factor)
        written = piece.text
        if len(written) > LONGEST // 3:
            written = self._function.bind(f"factor{part.suffix}", written)
        scaled = fill("{a} * {b}", written, product)
        return scaled if piece.kind is Kind.NUMBER else f"({scaled}).to({part.values}.dtype)"

    def _weights(self, part: _Part) -> str:
        """Return the weights in the dtype of v, as a name where they are used again."""
        narrowed = f".to({part.values}.dtype)" if self._is_wide else ""
        weights = f"weights{part.suffix}"
        if part.can_be_empty:
            empty = self._empty(part)
            self._line(f"{weights} = {part.scores}.masked_fill({empty}, 0.0).softmax(-1)")
            self._line(f"{weights} = {weights}.masked_fill({empty}, 0.0){narrowed}")
            return weights
        softmax = f"{part.scores}.softmax(-1){narrowed}"
        if "weights" not in self._site.attention.outputs:
            return softmax
        self._line(f"{weights} = {softmax}")
        return weights

    def _empty(self, part: _Part) -> str:
        """Name the queries without a key: a softmax over nothing would be NaN."""
        empty = f"empty{part.suffix}"
        rows = f"{part.scores}.isneginf().all(-1, keepdim=True)"
        self._line(f"{empty} = {rows}  # queries without a key")
        return empty

    # Further outputs -----------------------------------------------------------------------

    def _extras(self, parts: list[_Part]) -> dict[str, str]:
        outputs = self._site.attention.outputs
        if len(parts) > 1:
            for name in ("weights", "scores"):
                if name in outputs or (name == "scores" and "lse" in outputs):
                    self._concatenate(name, -1)
        if "lse" in outputs:
            self._lse(parts)
        return {"weights": "weights", "scores": "scores", "lse": "lse"}

    def _lse(self, parts: list[_Part]) -> None:
        whole = parts[0]
        if len(parts) > 1:
            whole = _Part("scores", "v", "", all(part.can_be_empty for part in parts))
        if not whole.can_be_empty:
            self._line("lse = scores.logsumexp(-1)")
            return
        empty = self._empty(whole) if len(parts) > 1 else "empty"
        self._line(f"lse = scores.masked_fill({empty}, 0.0).logsumexp(-1)")
        self._line(f"lse = lse.masked_fill({empty}.squeeze(-1), -torch.inf)")

    def _concatenate(self, name: str, axis: int) -> None:
        parts = ", ".join(f"{name}{suffix}" for suffix in self._function.suffixes)
        self._line(f"{name} = torch.cat(({parts}), dim={axis})")


def _dots(source: Source) -> int:
    """Count the uses of `qk`."""
    trees = (simplify(source.score), allowed(source) or Constant(True))
    return sum(isinstance(part, Dot) for tree in trees for part in subtrees(tree))


def _is_product(source: Source) -> bool:
    """Say whether the score is `qk * number`."""
    score = scaled_product(source.score)
    return score is not None and score.bias is None and score.scale != 0

"""What becomes of weights after the normaliser: post expressions, and rows that sum to 1 again."""

from __future__ import annotations

from collections.abc import Sequence

from attnc.backends.materialised.part import Part
from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import ScoreWriter
from attnc.dsl.attention import Constant, ScoreTree, Weight
from attnc.dsl.scorelang import allowed, fill, has_weight, replaced, simplify


class Reduction:
    """Writes the lines between the normaliser and the product with the values of a part."""

    def __init__(self, function: TorchFunction, part: Part, dots: Sequence[str]) -> None:
        """Write into `function`; `dots` are the expressions of `qk` by source."""
        self._function = function
        self._attention = function.site.attention
        self._part = part
        self._dots = dots

    def written(self, weights: str) -> str:
        """Add lines and return the expression of the weights; `weights` is what it was before."""
        if any(self._attention.sources[number].post for number in self._part.sources):
            weights = self._posted(weights)
        if self._attention.renormalise is not None:
            weights = self._renormalised(weights, self._attention.renormalise)
        return weights

    def _posted(self, weights: str) -> str:
        name, numbers = self._part.weights, self._part.sources
        self._function.line(f"{name} = {weights}")
        if len(numbers) == 1:
            return self._post(numbers[0], name)
        names = [f"{name}{self._function.suffixes[number]}" for number in numbers]
        sizes = ", ".join(f"{self._function.stream(number)}.shape[2]" for number in numbers)
        self._function.line(f"{', '.join(names)} = {name}.split(({sizes}), dim=-1)")
        for number, each in zip(numbers, names, strict=True):
            if self._attention.sources[number].post is not None:
                self._function.line(f"{each} = {self._post(number, each)}")
        return f"torch.cat(({', '.join(names)}), dim=-1)"

    def _post(self, number: int, weights: str) -> str:
        """Return the post expression of a source; a pair that is not allowed weighs 0."""
        source = self._attention.sources[number]
        assert source.post is not None
        writer = ScoreWriter(self._function, number, self._dots[number], weights)
        written = writer.floating(source.post)
        if not has_weight(simplify(source.post)):
            written = fill("{a}.expand_as({b})", written, weights)
        is_masked = self._attention.given or allowed(source) is not None
        if not is_masked or _vanishes(source.post):
            return written
        self._function.line(f"{weights} = {written}")
        return f"{weights}.masked_fill(scores{self._function.suffixes[number]}.isneginf(), 0.0)"

    def _renormalised(self, weights: str, rows: ScoreTree) -> str:
        name = self._part.weights
        self._function.line(f"{name} = {weights}")
        total = f"{name}.sum(-1, keepdim=True)"
        if rows != Constant(True):
            chosen = ScoreWriter(self._function, self._part.sources[0]).condition(rows)
            total = f"torch.where({chosen}, {total}, 1.0)"
        total = self._function.bind("total", total)
        return f"{name} / {total}.masked_fill({total} == 0, 1.0)"


def _vanishes(post: ScoreTree) -> bool:
    """Say whether a weight of 0 stays 0."""

    def without(part: ScoreTree) -> ScoreTree:
        return Constant(0.0) if isinstance(part, Weight) else part

    return simplify(replaced(post, without)) == Constant(0.0)

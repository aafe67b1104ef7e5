"""Plain attention in windows that part the tokens evenly: the windows are a batch.

Large windows take one fused call, small ones two products with a softmax between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from attnc.backends.formula import formula
from attnc.backends.tiled.functions import define
from attnc.backends.tiled.windows import Partition, in_order, listed, partition
from attnc.backends.torch_function import TorchFunction
from attnc.compiler.choice import SMALL_PAIRS
from attnc.compiler.kernel import Site
from attnc.dsl.attention import SoftmaxKeys
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import scaled_product


@dataclass(frozen=True, slots=True)
class SideBySide:
    """A site whose windows differ in their tokens alone: softmax over keys of `qk * scale`."""

    site: Site
    parted: Partition
    scale: float

    @property
    def reason(self) -> str:
        """What speaks for it."""
        sizes = " * ".join(map(str, self.parted.sizes))
        by = "products" if self.is_small else "F.scaled_dot_product_attention"
        return f"windows of {sizes} are a batch of {by}"

    @property
    def is_small(self) -> bool:
        """Whether the heads are those of the keys, a number, and the pairs of a window few."""
        heads, (k, _) = self.site.q.shape[1], self.site.sources[0]
        is_small = prod(self.parted.sizes) ** 2 <= SMALL_PAIRS
        return is_small and isinstance(heads, int) and heads == k.shape[1]

    @property
    def _batch(self) -> list[Size]:
        """The axes that stand side by side in the batch, after that of the batch itself."""
        windows: list[Size] = [length for length, _ in self.parted.outer]
        return [*windows, self.site.q.shape[1]] if self.is_small else windows

    def pieces(self) -> Iterator[str]:
        """Yield the texts of all functions, the entry last."""
        yield in_order(self.site.name, self.parted)
        yield self._back()
        yield self._entry()

    def _back(self) -> str:
        """Write the function that leaves the heads of a token side by side: merging is free."""
        order, last = self.parted.order, 1 + len(self.parted.split)
        tokens = [axis for axis in range(len(order)) if order[axis] not in (0, 1, last + 1)]
        by_token = [0, *sorted(tokens, key=order.__getitem__), order.index(1), len(order) - 1]
        within = 2 if len(self._batch) == len(self.parted.outer) else 1
        code = [
            f"x = x.unflatten({within}, {self.parted.sizes}).unflatten(0, {(-1, *self._batch)})",
            f"return x.permute({listed(by_token)}).flatten(1, {last - 1}).transpose(1, 2)",
        ]
        shape = "[b * windows * h, tokens, e]" if self.is_small else "[b * windows, h, tokens, e]"
        doc = f"Tokens [b, h, n, e] in their order, from windows {shape}."
        return define(f"{self.site.name}_tokens", ["x"], doc, code)

    def _entry(self) -> str:
        function, name = TorchFunction(self.site), self.site.name
        last = len(self._batch)
        first = len(self.parted.outer) + 2  # of the axes within a window
        inside = first + len(self.parted.sizes) - 1
        function.line(
            f"q, k, v = ({name}_windows(x).flatten({first}, {inside}).flatten(0, {last})"
            " for x in (q, k, v))"
        )
        result = self._by_products(function) if self.is_small else self._fused(function)
        return function.source(formula(self.site.attention), f"{name}_tokens({result})")

    def _by_products(self, function: TorchFunction) -> str:
        none = f"q.new_zeros(1), q, k.mT, beta=0, alpha={self.scale!r}"
        function.line(f"# windows of {prod(self.parted.sizes)} tokens")
        function.line(f"scores = torch.baddbmm({none})")
        return "scores.softmax(-1) @ v"

    def _fused(self, function: TorchFunction) -> str:
        width, (k, _) = self.site.q.shape[3], self.site.sources[0]
        arguments = ["q", "k", "v"]
        if not isinstance(width, int) or self.scale != width**-0.5:
            arguments.append(f"scale={self.scale!r}")
        if self.site.q.shape[1] != k.shape[1]:
            arguments.append("enable_gqa=True")
        call = f"F.scaled_dot_product_attention({', '.join(arguments)})"
        function.line(f"out = {call}  # of {prod(self.parted.sizes)} tokens each")
        return "out"


def side_by_side(site: Site) -> SideBySide | None:
    """Return a site as a batch of windows; none where it takes more than one fused call."""
    parted = partition(site)
    attention = site.attention
    if parted is None or attention.normaliser != SoftmaxKeys() or attention.given:
        return None
    (source,) = attention.sources
    score = scaled_product(source.score)
    beyond = (source.mask, source.post, source.weight, attention.renormalise)
    if score is None or score.bias is not None or any(each is not None for each in beyond):
        return None
    return SideBySide(site, parted, score.scale)

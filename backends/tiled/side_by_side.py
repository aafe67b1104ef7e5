"""Plain attention in windows that part the tokens evenly: windows as a batch, in one fused call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from attnc.backends.formula import formula
from attnc.backends.tiled.functions import define
from attnc.backends.tiled.windows import Partition, in_order, partition
from attnc.backends.torch_function import TorchFunction
from attnc.compiler.kernel import Site
from attnc.dsl.attention import SoftmaxKeys
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
        return f"windows of {sizes} are a batch of F.scaled_dot_product_attention"

    def pieces(self) -> Iterator[str]:
        """Yield the texts of all functions, the entry last."""
        yield in_order(self.site.name, self.parted)
        yield self._back()
        yield self._entry()

    def _back(self) -> str:
        split, order = self.parted.split, self.parted.order
        outer = [length for length, _ in self.parted.outer]
        back = ", ".join(str(order.index(axis)) for axis in range(len(order)))
        windows = (-1, *outer)
        code = [
            f"x = x.unflatten(2, {self.parted.sizes}).unflatten(0, {windows})",
            f"return x.permute({back}).flatten(2, {1 + len(split)})",
        ]
        doc = "Tokens [b, h, n, e] in their order, from windows [b * windows, h, tokens, e]."
        return define(f"{self.site.name}_tokens", ["x"], doc, code)

    def _entry(self) -> str:
        function, name = TorchFunction(self.site), self.site.name
        last = len(self.parted.outer)  # the last of the axes that count windows
        first = last + 2  # the first of those within a window
        inside = first + len(self.parted.sizes) - 1
        function.line(
            f"q, k, v = ({name}_windows(x).flatten({first}, {inside}).flatten(0, {last})"
            " for x in (q, k, v))"
        )
        width, (k, _) = self.site.q.shape[3], self.site.sources[0]
        arguments = ["q", "k", "v"]
        if not isinstance(width, int) or self.scale != width**-0.5:
            arguments.append(f"scale={self.scale!r}")
        if self.site.q.shape[1] != k.shape[1]:
            arguments.append("enable_gqa=True")
        call = f"F.scaled_dot_product_attention({', '.join(arguments)})"
        function.line(f"out = {call}  # of {prod(self.parted.sizes)} tokens each")
        return function.source(formula(self.site.attention), f"{name}_tokens(out)")


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

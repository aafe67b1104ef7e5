"""The bilinear mixture of a sampled box, all of whose slots are in one tile.

Weights are w_t = sum_c share_c * p_ct with p_c the softmax in a corner c of the box. From the
gradient g_t of weights follow d loss / d share_c = sum_t p_ct g_t =: gain_c, and d loss / d s_t =
sum_c share_c * p_ct * (g_t - gain_c); shares are products of the fractions of the centre.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from attnc.backends.triton.layout import define
from attnc.backends.triton.rules import Rule
from attnc.dsl.scorelang import FRACTIONS

FIRST, LAST = 0, 1
"""Which positions of an axis a corner has: all but the last, or all but the first."""


@dataclass(frozen=True)
class Mixture(Rule):
    """Softmax in each corner, weighed by the fractions.

    Attributes:
        name: of its device function.
        sides: slots along each axis.
    """

    name: str
    sides: tuple[int, ...]

    statistic = ""
    in_bits = True
    outside = 'float("-inf")'
    centred = False
    doc = "Add a box of keys: corners have a softmax each, mixed by the fractions."

    @property
    def fractions(self) -> tuple[str, ...]:
        """Names of the fractions of the centre."""
        return FRACTIONS[-len(self.sides) :]

    def result(self) -> str:
        """Return the sum as it is."""
        return "acc"

    def fresh(self, sink: str) -> list[str]:
        """There is nothing to start."""
        return []

    def adding(self) -> Sequence[str]:
        """Weigh the whole box."""
        return self.weights("")

    def weights(self, index: str) -> list[str]:
        """Mix the corners."""
        return [f"p = {self.name}(s, slot_j, {', '.join(self.fractions)})"]

    def pull(self, index: str, dp: str) -> str:
        """Pull back through the corners, to the fractions as well."""
        made = ", ".join(["ds", *(f"grad_{name}" for name in self.fractions)])
        return f"{made} = {self.name}_gradient(s, {dp}, slot_j, {', '.join(self.fractions)})"

    # The device functions ------------------------------------------------------------------

    def definitions(self) -> tuple[str, str]:
        """Return the sources of the functions for weights and for their gradients."""
        return self._forward(), self._backward()

    def _forward(self) -> str:
        lines = [*self._slots()]
        for number, (share, inside) in enumerate(self._corners()):
            lines.append(f"p {'+=' if number else '='} {share} * corner(s, {inside})")
        doc = "Weights of a box: the softmaxes of its corners, mixed by fractions of the centre."
        return define(self.name, ["s", "slot", *self.fractions], doc, [*lines, "return p"])

    def _backward(self) -> str:
        lines = [*self._slots(), "ds = tl.zeros_like(s)"]
        lines += [f"grad_{name} = tl.zeros_like({name})" for name in self.fractions]
        for ends, (share, inside) in zip(self._ends(), self._corners(), strict=True):
            lines.append(f"p = corner(s, {inside})")
            lines.append("gain = tl.sum(p * dp, 1)[:, None]")
            lines.append(f"ds += {share} * p * (dp - gain)")
            for axis, (end, name) in enumerate(zip(ends, self.fractions, strict=True)):
                others = [*self._shares(ends)]
                del others[axis]
                sign = "+=" if end == LAST else "-="
                lines.append(f"grad_{name} {sign} {' * '.join([*others, 'gain'])}")
        grads = ", ".join(["ds", *(f"grad_{name}" for name in self.fractions)])
        doc = "Gradients of scores and of fractions from those of the weights of a box."
        parameters = ["s", "dp", "slot", *self.fractions]
        return define(f"{self.name}_gradient", parameters, doc, [*lines, f"return {grads}"])

    def _slots(self) -> Iterator[str]:
        for axis, name in enumerate(self._axes()):
            stride = prod(self.sides[axis + 1 :])
            text = "slot" if stride == 1 else f"slot // {stride}"
            yield f"{name} = {f'{text} % {self.sides[axis]}' if axis else text}"

    def _corners(self) -> Iterator[tuple[str, str]]:
        """Yield the share of each corner, and which slots it has."""
        for ends in self._ends():
            sides = zip(self._axes(), self.sides, ends, strict=True)
            inside = [f"({n} > 0)" if end == LAST else f"({n} < {s - 1})" for n, s, end in sides]
            alone = inside[0].strip("()") if len(inside) == 1 else " & ".join(inside)
            yield " * ".join(self._shares(ends)), alone

    def _ends(self) -> Iterator[tuple[int, ...]]:
        return product((FIRST, LAST), repeat=len(self.sides))

    def _shares(self, ends: tuple[int, ...]) -> Iterator[str]:
        for end, name in zip(ends, self.fractions, strict=True):
            yield name if end == LAST else f"(1.0 - {name})"

    def _axes(self) -> tuple[str, ...]:
        return tuple(name[-1] for name in self.fractions)

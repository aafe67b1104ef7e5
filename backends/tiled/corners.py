"""The corners of sampled boxes for the bilinear mixture, and what their shares lead to."""

from __future__ import annotations

from functools import partial, reduce
from itertools import product

from attnc.backends.tiled.functions import Piece, TileWriter
from attnc.backends.tiled.gathered import GatheredFunction, GatheredSource
from attnc.backends.tiled.scores import Chain, reached
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Constant, Sampled, ScoreTree
from attnc.dsl.scorelang import (
    FRACTIONS,
    derivative,
    fractions,
    make,
    reaches,
    simplify,
    size_tree,
)

FIRST, LAST = 0, 1
"""Which positions of an axis a corner has: all but the last, or all but the first."""


class Corners(GatheredSource):
    """Writes what a tile calls for the mixture of a site with one sampled source."""

    def __init__(self, site: Site) -> None:
        super().__init__(site, 0)
        domain = self.source.domain
        assert isinstance(domain, Sampled), "bilinear goes with a sampled domain"
        self._reaches = reaches(domain)
        self._fractions = [simplify(each) for each in fractions(domain)]
        self._names = FRACTIONS[-len(self._fractions) :]
        self._corners = [*product((FIRST, LAST), repeat=len(self._fractions))]

    def shares(self) -> Piece:
        """Return the function of all corners: their shares, and which slots they have."""
        made, writer = self._begun()
        made.line("return (")
        for corner in self._corners:
            inside = writer.condition(reduce(partial(make, "and"), self._ends(corner)))
            made.line(f"    ({' * '.join(self._factors(corner))}, {inside}),")
        made.line(")")
        doc = "Shares [b, h, n, 1] of the corners of boxes, and the slots in each."
        return made.piece(self._name("corners"), doc, "")

    def chain(self) -> Chain:
        """Return where the gradients of the shares, a list `grad_shares`, go."""
        made, writer = self._begun()
        learned: list[str] = []
        for axis, tree in enumerate(self._fractions):
            made.line(f"grad = {self._gradient(axis)}")
            for read in reached(tree):
                learned.append(read.tensor)
                self._learn(made, writer, read, derivative(tree, read), fragile=False)
        names = tuple(dict.fromkeys(learned))
        further = ("grad_shares", *(f"grad_{made.tensor(each)}" for each in names))
        doc = "Add to gradients of centres from those of the shares of corners."
        piece = made.piece(self._name("corners_chain"), doc, "", further)
        return Chain(1.0, piece, names)

    def _begun(self) -> tuple[GatheredFunction, TileWriter]:
        """Return a function that has named the fractions, and its writer."""
        made = self._function()
        writer = self._writer(made)
        for name, tree in zip(self._names, self._fractions, strict=True):
            made.line(f"{name} = {writer.floating(tree)}")
        return made, writer

    def _factors(self, corner: tuple[int, ...], without: int | None = None) -> list[str]:
        named = enumerate(zip(corner, self._names, strict=True))
        return [
            name if end == LAST else f"(1 - {name})"
            for axis, (end, name) in named
            if axis != without
        ]

    def _gradient(self, axis: int) -> str:
        """Return the gradient of a fraction: of what grows with it, less of what shrinks."""
        text = ""
        for number, corner in enumerate(self._corners):
            factors = [f"grad_shares[{number}]", *self._factors(corner, axis)]
            sign = " + " if corner[axis] == LAST else " - "
            text += (sign if text else sign.strip(" +")) + " * ".join(factors)
        return text

    def _ends(self, corner: tuple[int, ...]) -> list[ScoreTree]:
        """Return the conditions that a slot is not the last, or not the first, along each axis."""
        return [
            make("gt", reach.slot, Constant(0))
            if end == LAST
            else make("lt", reach.slot, size_tree(reach.number - 1))
            for end, reach in zip(corner, self._reaches, strict=True)
        ]

"""Columns of a tile of rows: padded to a power of two, or in two parts that need less padding."""

from __future__ import annotations

import re
from dataclasses import dataclass

from attnc.backends.triton.orientation import product
from attnc.backends.triton.pieces import padded, rows_of, stored

WIDEST = 128
"""Widest tile that is split. Of 192 columns sums spill on cuda:80, in whatever tiles."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some columns of a tile.

    Attributes:
        suffix: what names of the part end in.
        first: the first of them.
        width: how many there are.
    """

    suffix: str
    first: int
    width: int

    def named(self, text: str, name: str) -> str:
        """Return an expression with the part of a tile in place of the tile."""
        return re.sub(rf"\b{name}\b", self.of(name), text)

    def of(self, name: str) -> str:
        """Return what the part of a tile is called: `k_rest` for `k_tile`, `acc_rest` for `acc`."""
        return f"{name.removesuffix('_tile')}{self.suffix}" if self.suffix else name


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of tiles of equally wide rows.

    Attributes:
        parts: one, or two.
    """

    parts: tuple[Part, ...]

    def names(self, tile: str) -> tuple[str, ...]:
        """Return the names that hold a tile."""
        return tuple(part.of(tile) for part in self.parts)

    def loaded(self, tile: str, tensor: str, head: str, rows: str) -> list[str]:
        """Return statements that read rows of a tensor."""
        return [
            f"{part.of(tile)} = {rows_of(tensor, head, rows, part.width, part.first)}"
            for part in self.parts
        ]

    def nothing(self, name: str, rows: str) -> list[str]:
        """Return statements that start sums of rows."""
        return [
            f"{part.of(name)} = tl.zeros([{rows}, {padded(part.width)}], tl.float32)"
            for part in self.parts
        ]

    def over(self, name: str, left: str, right: str) -> list[str]:
        """Return statements for the products of all rows of two tiles."""
        return [
            f"{name} = {product(part.of(left), f'tl.trans({part.of(right)})', name * (at > 0))}"
            for at, part in enumerate(self.parts)
        ]

    def added(self, name: str, weights: str, values: str, carried: str) -> list[str]:
        """Return statements that add weighted rows of a tile to `carried`, the sums so far."""
        cast = f"{weights}.to({values}.dtype)"
        return [
            f"{part.of(name)} = {product(cast, part.of(values), part.named(carried, name))}"
            for part in self.parts
        ]

    def each(self, name: str, value: str, of: str) -> list[str]:
        """Return statements that put an expression of a tile in another one."""
        return [f"{part.of(name)} = {part.named(value, of)}" for part in self.parts]

    def stored(self, name: str, tensor: str, head: str, rows: str, length: str) -> list[str]:
        """Return statements that write a tile to rows of a tensor."""
        return [
            stored(part.of(name), tensor, head, rows, length, part.width, first=part.first)
            for part in self.parts
        ]


def whole(width: int) -> Columns:
    """Return columns in one part."""
    return Columns((Part("", 0, width),))


def least(width: int) -> Columns:
    """Return columns in two parts where that is less padding: 96 as 64 and 32, 80 as 64 and 16."""
    first = padded(width) // 2
    if first + padded(width - first) < padded(width) <= WIDEST:
        return Columns((Part("", 0, first), Part("_rest", first, width - first)))
    return whole(width)

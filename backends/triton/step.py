"""A device function for one tile of a walk, and the loops that call it."""

from __future__ import annotations

from dataclasses import dataclass

from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.layout import call, define, loop
from attnc.backends.triton.names import Names
from attnc.backends.triton.pieces import captures, variables
from attnc.backends.triton.tiles import Walk


@dataclass(frozen=True, slots=True)
class Step:
    """A device function that is called for every tile of a walk.

    It takes its parameters by the names they have in the kernel, and returns its state.

    Attributes:
        name: of the function.
        doc: its docstring.
        given: what it reads, in the order of its parameters.
        state: what it changes.
        coordinate: `i` or `j` of the tile that stays; passed where formulas read it.
        strided: tensors whose strides it reads.
        sizes: numbers of heads and rows, and what else it reads besides formulas.
        constants: besides the rows of a tile.
        formulas: what it computes with.
        names: the vocabulary of the site.
        block: the number of rows it walks by.
        masked: whether all tiles are masked; else EDGE says which.
        body: blocks of lines.
        head: the head that it is given.
    """

    name: str
    doc: str
    given: tuple[str, ...]
    state: tuple[str, ...]
    coordinate: str
    strided: tuple[str, ...]
    sizes: tuple[str, ...]
    constants: tuple[str, ...]
    formulas: tuple[Formula, ...]
    names: Names
    block: str
    masked: bool
    body: tuple[str, ...]
    head: str = "h"

    @property
    def used(self) -> set[str]:
        """Captured tensors, strides and sizes that it reads."""
        return captures(self.formulas) | set(self.sizes)

    @property
    def parameters(self) -> list[str]:
        """Names of all parameters; the constants are upper case."""
        placed = [self.coordinate] if self.coordinate in variables(self.formulas) else []
        strides = [f"{each}_strides" for each in self.strided]
        precision = ["PRECISION"] if any("PRECISION" in block for block in self.body) else []
        modes = [self.block, *([] if self.masked else ["EDGE"]), *self.constants]
        return [
            *("first", *self.given, *self.state, "b", self.head, *placed),
            *(*strides, *self.names.ordered(self.used), *modes, *precision),
        ]

    def definition(self) -> str:
        """Return the function."""
        annotated = [
            f"{each}: tl.constexpr" if each.isupper() else each for each in self.parameters
        ]
        body = [*self.body, f"return {', '.join(self.state)}"]
        return define(self.name, annotated, self.doc, body)

    def visits(self, walk: Walk, depth: int = 1) -> str:
        """Return the loops of a walk, for a place indented `depth` times."""
        return "\n".join(
            loop(each.start, each.stop, self.block, self._called(each.cut, depth + 1), not each.few)
            for each in walk.loops
        )

    def _called(self, cut: bool, depth: int) -> str:
        passed = [str(cut) if each == "EDGE" else each for each in self.parameters]
        return call(f"{', '.join(self.state)} = {self.name}", passed, depth)

"""The text of the functions of one tile: captured tensors read and their gradients added up."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnc.backends.torch_function import INDENT, WIDTH, TorchFunction
from attnc.backends.torch_scores import Kind, Piece, ScoreWriter
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Constant, Coordinate, Load, ScoreTree
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import coordinates, fill, make, size_tree
from attnc.dsl.scorelang.ranges import Interval

_OWN = frozenset("tile apart ds operands grads allowed far near by_offset run rules".split())
"""Names that these functions use besides those of other torch functions."""


class TileFunction(TorchFunction):
    """A function of a tile and of the operands of the site, widened to one dtype."""

    def __init__(self, site: Site, pair: Mapping[str, str]) -> None:
        """Name the expressions of the coordinates `i` and `j`, those that there are."""
        super().__init__(site)
        self._pair = pair

    def working_dtype(self) -> str:
        """Return the dtype of all operands."""
        return "q.dtype"

    def widened(self, name: str) -> str:
        """Return the operand, which is wide already."""
        return self.tensor(name)

    def coordinate(self, name: str, source: int) -> str:
        """Return the variable of a coordinate, shaped to broadcast over [b, h, rows, cols]."""
        if name not in self._pair:
            return super().coordinate(name, source)
        variable = self._pair[name]
        self._bind((3, len(self._pair)), variable, f"tile.{variable}")
        return variable

    def definition(
        self, name: str, given: Sequence[str], doc: str, returned: str, result: str
    ) -> str:
        """Return the whole function.

        Args:
            name: of the function.
            given: parameters, with types, before the operands.
            doc: its docstring.
            returned: type of the result.
            result: the expression returned; empty where lines return.
        """
        body = [*sorted(self._top, key=self._top.__getitem__), *self._body]
        code = "\n".join([*body, *([f"return {result}"] if result else [])])
        lines = [*_docstring(doc), *self._unpacked(code), code]
        return head(name, [*given, "operands: tuple[Tensor, ...]"], returned) + textwrap.indent(
            "\n".join(lines), INDENT
        ) + "\n"  # fmt: skip

    def _unpacked(self, code: str) -> list[str]:
        """Return the lines that name the operands read."""
        numbered = enumerate(self.parameters)
        used = [(at, name) for at, name in numbered if re.search(rf"\b{name}\b", code)]
        return [f"{name} = operands[{at}]" for at, name in used]

    def _fresh(self, name: str) -> str:
        return super()._fresh(f"{name}_" if name in _OWN or name.startswith("grad_") else name)


def head(name: str, parameters: Sequence[str], returned: str) -> str:
    """Return the line, or lines, that begin a function."""
    line = f"def {name}({', '.join(parameters)}) -> {returned}:"
    if len(line) > WIDTH:
        listed = "".join(f"{INDENT}{parameter},\n" for parameter in parameters)
        line = f"def {name}(\n{listed}) -> {returned}:"
    return line + "\n"


def _docstring(doc: str) -> list[str]:
    wrap = textwrap.TextWrapper(
        WIDTH - len(INDENT) - 3, break_long_words=False, break_on_hyphens=False
    ).wrap
    first, *more = wrap(f'"""{doc}')
    return [first, *more, '"""'] if more else [f'{first}"""']


@dataclass(frozen=True, slots=True)
class Place:
    """Where a captured tensor is read: `target`, or at `index` of its last axis."""

    target: str
    index: str

    @property
    def value(self) -> str:
        """The elements read."""
        return f"take({self.target}, {self.index})" if self.index else self.target

    def added(self, values: str) -> str:
        """Return the statement that adds to the elements of `target`."""
        if self.index:
            return f"put_({self.target}, {self.index}, {values})"
        return f"add_({self.target}, {values})"


class TileWriter(ScoreWriter):
    """Writes trees over a tile, where i and j are those of its pairs."""

    slices: Mapping[str, str] = {"i": "tile.rows", "j": "tile.cols"}

    def __init__(self, function: TileFunction, source: int, stand_ins: Mapping[Load, str]) -> None:
        """Write into `function`; `stand_ins` has the variables of runs."""
        super().__init__(function, source, "qk")
        self._stand_ins = stand_ins

    def place(self, load: Load, name: str) -> Place:
        """Return where a load reads the tensor called `name`, of the shape of its own."""
        shape = self._function.tensor_type(load.tensor).shape
        view = self._view(name, load.indices, shape)
        return self._sought(name, load.indices, shape) if view is None else Place(view, "")

    def _load(self, tree: Load) -> Piece:
        if tree in self._stand_ins:
            return Piece(self._stand_ins[tree], Kind.FLOAT)
        return super()._load(tree)

    def _slice(self, index: ScoreTree, size: Size) -> str | None:
        found = super()._slice(index, size)
        if found is None or not isinstance(index, Coordinate):
            return found
        return self.slices.get(index.name, found)

    def _gathered(self, name: str, indices: Sequence[ScoreTree], shape: Sequence[Size]) -> str:
        return self._sought(name, indices, shape).value

    def _sought(self, name: str, indices: Sequence[ScoreTree], shape: Sequence[Size]) -> Place:
        """Read by an index into the last axes taken as one, for each b and h where they are axes.

        One index for all heads is shorter than an index of every element.
        """
        outer = self._outer(indices, shape)
        inner = [at for at in range(len(indices)) if at not in outer]
        order = [*outer, *inner]
        if order != sorted(order):
            name = f"{name}.permute({', '.join(map(str, order))})"
        if len(inner) > 1:
            name = f"{name}.flatten({len(outer) or ''})"
        if [indices[at] for at in outer] == [Coordinate("b")]:
            name = f"{name}[:, None]"
        index = ""
        for at in inner:
            written = self._within(indices[at], shape[at])
            if index:
                along = fill("{a} * {b}", index, self._function.size(shape[at]))
                written = fill("{a} + {b}", along, written)
            index = written
        return Place(name, index if index.isidentifier() else self._function.bind("index", index))

    def _outer(self, indices: Sequence[ScoreTree], shape: Sequence[Size]) -> list[int]:
        """Return the axes along b and h where the rest are neighbours and read i or j alone."""
        outer = [
            at
            for name in ("b", "h")
            for at, index in enumerate(indices)
            if index == Coordinate(name)
            and shape[at] == self._function.coordinate_size(name, self._source)
        ]
        inner = [at for at in range(len(indices)) if at not in outer]
        read = frozenset[str]().union(*(coordinates(indices[at]) for at in inner))
        apart = inner[-1] - inner[0] + 1 > len(inner) if inner else True
        repeated = len({indices[at] for at in outer}) < len(outer)
        return [] if apart or repeated or not read or read & {"b", "h"} else outer

    def _within(self, index: ScoreTree, size: Size) -> str:
        if isinstance(index, Constant) and index.value < 0:
            index = make("add", size_tree(size), index)
        return self._inside(index, size)


class RunWriter(TileWriter):
    """Writes trees over the diagonals of a tile: i is i - j, and j is 0."""

    slices: Mapping[str, str] = {}

    def _slice(self, index: ScoreTree, size: Size) -> str | None:
        return None if index == Coordinate("i") else super()._slice(index, size)

    def _ranges(self) -> dict[str, Interval]:
        queries, keys = (self._function.coordinate_size(name, self._source) for name in "ij")
        return {**super()._ranges(), "i": (1 - keys, queries - 1)}

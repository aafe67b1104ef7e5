"""Generated functions of one tile of pairs: whole tensors, and the places of the tile in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import indent, wrap

from attnc.backends.torch_function import INDENT, WIDTH, TorchFunction
from attnc.backends.torch_scores import ScoreWriter
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Apply, Constant, Coordinate, Load, ScoreTree
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import COORDINATES, coordinates, is_scalar, make, simplify

PLACES = {"b": "bs", "h": "hs", "i": "rows", "j": "cols"}
"""What a tile calls its places along the axes of scores."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A generated function whose parameters have the names that its caller uses, too."""

    name: str
    parameters: tuple[str, ...]
    text: str

    @property
    def call(self) -> str:
        """The call."""
        return f"{self.name}({', '.join(self.parameters)})"


class TileFunction(TorchFunction):
    """Coordinates are those of a tile. Operands are in the working dtype already.

    Attributes:
        by_number: whether `rows` and `cols` are numbers of tokens; else all places are slices.
    """

    def __init__(self, site: Site, by_number: bool = False) -> None:
        super().__init__(site)
        self.by_number = by_number

    def inline(self, size: Size) -> str:
        """Return an expression for a size that reads the shapes of parameters alone."""
        return self._recipe(self._sizes.recipe(size))

    def working_dtype(self) -> str:
        """Return the dtype of q, which the caller has widened."""
        return f"{self.query}.dtype"

    def widened(self, name: str) -> str:
        """Return the parameter of a captured tensor, which the caller has widened."""
        return self.tensor(name)

    def place(self, name: str, source: int) -> str:
        """Return the variable that holds the places along `b`, `h`, `i` or `j`."""
        return PLACES[name] + (self.suffixes[source] if name == "j" else "")

    def coordinate(self, name: str, source: int) -> str:
        """Return the variable of `b`, `h`, `i` or `j`, shaped to broadcast over the tile."""
        variable = f"j{self.suffixes[source]}" if name == "j" else name
        axis = COORDINATES.index(name)
        trailing = ", None" * (len(COORDINATES) - 1 - axis)
        shaped = f"[:{trailing}]" if trailing else ""
        numbers = f"numbers({self.place(name, source)}, {self.query}.device){shaped}"
        self.bind_top((3, axis), variable, numbers)
        return variable

    def piece(
        self, name: str, doc: str, result: str, further: Iterable[str] = (), *, given: bool = True
    ) -> Piece:
        """Return the function with those parameters that it reads.

        Args:
            further: names that may be parameters besides operands and places.
            given: whether places are parameters, too.
        """
        code = [*self.statements(), *([f"return {result}"] if result else [])]
        places = [*(PLACES[name] for name in "bhi"), *(f"cols{each}" for each in self.suffixes)]
        body = "\n".join(code)
        known = (*further, *self.parameters, *(places if given else ()))
        read = tuple(each for each in known if re.search(rf"(?<![\w.]){each}\b", body))
        return Piece(name, read, define(name, read, doc, code))


class TileWriter(ScoreWriter):
    """Writes trees over a tile: coordinates of slices are views, differences are diagonals."""

    _function: TileFunction

    def read(self, load: Load, tensor: str) -> tuple[str, str]:
        """Return how an element of a tensor shaped as the loaded one is found.

        Returns:
            The kind of place, `view`, `diagonals` or `gather`, and the expression: of a view of
            `tensor`, of the arguments of `diagonals`, of the indices.
        """
        load_ = simplify(load)
        assert isinstance(load_, Load)
        shape = self._function.tensor_type(load.tensor).shape
        view = self._view(tensor, load_.indices, shape)
        if view is not None:
            return "view", view
        along = self._diagonals(tensor, load_.indices)
        if along is not None:
            return "diagonals", along
        return "gather", ", ".join(self._places(load_.indices, shape))

    def gathered(self, tensor: str, indices: Sequence[ScoreTree], shape: Sequence[Size]) -> str:
        """Return elements, or rows where `shape` is of the first axes only, of a tensor."""
        return super()._gathered(tensor, indices, shape)

    def _slice(self, index: ScoreTree, size: Size) -> str | None:
        if not isinstance(index, Coordinate):
            return self._piece(index).text
        if super()._slice(index, size) is None or (index.name == "j" and self._key):
            return None
        return self._function.place(index.name, self._source)

    def _view(self, name: str, indices: Sequence[ScoreTree], shape: Sequence[Size]) -> str | None:
        names = {index.name for index in indices if isinstance(index, Coordinate)}
        if self._function.by_number and names & {"i", "j"}:
            return None
        return super()._view(name, indices, shape)

    def _gathered(self, name: str, indices: Sequence[ScoreTree], shape: Sequence[Size]) -> str:
        along = self._diagonals(name, indices)
        return f"diagonals({along})" if along else super()._gathered(name, indices, shape)

    def _diagonals(self, name: str, indices: Sequence[ScoreTree]) -> str | None:
        """Return the arguments of `diagonals` for `bias[h, i - j + 7]`; none for all else."""
        if self._function.by_number or self._key:
            return None
        *outer, last = indices
        found = diagonal(last)
        names = [index.name for index in outer if isinstance(index, Coordinate)]
        if found is None or len(names) < len(outer) or names not in ([], ["b"], ["h"], ["b", "h"]):
            return None
        places = [self._function.place(each, self._source) for each in names]
        table = f"{name}[{', '.join(places)}]" if places else name
        cols = self._function.place("j", self._source)
        offset = self._piece(found.offset).text
        arguments = [table, "rows", cols, offset]
        if found.descending:
            arguments.append("descending=True")
        if names == ["b"]:
            arguments[0] = f"{name}[bs, None]"
        return ", ".join(arguments)


@dataclass(frozen=True, slots=True)
class Diagonal:
    """The index `i - j + offset`, or `j - i + offset` where `descending`."""

    offset: ScoreTree
    descending: bool


def diagonal(index: ScoreTree) -> Diagonal | None:
    """Return an index as a diagonal; none where it is not one."""
    found = _linear(index)
    if found is None or found[0] != -found[1] or abs(found[0]) != 1 or not is_scalar(found[2]):
        return None
    return Diagonal(found[2], found[0] < 0)


def _linear(tree: ScoreTree) -> tuple[int, int, ScoreTree] | None:
    """Return the factors of `i` and `j` and the rest, which reads no coordinate."""
    match tree:
        case Coordinate("i"):
            return 1, 0, Constant(0)
        case Coordinate("j"):
            return 0, 1, Constant(0)
        case Apply("add" | "sub" as function, (left, right)):
            one, other = _linear(left), _linear(right)
            if one is None or other is None:
                return None
            sign = 1 if function == "add" else -1
            rest = make(function, one[2], other[2])
            return one[0] + sign * other[0], one[1] + sign * other[1], rest
        case Apply("neg", (inner,)):
            found = _linear(inner)
            return found and (-found[0], -found[1], make("neg", found[2]))
        case _ if not coordinates(tree):
            return 0, 0, tree
    return None


# Layout -----------------------------------------------------------------------------------


def define(name: str, parameters: Sequence[str], doc: str, code: Iterable[str]) -> str:
    """Return a function of lines that are not indented."""
    head = broken(f"def {name}(", parameters, "):", 0)
    lines = "\n".join([*docstring_of(doc), *code])
    return f"{head}\n{indent(lines, INDENT)}\n"


def docstring_of(doc: str) -> Sequence[str]:
    """Return the lines of a docstring."""
    width = WIDTH - len(INDENT)
    one = f'"""{doc}"""'
    if len(one) <= width:
        return [one]
    return [*wrap(f'"""{doc}', width, break_long_words=False, break_on_hyphens=False), '"""']


def broken(head: str, items: Sequence[str], tail: str, depth: int) -> str:
    """Return `head items tail` indented so often, one item to a line where it is too long."""
    one = f"{head}{', '.join(items)}{tail}"
    if len(one) + len(INDENT) * depth <= WIDTH:
        return one
    inner = "".join(f"{INDENT}{item},\n" for item in items)
    return f"{head}\n{inner}{tail}"


def assigned(names: Sequence[str], function: str, arguments: Sequence[str]) -> str:
    """Return `names = function(arguments)` for a place one level deep."""
    targets = ", ".join(names)
    one = f"{targets} = {function}({', '.join(arguments)})"
    if len(one) + len(INDENT) <= WIDTH:
        return one
    head = f"{targets} = {function}("
    if len(head) + len(INDENT) > WIDTH:
        listed = "".join(f"{INDENT}{name},\n" for name in names)
        head = f"(\n{listed}) = {function}("
    return broken(head, arguments, ")", 1)

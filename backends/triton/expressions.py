"""Score trees as Triton code: an expression, and the loads that must come before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import e, log2

from attnc.backends.triton.layout import WIDTH, call, define
from attnc.backends.triton.names import Captured, Names, Unknown
from attnc.dsl.attention import (
    L1,
    Among,
    Apply,
    Constant,
    Coordinate,
    Dot,
    Extent,
    Load,
    Result,
    ScoreTree,
    Weight,
)
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import (
    FUNCTIONS,
    at_least,
    coordinates,
    fill,
    interval,
    make,
    reads_pair,
    size_tree,
    text,
)
from attnc.dsl.scorelang.ranges import Interval

LOG2_E = log2(e)
VARIABLES = ("qk", "l1", "w", "b", "h", "i", "j", "slot_i", "slot_j")
"""Per pair: `qk`, `l1` and the weight `w` [i, j]; `b`, `h` int64 scalars; the others int32 of two
axes.

`slot_i` and `slot_j` are the slots in a block that hold query and key.
"""

_LONGEST = 60
_NATURAL_DIVISION = {"floordiv": "{a} // {b}", "mod": "{a} % {b}"}


class Printer:
    """Writes trees as Triton.

    Attributes:
        lines: statements that must run before the expressions returned.
        used: every variable, tensor, stride and size that lines and expressions read.
        definitions: sources of device functions that they call.
    """

    def __init__(self, names: Names, ranges: Mapping[str, Interval]) -> None:
        self.lines: list[str] = []
        self.used: set[str] = set()
        self.definitions: dict[str, None] = {}
        self._names = names
        self._ranges = ranges
        self._known: dict[ScoreTree, str] = {}
        self._taken: set[str] = set()

    def expression(self, tree: ScoreTree) -> str:
        """Return an expression for the tree.

        Raises:
            Unknown: a size inside cannot be told, or the tree has no place in a kernel.
        """
        if tree in self._known:
            return self._known[tree]
        match tree:
            case Constant(value):
                return repr(value)
            case Extent(size):
                return self._size(size)
            case Coordinate(name):
                return self._use(name)
            case L1():
                return self._use("l1")
            case Dot():
                return self._use("qk")
            case Load(tensor, indices):
                self._known[tree] = self._load(self._names.tensors[tensor], indices)
                return self._known[tree]
            case Apply():
                return self._apply(tree)
            case Weight():
                return self._use("w")
            case Result():
                return self._use("result")
            case Among():
                raise Unknown(f"kernels have nothing for `{text(tree)}`")

    def know(self, tree: ScoreTree, name: str) -> None:
        """Take a tree as computed already, under a name."""
        self._known[tree] = name

    def assign(self, tree: ScoreTree, name: str) -> None:
        """Add a statement that gives the tree a name; what is written later uses the name."""
        written = self.expression(tree)
        last = self.lines[-1] if self.lines else ""
        if last.startswith(f"{written} = "):  # a part that was too long to stay in a line
            self._taken.remove(written)
            written = self.lines.pop().removeprefix(f"{written} = ")
        self._known[tree] = self._assign(name, written)

    def _apply(self, tree: Apply) -> str:
        row = FUNCTIONS[tree.function]
        arguments = [self.expression(argument) for argument in tree.arguments]
        if tree.function in _NATURAL_DIVISION and self._is_natural(tree):
            return fill(_NATURAL_DIVISION[tree.function], *arguments)
        if row.triton_definition:
            source = row.triton_definition.strip().replace("@triton.jit", "@jit")
            self.definitions.setdefault(f"{source}\n")
        written = fill(row.triton, *arguments)
        if len(written) > _LONGEST:
            self._known[tree] = self._assign("part", written)
            return self._known[tree]
        return written

    def _is_natural(self, tree: Apply) -> bool:
        """Say whether Triton's division, which rounds towards zero, rounds down here."""
        (low, _), (divisor, _) = (interval(each, self._ranges) for each in tree.arguments)
        return None not in (low, divisor) and at_least(low or 0, 0) and at_least(divisor or 0, 1)

    def _load(self, tensor: Captured, indices: tuple[ScoreTree, ...]) -> str:
        address = [self._use(tensor.name)]
        for axis, index in enumerate(indices):
            offset = self._offset(tensor, axis, index)
            if offset:
                stride = f"{self._use(tensor.strides)}[{axis}]"
                address.append(fill("{a} * {b}", offset, stride))
        cast = ".to(tl.float32)" if tensor.dtype == "float" else ""
        name = f"{tensor.name}_value"
        whole = f"tl.load({' + '.join(address)}){cast}"
        if len(f"    {name} = {whole}") > WIDTH:
            at = self._assign(f"{tensor.name}_at", address[0])
            self._add(at, address[1:])
            whole = f"tl.load({at}){cast}"
        return self._assign(name, whole)

    def _add(self, at: str, offsets: list[str]) -> None:
        """Add offsets to the address in the last line, as many on each line as fit."""
        for offset in offsets:
            longer = f"{self.lines[-1]} + {offset}"
            if len(f"    {longer}") <= WIDTH:
                self.lines[-1] = longer
            else:
                self.lines.append(f"{at} += {offset}")

    def _offset(self, tensor: Captured, axis: int, index: ScoreTree) -> str:
        """Return the position along an axis, held inside it: masked pairs may point anywhere."""
        if isinstance(index, Constant) and index.value == 0:
            return ""
        if tensor.spread:
            written = self.expression(index)
            return self._wide(index, written) if isinstance(index, Coordinate) else written
        if isinstance(index, Constant) and index.value < 0:
            index = make("add", size_tree(tensor.shape[axis]), index)
        above, below = self._inside(index, tensor.shape[axis])
        written = self.expression(index)
        if not above:
            written = fill("tl.maximum({a}, 0)", written)
        if not below:
            written = fill("tl.minimum({a}, {b})", written, self._last(tensor.shape[axis]))
        if not (above and below and isinstance(index, (Coordinate, Constant))):
            written = self._assign(f"{tensor.name}_{axis}", written)
        return self._wide(index, written)

    def _wide(self, index: ScoreTree, written: str) -> str:
        """Return what goes along queries or along keys as int64: its stride may be large.

        What compares the two walks small tables, and would take registers for every pair.
        """
        is_row = len(coordinates(index) & {"i", "j"}) == 1
        return f"{written}.to(tl.int64)" if is_row else written

    def _last(self, size: Size) -> str:
        return str(size - 1) if isinstance(size, int) else f"{self._size(size)} - 1"

    def _inside(self, index: ScoreTree, size: Size) -> tuple[bool, bool]:
        """Say whether an index is surely at least 0, and surely below `size`."""
        low, high = interval(index, self._ranges)
        above = low is not None and at_least(low, 0)
        return above, high is not None and at_least(size - 1, high)

    def _assign(self, wanted: str, value: str) -> str:
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}{count}"
        self._taken.add(name)
        self.lines.append(f"{name} = {value}")
        return name

    def _use(self, name: str) -> str:
        self.used.add(name)
        return name

    def _size(self, size: Size) -> str:
        name = self._names.size(size)
        return name if name.isdigit() else self._use(name)


@dataclass(frozen=True, slots=True)
class Formula:
    """A tree ready for use in kernels.

    Attributes:
        tree: what it computes.
        name: of its device function; empty where `value` says it all.
        definition: source of that function.
        value: the expression itself, or the arguments of the function.
        captures: tensors, strides and sizes that it reads, in argument order.
        variables: those of `VARIABLES` that it reads.
        shared: sources of device functions that several formulas may call.
    """

    tree: ScoreTree
    name: str
    definition: str
    value: str
    captures: tuple[str, ...]
    variables: tuple[str, ...]
    shared: tuple[str, ...]

    def assigned(self, target: str) -> str:
        """Return a statement that computes it."""
        if self.name:
            return call(f"{target} = {self.name}", [*self.variables, *self.captures])
        return f"{target} = {self.value}"


def formula(
    tree: ScoreTree, name: str, doc: str, names: Names, ranges: Mapping[str, Interval]
) -> Formula:
    """Write a tree as an expression where that is short, else as a device function.

    Args:
        tree: what to compute.
        name: of the function.
        doc: its docstring.
        names: the vocabulary of the site.
        ranges: of the coordinates.

    Raises:
        Unknown: a size inside cannot be told.
    """
    printer = Printer(names, ranges)
    value = printer.expression(tree)
    captures = tuple(names.ordered(printer.used))
    variables = tuple(each for each in VARIABLES if each in printer.used)
    shared = tuple(printer.definitions)
    if not printer.lines:
        return Formula(tree, "", "", value, captures, variables, shared)
    source = define(name, [*variables, *captures], doc, [*printer.lines, f"return {value}"])
    return Formula(tree, name, source, "", captures, variables, shared)


def in_bits(score: ScoreTree) -> ScoreTree:
    """Return the score times log2(e), which turns exp into the faster exp2."""
    bits = Constant(LOG2_E)
    match score:
        case Apply("mul", (inner, factor)) if is_even(factor):
            return make("mul", inner, make("mul", factor, bits))
        case Apply("div", (inner, divisor)) if is_even(divisor):
            return make("mul", inner, make("div", bits, divisor))
    return make("mul", score, bits)


def is_even(tree: ScoreTree) -> bool:
    """Say whether a tree is one number for all pairs of a head."""
    return not reads_pair(tree) and coordinates(tree) <= {"b", "h"}

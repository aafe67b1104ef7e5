"""Reads by pair that are the same in every block, such as a table read by distance in a window.

A position is known as `base + step * slot`, where the base depends on the block. An index in
which all bases cancel is a function of the slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from attnc.dsl.attention import Apply, Constant, Coordinate, Extent, Load, ScoreTree
from attnc.dsl.dims import Shape, Size, floor_divide, symbol, symbols
from attnc.dsl.scorelang import make, size_tree, text
from attnc.dsl.scorelang.grids import along


@dataclass(frozen=True, slots=True)
class Anchor:
    """A tree of a token as a function of its block and slot: `base + first + step * slot`.

    Attributes:
        tree: as scores have it.
        base: a name that stands for what the block gives; empty for nothing.
        first: added to it.
        step: times the position of the slot along the axis.
        slot: that position, a tree of the token's coordinate with the number of the slot for it.
    """

    tree: ScoreTree
    base: str
    first: Size
    step: Size
    slot: ScoreTree

    @property
    def local(self) -> ScoreTree:
        """The same in the block whose base is 0."""
        return make("add", make("mul", self.slot, size_tree(self.step)), size_tree(self.first))

    @property
    def size(self) -> Size:
        """The same as a polynomial."""
        base = symbol(f"{_BASE}{self.base}") if self.base else 0
        return base + self.first + self.step * symbol(text(self.slot))


_BASE = "base of "


def slot_of(token: str, sizes: Shape, axis: int) -> ScoreTree:
    """Return the position of a slot along an axis of its block, a tree of `i` or `j`."""
    return along(token, sizes, axis)


def local_read(load: Load, anchors: Sequence[Anchor]) -> Load | None:
    """Return a read with slots in place of `i` and `j`; none where blocks read differently."""
    indices = [_local(index, anchors) for index in load.indices]
    known = tuple(index for index in indices if index is not None)
    return replace(load, indices=known) if len(known) == len(indices) else None


def _local(index: ScoreTree, anchors: Sequence[Anchor]) -> ScoreTree | None:
    size = _polynomial(index, anchors)
    if size is None or any(name.startswith(_BASE) for name in symbols(size)):
        return None
    return _gathered(_rewritten(index, anchors))


def _rewritten(tree: ScoreTree, anchors: Sequence[Anchor]) -> ScoreTree:
    found = next((anchor for anchor in anchors if anchor.tree == tree), None)
    if found is not None:
        return found.local
    if isinstance(tree, Apply):
        return make(tree.function, *(_rewritten(part, anchors) for part in tree.arguments))
    return tree


def _gathered(tree: ScoreTree) -> ScoreTree:
    """Return a tree with the constants of each sum added up: `a - 6 + 4` is `a - 2`."""
    if not isinstance(tree, Apply):
        return tree
    tree = make(tree.function, *map(_gathered, tree.arguments))
    terms = list(_terms(tree, 1))
    if len(terms) == 1:
        return tree
    constant = sum(sign * each.value for sign, each in terms if isinstance(each, Constant))
    rest = [term for term in terms if not isinstance(term[1], Constant)]
    total: ScoreTree = Constant(0)
    for sign, each in sorted(rest, key=lambda term: -term[0]):
        total = make("add" if sign > 0 else "sub", total, each)
    return make("add", total, Constant(int(constant)))


def _terms(tree: ScoreTree, sign: int) -> Iterator[tuple[int, ScoreTree]]:
    match tree:
        case Apply("add" | "sub" as function, (left, right)) if tree.type == "int":
            yield from _terms(left, sign)
            yield from _terms(right, sign if function == "add" else -sign)
        case _:
            yield sign, tree


def _polynomial(tree: ScoreTree, anchors: Sequence[Anchor]) -> Size | None:
    """Return an int tree as a polynomial of bases and slots; none where that is not known."""
    found = next((anchor for anchor in anchors if anchor.tree == tree), None)
    if found is not None:
        return found.size
    match tree:
        case Constant(int(value)):
            return value
        case Extent(size):
            return size
        case Coordinate("b" | "h" as name):
            return symbol(name)
        case Apply(function, arguments):
            return _applied(tree, function, list(_polynomials(arguments, anchors)))
    return None


def _polynomials(trees: Sequence[ScoreTree], anchors: Sequence[Anchor]) -> Iterator[Size | None]:
    return (_polynomial(tree, anchors) for tree in trees)


def _applied(tree: ScoreTree, function: str, sizes: list[Size | None]) -> Size | None:
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    if function in _ARITHMETIC and not (function == "floordiv" and known[1] == 0):
        return _ARITHMETIC[function](*known)
    if any(name.startswith(_BASE) for size in known for name in symbols(size)):
        return None
    return symbol(text(tree))  # whatever it is, slots decide


_ARITHMETIC: dict[str, Callable[..., Size]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "floordiv": floor_divide,
}

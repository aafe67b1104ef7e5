"""Device functions that say which token a slot of a block holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from attnc.backends.triton.expressions import Printer
from attnc.backends.triton.layout import call, define
from attnc.backends.triton.layouts import Layout
from attnc.backends.triton.names import Names, Unknown
from attnc.dsl.attention import Constant, Coordinate, ScoreTree
from attnc.dsl.dims import Dim, Size
from attnc.dsl.scorelang import fill, is_scalar, make, size_tree
from attnc.dsl.scorelang.grids import AXES
from attnc.dsl.scorelang.ranges import Interval, larger, whole_range

EXTENTS = ("depth", "height", "width")
"""What functions call the slots of a block along the axes of a grid, where they differ."""


@dataclass(frozen=True, slots=True)
class TokenFunction:
    """A device function from block and slot to token.

    Attributes:
        name: of the function.
        definitions: its source, after those of what it calls.
        packed: whether a tile may hold `PACK` blocks, which are then one block to the kernel.
        arguments: what it takes besides block, slots and the number of tokens.
    """

    name: str
    definitions: tuple[str, ...]
    packed: bool
    arguments: tuple[str, ...]

    @property
    def used(self) -> set[str]:
        """Captured tensors, strides and sizes that it reads."""
        return {each for each in self.arguments if not each.isdigit()} - {"b", "h", "PACK"}

    @property
    def single(self) -> TokenFunction:
        """The same for tiles that hold one block each."""
        arguments = tuple("1" if each == "PACK" else each for each in self.arguments)
        return replace(self, arguments=arguments)

    def rows(self, slots: str, length: str) -> str:
        """Return the tokens of some slots of `block`; `length` where there is none."""
        return call(self.name, ["block", slots, length, *self.arguments])


@dataclass(frozen=True, slots=True)
class BlockedSide:
    """One side of the pairs in blocks.

    Attributes:
        tokens: which token a slot holds.
        blocks: how many there are, the most of any head: a number or the name of a size.
        slots: of a block, likewise.
        count: slots to walk, which may depend on the block and the head.
        size: slots of a block.
        block_range: of the number of a block.
        layout: of all heads, or of the first of several groups.
    """

    tokens: TokenFunction
    blocks: str
    slots: str
    count: ScoreTree
    size: Size
    block_range: Interval
    layout: Layout

    @property
    def used(self) -> set[str]:
        """Captured tensors, strides and sizes that kernels read to place a tile."""
        sizes = (each for each in (self.blocks, self.slots) if not each.isdigit())
        return {*self.tokens.used, *sizes}


def blocked_side(
    name: str,
    layouts: Sequence[Layout],
    names: Names,
    ranges: Mapping[str, Interval],
    heads: int,
    packed: bool,
) -> BlockedSide:
    """Return one side; see `token_function`."""
    share = heads // len(layouts)
    count = layouts[-1].count
    for number, layout in reversed(list(enumerate(layouts[:-1]))):
        is_this = make("lt", Coordinate("h"), Constant((number + 1) * share))
        count = make("where", is_this, layout.count, count)
    blocks, slots = (
        reduce(_more, sizes)
        for sizes in ([each.blocks for each in layouts], [each.slots for each in layouts])
    )
    tokens = token_function(name, layouts, names, ranges, heads, packed)
    shown = [names.size(each) for each in (blocks, slots)]
    return BlockedSide(tokens, shown[0], shown[1], count, slots, whole_range(blocks), layouts[0])


def _more(left: Size, right: Size) -> Size:
    found = larger(left, right)
    if not isinstance(found, (int, Dim)):
        raise Unknown(f"which of {left} and {right} is more depends on the input")
    return found


def token_function(
    name: str,
    layouts: Sequence[Layout],
    names: Names,
    ranges: Mapping[str, Interval],
    heads: int,
    packed: bool,
) -> TokenFunction:
    """Write the function for one side.

    Args:
        name: of the function.
        layouts: one for each of several equal groups of heads.
        names: the vocabulary of the site.
        ranges: of `b` and `h`.
        heads: of q.
        packed: whether tiles may hold several blocks.

    Raises:
        Unknown: a size inside cannot be told.
    """
    if len(layouts) == 1:
        return _one(name, layouts[0], names, ranges, packed)
    made = [
        _one(f"{name}_{at}", layout, names, ranges, packed) for at, layout in enumerate(layouts)
    ]
    share, chosen = heads // len(made), "token"
    lines = [f"token = {made[-1].rows('slot', 'length')}"]
    for number, each in reversed(list(enumerate(made[:-1]))):
        condition = f"h < {(number + 1) * share}"
        lines.append(call(f"{chosen} = tl.where", [condition, each.rows("slot", "length"), chosen]))
    used = {argument for each in made for argument in each.arguments} | {"h"}
    arguments = _ordered(used, names, packed)
    definitions = (source for each in made for source in each.definitions)
    doc = "The token at a slot, length for none; slots depend on the head."
    source = _defined(name, arguments, doc, [*lines, f"return {chosen}"])
    return TokenFunction(name, (*dict.fromkeys(definitions), source), packed, arguments)


def _one(
    name: str, layout: Layout, names: Names, ranges: Mapping[str, Interval], packed: bool
) -> TokenFunction:
    # tiles may have more slots than there are
    printer = Printer(names, {**ranges, **layout.ranges, "slot": (0, None)})
    body = list(_body(layout, printer, packed))
    arguments = _ordered(printer.used, names, packed)
    doc = f"{layout.meaning}: the token at a slot, length for none."
    shared = tuple(printer.definitions)
    return TokenFunction(
        name, (*shared, _defined(name, arguments, doc, body)), packed, arguments
    )  # fmt: skip


def _body(layout: Layout, printer: Printer, packed: bool) -> Iterator[str]:
    if packed:
        blocks, slots = (
            printer.expression(size_tree(each)) for each in (layout.blocks, layout.slots)
        )
        yield f"exists = slot < PACK * {slots}"
        yield f"block = block * PACK + slot // {slots}"
        yield f"slot = slot % {slots}"
        conditions = ["exists", f"block < {blocks}"]
    else:
        conditions = []
    along_axes = len(layout.extents) == len(layout.places) > 1
    names = _last(EXTENTS, layout) if along_axes else ("count",)
    uneven = [each for each in layout.extents if not is_scalar(each)]
    for name, extent in zip(names, layout.extents, strict=True):
        if extent in uneven:
            printer.assign(extent, name)
    if uneven or not packed:
        conditions.append(f"slot < {printer.expression(layout.count)}")
    token = ""
    for name, place, length in zip(_last(AXES, layout), layout.places, layout.shape, strict=True):
        printer.assign(place, name)
        size = printer.expression(size_tree(length))
        token = fill(f"{{a}} * {size} + {name}", token) if token else name
    conditions += [printer.expression(each) for each in layout.conditions]
    yield from printer.lines
    if len(conditions) > 1:
        conditions = [each if each == "exists" else f"({each})" for each in conditions]
    yield f"exists = {' & '.join(conditions)}"
    yield f"return tl.where(exists, {token}, length)"


def _last(names: Sequence[str], layout: Layout) -> Sequence[str]:
    return names[len(names) - len(layout.places) :]


def _ordered(used: set[str], names: Names, packed: bool) -> tuple[str, ...]:
    variables = [each for each in "bh" if each in used]
    return (*variables, *names.ordered(used), *(["PACK"] if packed else []))


def _defined(name: str, arguments: Sequence[str], doc: str, body: Sequence[str]) -> str:
    annotated = [f"{each}: tl.constexpr" if each == "PACK" else each for each in arguments]
    return define(name, ["block", "slot", "length", *annotated], doc, body)

"""Rows of q and k as they are multiplied: norms and rotations in float32, as rows are read.

A rotation takes the partners of columns from memory once more, with no exchange between threads.
Backward kernels, which read rows for each tile of the other side, take what plain torch makes of q
and k once more; autograd then goes through that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from attnc.backends.prologue import applied, operands_ahead
from attnc.backends.torch_function import TorchFunction
from attnc.backends.triton.layout import call, define
from attnc.backends.triton.names import Captured, Names
from attnc.backends.triton.pieces import padded, rows_of
from attnc.compiler.kernel import Site
from attnc.dsl.attention_text import operand_name, prologue_text
from attnc.dsl.prologues import Normed, Prologue, Rotated


@dataclass(frozen=True, slots=True)
class Ahead:
    """The device function that reads rows of one operand.

    Attributes:
        prologue: what becomes of them.
        operand: what kernels call it: `q`, `k`, `k1`.
        name: of the function.
        width: of the rows.
        names: the vocabulary of the site.
        weights: tensor by column -> what kernels call it.
        tables: tensor by row and column -> what kernels call the view [b, h, n, columns].
    """

    prologue: Prologue
    operand: str
    name: str
    width: int
    names: Names
    weights: dict[str, Captured]
    tables: dict[str, Captured]

    @property
    def used(self) -> set[str]:
        """Tensors and strides that it reads besides the operand."""
        return {*self._beside}

    def called(self, tile: str, head: str, rows: str) -> str:
        """Return a statement that reads rows of the operand."""
        given = [self.operand, "b", head, rows, f"{self.operand}_strides", *self._beside]
        return call(f"{tile} = {self.name}", given)

    def definition(self) -> str:
        """Return the function."""
        x = self.operand
        parameters = [x, "b", "h", "rows", f"{x}_strides", *self._beside]
        doc = f"Rows of {x} as they are multiplied: {self.prologue.text(x)}."
        return define(self.name, parameters, doc, self._body())

    def views(self, heads: str, rows: str) -> Iterator[str]:
        """Yield statements of the launcher that give tables four axes."""
        for tensor, view in self.tables.items():
            name = self.names.tensors[tensor].name
            yield f"{view.name} = {name}.expand(batch, {heads}, {rows}, -1)"

    @property
    def _beside(self) -> list[str]:
        read = (*self.tables.values(), *self.weights.values())
        return [each for one in read for each in (one.name, one.strides)]

    @property
    def _is_padded(self) -> bool:
        return self.width != padded(self.width)

    def _body(self) -> Iterator[str]:
        rotation = next((s for s in self.prologue.steps if isinstance(s, Rotated)), None)
        tiles = ["x"] if rotation is None else ["x", "partner"]
        yield f"columns = tl.arange(0, {padded(self.width)})"
        yield f"x = {rows_of(self.operand, 'h', 'rows', self.width)}.to(tl.float32)"
        if rotation is not None:
            half = self.width // 2
            swapped = f"tl.where(columns < {half}, columns + {half}, columns - {half})"
            yield f"partners = {'columns ^ 1' if rotation.neighbours else swapped}"
            yield self._columns("partner", self.operand, "partners", self.width)
        for step in self.prologue.steps:
            if isinstance(step, Rotated):
                yield from self._rotated(step)
                tiles = ["x"]
            else:
                yield from _SIZES[step.kind](self, step, tiles)
                yield from self._weighed(step, tiles)
        yield f"return x.to({self.operand}.dtype.element_ty)"

    def _columns(self, tile: str, tensor: str, columns: str, width: int) -> str:
        """Return a statement that reads columns of the rows of a tensor."""
        limit = [str(width)] if self._is_padded else []
        given = [tensor, "b", "h", "rows", columns, f"{tensor}_strides", *limit]
        return call(f"{tile} = load_at", given)

    def _inside(self) -> str:
        return f"x = tl.where(columns < {self.width}, x, 0.0)"

    def _rotated(self, step: Rotated) -> Iterator[str]:
        half = self.width // 2
        first = "columns % 2 == 0" if step.neighbours else f"columns < {half}"
        pairs = "columns // 2" if step.neighbours else f"columns % {half}"
        at, width = ("columns", self.width) if step.by_column else (pairs, half)
        for tile, name in zip(("cos", "sin"), step.tensors, strict=True):
            yield self._columns(tile, self.tables[name].name, at, width)
        yield f"x = x * cos + tl.where({first}, -partner, partner) * sin"
        if self._is_padded:
            yield self._inside()

    def _weighed(self, step: Normed, tiles: list[str]) -> Iterator[str]:
        """Multiply by the weight and add the bias of each column."""
        for tensor, operator in ((step.weight, "*"), (step.bias, "+")):
            for tile in tiles if tensor is not None else ():
                of = self.weights[str(tensor)]
                columns = "columns" if tile == "x" else "partners"
                limit = f", mask={columns} < {self.width}, other=0.0" if self._is_padded else ""
                yield f"column = tl.load({of.name} + {columns} * {of.strides}[0]{limit})"
                yield f"{tile} = {tile} {operator} column.to(tl.float32)[None, :]"

    def _rms(self, step: Normed, tiles: list[str]) -> Iterator[str]:
        yield f"scale = tl.rsqrt(tl.sum(x * x, 1) / {self.width} + {step.eps!r})[:, None]"
        yield from (f"{tile} = {tile} * scale" for tile in tiles)

    def _layer(self, step: Normed, tiles: list[str]) -> Iterator[str]:
        yield f"mean = (tl.sum(x, 1) / {self.width})[:, None]"
        yield from (f"{tile} = {tile} - mean" for tile in tiles)
        if self._is_padded:
            yield self._inside()
        yield from self._rms(step, tiles)

    def _l2(self, step: Normed, tiles: list[str]) -> Iterator[str]:
        yield f"size = tl.maximum(tl.sqrt(tl.sum(x * x, 1)), {step.eps!r})[:, None]"
        yield from (f"{tile} = {tile} / size" for tile in tiles)


_SIZES: dict[str, Callable[[Ahead, Normed, list[str]], Iterator[str]]] = {
    "rms": Ahead._rms, "layer": Ahead._layer, "l2": Ahead._l2,
}  # fmt: skip


def aheads(site: Site, names: Names) -> dict[str, Ahead]:
    """Return what reads the operands that have a prologue, by what kernels call these.

    Args:
        site: as the planner sees it.
        names: its vocabulary, to which views of tables are added.
    """
    found = {}
    for prologue in site.attention.prologues:
        operand = operand_name(site.attention, prologue)
        steps = prologue.steps
        tables = [name for each in steps if isinstance(each, Rotated) for name in each.tensors]
        weights = [name for name in prologue.tensors if name not in tables]
        width = site.q.shape[3]
        assert isinstance(width, int)
        found[operand] = Ahead(
            prologue, operand, f"{site.name}_ahead_{operand}", width, names,
            {name: names.tensors[name] for name in weights},
            {name: names.view(name, operand) for name in dict.fromkeys(tables)},
        )  # fmt: skip
    return found


def made_ahead(site: Site, name: str) -> str:
    """Return a function of plain torch from operands and tensors to what is multiplied."""
    function = TorchFunction(site)
    made = ", ".join(applied(function))
    texts = [prologue_text(site.attention, each) for each in site.attention.prologues]
    doc = f"What is multiplied: {', '.join(texts)}."
    body = [*function.statements(), f"return {made}"]
    return define(name, operands_ahead(site), doc, body, decorator="")

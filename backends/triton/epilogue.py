"""What becomes of the result before it is stored: `o + lepe`, `o * sigmoid(gate)`, `o * scale[h]`.

With y = f(o, t) the gradient of o is dy * df/do, which the kernel for the gradient of q leaves for
the others; that of t is dy * df/dt, summed over the axes that t has not. Where df/dt is a number,
autograd has it without a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from attnc.backends.triton.expressions import Printer
from attnc.backends.triton.layout import WIDTH, call
from attnc.backends.triton.names import Names
from attnc.backends.triton.pieces import ONE, padded, rows_of, stored
from attnc.dsl.attention import Constant, Coordinate, Load, Result, ScoreTree
from attnc.dsl.scorelang import ELEMENT, derivative, loads, simplify, subtrees

WHOLE = "".join(ELEMENT)
"""The axes of a tensor in the form of the result."""

ROOM = 64
"""Widest result beside which the kernel for the gradient of q computes that of what follows."""


@dataclass(frozen=True, slots=True)
class Epilogue:
    """An expression of the result and of tensors that have some of its axes, in float32.

    Attributes:
        tree: it.
        names: the vocabulary of the site.
        width: of the result.
        head: expression of the head of a row.
        near: rows of the result to read; past the end it is the last one again.
    """

    tree: ScoreTree
    names: Names
    width: int
    head: str
    near: str = "i"

    @property
    def operands(self) -> Mapping[str, Load]:
        """Name -> the element of a tensor that it reads."""
        return {self.names.tensors[name].name: load for name, (load,) in loads(self.tree).items()}

    @property
    def slope(self) -> ScoreTree:
        """Its derivative with respect to the result."""
        return derivative(self.tree, Result())

    @property
    def gradients(self) -> Mapping[str, str]:
        """Tensor -> its gradient, as autograd's function for the operator writes it."""
        return {name: self._gradient(name, load) for name, load in self.operands.items()}

    def _gradient(self, name: str, load: Load) -> str:
        slope = derivative(self.tree, load)
        if not isinstance(slope, Constant):
            return f"grad_{name}"
        grad = "grad_out" if slope == ONE else f"{slope.value} * grad_out"
        return grad if _axes(load) == WHOLE else f"{grad}{_summed(WHOLE, load)}"

    @property
    def computed(self) -> list[str]:
        """Tensors whose gradients are computed by the kernel."""
        return [name for name, grad in self.gradients.items() if grad == f"grad_{name}"]

    @property
    def reads_result(self) -> bool:
        """Whether gradients read the result before."""
        return any(Result() in subtrees(slope) for slope in self._slopes())

    @property
    def is_apart(self) -> bool:
        """Whether the kernel for the gradient of q has no registers left for its gradients."""
        return bool(self.outputs) and self.width > ROOM

    @property
    def used(self) -> set[str]:
        """Tensors and strides that the forward kernel reads for it."""
        return self._used(self.operands)

    @property
    def used_back(self) -> set[str]:
        """The same for gradients."""
        return self._used(self._read_back())

    def _used(self, names: Iterable[str]) -> set[str]:
        strides = {f"{name}_strides" for name in names if self.operands[name].indices}
        return {*names, *strides}

    def _read_back(self) -> list[str]:
        read = {load for slope in self._slopes() for part in loads(slope).values() for load in part}
        return [name for name, load in self.operands.items() if load in read]

    @property
    def shared(self) -> list[str]:
        """Sources of device functions that it calls."""
        printer = self._printer()
        for tree in (self.tree, *self._slopes()):
            printer.expression(tree)
        return [*printer.definitions]

    # Lines of kernels ---------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        """Yield statements that put it in the place of `result`."""
        yield from self._read([*self.operands])
        yield from self._written(self.tree, "result = {}")

    def backward(self) -> Iterator[str]:
        """Yield statements that leave the gradients of tensors, and bring `grad_tile` to o.

        They read `result`, as it is before, where `reads_result` says so.
        """
        yield from self._read(self._read_back(), self.computed)
        if self.outputs:
            yield "pulled = grad_tile.to(tl.float32)"
        for name in self.computed:
            slope = derivative(self.tree, self.operands[name])
            yield from self._written(slope, f"grad_{name}_tile = pulled * ({{}})")
            yield from self._left(name)
        if self.slope != ONE:
            yield from self._written(self.slope, "grad_tile = (pulled * ({})).to(grad_tile.dtype)")
            yield stored("grad_tile", "grad_result", self.head, "rows", "n", self.width)

    def _left(self, name: str) -> Iterator[str]:
        """Yield statements that store what this tile gives to the gradient of a tensor."""
        tile, buffer, form = f"grad_{name}_tile", self._buffer(name), self._form(name)
        if form in ("whole", "spread"):
            yield stored(tile, buffer, self.head, "rows", "n", self.width)
            return
        inside = [f"columns < {self.width}"] if padded(self.width) > self.width else []
        if form == "row":
            if inside:  # there the tensors are 0, and what is divided by them is infinite
                yield f"{tile} = tl.where({inside[0]}, {tile}, 0.0)"
            yield f"tl.store({buffer} + at + rows, tl.sum({tile}, 1), mask=rows < n)"
            return
        yield f"{tile} = tl.where(rows[:, None] < n, {tile}, 0.0)"
        at = f"{buffer} + tl.program_id(0).to(tl.int64) * {self.width} + columns"
        total = f"tl.sum({tile}, 0)[None, :]"
        yield call("tl.store", [at, total, *(f"mask={each}" for each in inside)])

    def _slopes(self) -> list[ScoreTree]:
        slopes = [derivative(self.tree, self.operands[name]) for name in self.computed]
        return slopes if self.slope == ONE else [*slopes, self.slope]

    def _read(self, names: Iterable[str], left: Iterable[str] = ()) -> Iterator[str]:
        """Yield statements for tiles of tensors, and `columns` if they or sums ask for them."""
        lines = [self._loaded(name, self.operands[name]) for name in names]
        partial = padded(self.width) > self.width
        sums = any(self._form(name) == "column" or partial for name in left if self._sums(name))
        if sums or any("columns" in line for line in lines):
            yield f"columns = tl.arange(0, {padded(self.width)})[None, :]"
        yield from lines

    def _loaded(self, name: str, load: Load) -> str:
        if _axes(load) == WHOLE:
            return f"{name}_tile = {rows_of(name, self.head, self.near, self.width)}.to(tl.float32)"
        at = {"b": "b", "h": self.head, "i": f"{self.near}[:, None].to(tl.int64)", "c": "columns"}
        offsets = [f"{at[axis]} * {name}_strides[{n}]" for n, axis in enumerate(_axes(load))]
        inside = ""
        if "c" in _axes(load) and padded(self.width) > self.width:
            inside = f", mask=columns < {self.width}, other=0.0"
        address = " + ".join([name, *offsets])
        one = f"{name}_tile = tl.load({address}{inside}).to(tl.float32)"
        if len(f"    {one}") <= WIDTH:
            return one
        lines = [f"{name}_at = {name} + {offsets[0]}"]
        lines += [f"{name}_at += {offset}" for offset in offsets[1:]]
        return "\n".join([*lines, f"{name}_tile = tl.load({name}_at{inside}).to(tl.float32)"])

    def _written(self, tree: ScoreTree, statement: str) -> Iterator[str]:
        printer = self._printer()
        written = printer.expression(simplify(tree))
        yield from printer.lines
        yield statement.format(written)

    def _printer(self) -> Printer:
        printer = Printer(self.names, {})
        for name, load in self.operands.items():
            printer.know(load, f"{name}_tile")
        return printer

    # Gradients in launchers ---------------------------------------------------------------

    @property
    def outputs(self) -> list[str]:
        """What the kernel for the gradient of q leaves besides."""
        buffers = [*map(self._buffer, self.computed)]
        return [*buffers, *(["grad_result"] if self.slope != ONE else [])]

    @property
    def contiguous(self) -> list[str]:
        """Those of `outputs` that come without strides."""
        return [self._buffer(name) for name in self.computed if self._sums(name)]

    @property
    def room(self) -> Iterator[str]:
        """Statements for `outputs` of a size that is known before tiles are chosen."""
        forms = {self._buffer(name): self._form(name) for name in self.computed}
        for name in self.outputs:
            form = forms.get(name, "whole")
            if form != "column":
                yield (
                    f"{name} = by_query(q)"
                    if form == "row"
                    else (f"{name} = token_rows(q, {self.width})")
                )

    def room_by_program(self, programs: str) -> Iterator[str]:
        """Yield statements for the other `outputs`.

        Args:
            programs: expression for their number.
        """
        for name in self.computed:
            if self._form(name) == "column":
                yield call(f"{self._buffer(name)} = by_query", ["q", programs, str(self.width)])

    @property
    def sums(self) -> Iterator[str]:
        """Statements that make gradients of what the kernel has left."""
        for name in self.computed:
            load, form = self.operands[name], self._form(name)
            if form == "column":
                yield f"grad_{name} = {self._of_programs(name, load)}.to({name}.dtype)"
            elif form != "whole":
                total = f"{self._buffer(name)}{_summed('bhi' if form == 'row' else WHOLE, load)}"
                laid = ".contiguous()" if form == "spread" else ""
                yield f"grad_{name} = {total}{laid}.to({name}.dtype)"

    def _of_programs(self, name: str, load: Load) -> str:
        """Return sums by column over the programs; heads and batch are what they are laid by."""
        if _axes(load) == "c":
            return f"{self._buffer(name)}.sum(0)"
        axes, lead = ("bhic", "batch, heads") if "h" in _axes(load) else ("bic", "batch")
        laid = f"{self._buffer(name)}.view({lead}, -1, {self.width})"
        return f"{laid}{_summed(axes, load)}"

    def _buffer(self, name: str) -> str:
        return f"grad_{name}" if self._form(name) == "whole" else f"{name}_sums"

    def _sums(self, name: str) -> bool:
        return self._form(name) in ("row", "column")

    def _form(self, name: str) -> str:
        """Return how a kernel leaves the gradient of a tensor.

        `whole` as it is; `row` summed over channels; `column` summed over the rows of a program;
        `spread` element by element, to be summed over batch or heads.
        """
        axes = _axes(self.operands[name])
        if axes == WHOLE:
            return "whole"
        if "c" not in axes:
            return "row"
        return "spread" if "i" in axes or ("h" in axes and self.head != "h") else "column"


def _axes(load: Load) -> str:
    """Return the axes of a tensor: `bhic`, `hi`, `c`."""
    return "".join(each.name for each in load.indices if isinstance(each, Coordinate))


def _summed(axes: str, load: Load) -> str:
    """Return a call that sums a tensor with some axes over those that a load has not."""
    over = [str(at) for at, axis in enumerate(axes) if axis not in _axes(load)]
    several = f"({', '.join(over)})" if len(over) > 1 else "".join(over)
    return f".sum({several if len(over) < len(axes) else ''})" if over else ""


def epilogue_of(tree: ScoreTree | None, names: Names, width: int, head: str) -> Epilogue | None:
    """Return the epilogue of a site, if it has one."""
    return None if tree is None else Epilogue(simplify(tree), names, width, head)

"""What becomes of the result before it is stored: `o + lepe`, `o * sigmoid(gate)`.

With y = f(o, t) the gradient of o is dy * df/do, which the kernel for the gradient of q leaves for
the others; that of t is dy * df/dt. Where df/dt is a number, autograd has it without a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from attnc.backends.triton.expressions import Printer
from attnc.backends.triton.names import Names
from attnc.backends.triton.pieces import ONE, rows_of, stored
from attnc.dsl.attention import Constant, Load, Result, ScoreTree
from attnc.dsl.scorelang import derivative, loads, simplify, subtrees


@dataclass(frozen=True, slots=True)
class Epilogue:
    """An expression of the result and of tensors of its shape, in float32.

    Attributes:
        tree: it.
        names: the vocabulary of the site.
        width: of the result.
        head: expression of the head of a row.
    """

    tree: ScoreTree
    names: Names
    width: int
    head: str

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
        if slope == ONE:
            return "grad_out"
        return f"{slope.value} * grad_out" if isinstance(slope, Constant) else f"grad_{name}"

    @property
    def computed(self) -> list[str]:
        """Tensors whose gradients are computed by the kernel."""
        return [name for name, grad in self.gradients.items() if grad == f"grad_{name}"]

    @property
    def outputs(self) -> list[str]:
        """What the kernel for the gradient of q leaves besides."""
        grads = [f"grad_{name}" for name in self.computed]
        return [*grads, *(["grad_result"] if self.slope != ONE else [])]

    @property
    def used(self) -> set[str]:
        """Tensors and strides that the forward kernel reads for it."""
        return {each for name in self.operands for each in (name, f"{name}_strides")}

    @property
    def used_back(self) -> set[str]:
        """The same for gradients."""
        read = {load for slope in self._slopes() for part in loads(slope).values() for load in part}
        names = (name for name, load in self.operands.items() if load in read)
        return {each for name in names for each in (name, f"{name}_strides")}

    @property
    def shared(self) -> list[str]:
        """Sources of device functions that it calls."""
        printer = self._printer()
        for tree in (self.tree, *self._slopes()):
            printer.expression(tree)
        return [*printer.definitions]

    def lines(self) -> Iterator[str]:
        """Yield statements that put it in the place of `result`."""
        yield from self._read(self.operands)
        yield from self._written(self.tree, "result = {}")

    def backward(self) -> Iterator[str]:
        """Yield statements that leave the gradients of tensors, and bring `grad_tile` to o.

        They read `out_tile`, the result before.
        """
        if any(Result() in subtrees(slope) for slope in self._slopes()):
            yield "result = out_tile.to(tl.float32)"
        yield from self._read(name for name in self.operands if name in self.used_back)
        if self.outputs:
            yield "pulled = grad_tile.to(tl.float32)"
        for name in self.computed:
            slope = derivative(self.tree, self.operands[name])
            yield from self._written(slope, f"grad_{name}_tile = pulled * ({{}})")
            yield stored(f"grad_{name}_tile", f"grad_{name}", self.head, "rows", "n", self.width)
        if self.slope != ONE:
            yield from self._written(self.slope, "grad_tile = (pulled * ({})).to(grad_tile.dtype)")
            yield stored("grad_tile", "grad_result", self.head, "rows", "n", self.width)

    def _slopes(self) -> list[ScoreTree]:
        slopes = [derivative(self.tree, self.operands[name]) for name in self.computed]
        return slopes if self.slope == ONE else [*slopes, self.slope]

    def _read(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            yield f"{name}_tile = {rows_of(name, self.head, 'i', self.width)}.to(tl.float32)"

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


def epilogue_of(tree: ScoreTree | None, names: Names, width: int, head: str) -> Epilogue | None:
    """Return the epilogue of a site, if it has one."""
    return None if tree is None else Epilogue(simplify(tree), names, width, head)

"""One Triton kernel as text: its definition and its launch, from one list of parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import indent

from attnc.backends.triton.layout import WIDTH, call, define, settled
from attnc.backends.triton.names import Names
from attnc.backends.triton.problem import Problem

CONSTANTS = {"BLOCK_I": "block_i", "BLOCK_J": "block_j", "PRECISION": "dot_precision(q)"}
"""What kernels are specialised for, and where the launcher has it from."""

OPTIONS = ("num_warps=warps", "num_stages=stages", "enable_fp_fusion=True")
_STEADY = ("heads", "group")
"""Sizes that a model does not change from call to call."""


@dataclass(frozen=True, slots=True)
class KernelText:
    """A kernel over tiles of BLOCK_I queries and BLOCK_J keys.

    Attributes:
        name: of the function.
        doc: its docstring.
        pointers: tensors in, then tensors out.
        strided: those of them that come with their strides; the others are contiguous.
        sizes: numbers of heads, rows and the like.
        constants: further ones, each of them a variable of the launcher in lower case.
        names: how the launcher finds sizes.
        body: blocks of lines.
    """

    name: str
    doc: str
    pointers: tuple[str, ...]
    strided: tuple[str, ...]
    sizes: tuple[str, ...]
    constants: tuple[str, ...]
    names: Names
    body: tuple[str, ...]

    def definition(self) -> str:
        """Return the function. Lengths change often and so do not specialise it."""
        parameters = [*self.pointers, *(f"{each}_strides" for each in self.strided), *self.sizes]
        lengths = [f'"{each}"' for each in self.sizes if not each.startswith(_STEADY)]
        decorator = f"@jit(do_not_specialize=[{', '.join(lengths)}])"
        parameters += [f"{each}: tl.constexpr" for each in (*self._read, *self.constants)]
        return define(self.name, parameters, self.doc, self.body, decorator)

    @property
    def _read(self) -> tuple[str, ...]:
        """Those of `CONSTANTS` that it reads: one that multiplies no tiles has no precision."""
        return tuple(
            each for each in CONSTANTS
            if each != "PRECISION" or any("PRECISION" in block for block in self.body)
        )  # fmt: skip

    def launch(self, grid: str, depth: int = 1) -> str:
        """Return the launcher's statements, which read `block_i, block_j, warps, stages`.

        Args:
            grid: expression for the number of programs.
            depth: how deep they stand.
        """
        arguments = [
            *self.pointers,
            *(f"{each}.stride()" for each in self.strided),
            *(self.names.host(each) for each in self.sizes),
            *(CONSTANTS[each] for each in self._read),
            *(each.lower() for each in self.constants),
            *OPTIONS,
        ]
        before = ""
        if len(f"{self.name}[({grid},)](") + 4 * (depth + 1) > WIDTH:
            before, grid = settled(f"programs = {grid}") + "\n", "programs"
        launched = call(f"{self.name}[({grid},)]", arguments, depth + 1)
        return f"{before}with torch.cuda.device_of(q):\n" + indent(launched, "    ")


def kernel_text(
    problem: Problem,
    name: str,
    doc: str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    contiguous: Iterable[str],
    used: Iterable[str],
    body: Iterable[str],
    constants: Iterable[str] = (),
) -> KernelText:
    """Sort out the parameters of a kernel.

    Args:
        problem: the site.
        name: of the function, before the site's own; `doc` is its docstring.
        inputs: tensors to read, besides captured ones.
        outputs: tensors to write.
        contiguous: those of all these that need no strides.
        used: captured tensors, strides and sizes that the body reads.
        body: blocks of lines.
        constants: what it is specialised for besides the rows of tiles.
    """
    names, used = problem.names, set(used)
    captured = [each.name for each in names.tensors.values() if each.name in used]
    pointers = (*inputs, *captured, *outputs)
    plain = {*contiguous, *(each for each in captured if f"{each}_strides" not in used)}
    return KernelText(
        problem.private(name),
        doc,
        pointers,
        tuple(each for each in pointers if each not in plain),
        tuple(each for each in names.ordered(used) if names.is_size(each)),
        tuple(constants),
        names,
        tuple(body),
    )

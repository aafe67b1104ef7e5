"""The kernel for the gradient of a result before what follows it, where another has no room for it.

It reads what was stored and its gradient once more, row by row, and leaves the gradients of what
stands beside the result. The kernels for the other gradients then begin with what it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnc.backends.triton.epilogue import Epilogue
from attnc.backends.triton.kernel import KernelText, kernel_text
from attnc.backends.triton.pieces import (
    assigned,
    captures,
    literal,
    padded,
    query_tile,
    rows_of,
    times,
)
from attnc.backends.triton.problem import Problem

ELEMENTS = 2048
"""Of a tile: of several in float32 at once 128 threads have the registers on every card."""

GRID = "batch * heads * triton.cdiv(n, block_i)"


def following(problem: Problem) -> KernelText:
    """Return the kernel; the site has an epilogue."""
    after, reads = _of_one_head(problem), problem.reads_result
    before = problem.parts if problem.summed else [problem.normal]
    weights = [each.weight for each in problem.streams] if problem.summed and reads else []
    return kernel_text(
        problem,
        "following",
        "Gradients of the result before what follows it, and of that, for some rows.",
        inputs=[*(before if reads else []), "grad_out"],
        outputs=after.outputs,
        contiguous=after.contiguous,
        used={"heads", "n"} | after.used_back | captures(weights),
        body=_body(problem, after),
    )


def launched(problem: Problem, kernel: KernelText) -> Iterator[str]:
    """Yield statements that launch it, and bring `grad_out` to what the other kernels take."""
    after = _of_one_head(problem)
    yield from after.room
    rows = max(16, ELEMENTS // padded(problem.width))
    yield f"block_i, block_j, warps, stages = {rows}, 16, 4, 1"
    yield from after.room_by_program(GRID)
    yield kernel.launch(GRID)
    yield from brought(after)


def brought(after: Epilogue) -> Iterator[str]:
    """Yield statements that make gradients of what a kernel has left, and go on with `grad_out`."""
    yield from after.sums
    if "grad_result" in after.outputs:
        yield "grad_out = grad_result  # that of the result before what followed it"


def result_before(problem: Problem, head: str) -> Iterator[str]:
    """Yield statements for `result` of some rows, as it is before what follows it."""
    if not problem.summed:
        yield f"result = {rows_of(problem.normal, head, 'i', problem.width)}.to(tl.float32)"
        return
    for stream, part in zip(problem.streams, problem.parts, strict=True):
        yield from assigned(stream.weight, "weight")
        tile = f"{rows_of(part, head, 'i', problem.width)}.to(tl.float32)"
        joined = "=" if stream is problem.streams[0] else "+="
        yield f"result {joined} {times(tile, literal(stream.weight, 'weight'))}"


def _of_one_head(problem: Problem) -> Epilogue:
    """Return the epilogue as this kernel has it, whose programs are of rows of one head."""
    assert problem.epilogue is not None
    return replace(problem.epilogue, head="h", near="i")


def _body(problem: Problem, after: Epilogue) -> Iterator[str]:
    yield from query_tile(None, "", ())
    yield "at = (b * heads + h) * n"
    yield f"grad_tile = {rows_of('grad_out', 'h', 'i', problem.width)}"
    yield from result_before(problem, "h") if problem.reads_result else ()
    yield from after.backward()

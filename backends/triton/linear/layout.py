"""One site of linear attention as its kernels see it, and lines that they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from textwrap import indent

from attnc.backends.triton.kernel import KernelText
from attnc.backends.triton.layout import call
from attnc.backends.triton.linear.core import RATE, scale_of
from attnc.backends.triton.orientation import product
from attnc.backends.triton.pieces import padded, times
from attnc.backends.triton.problem import Problem, digest
from attnc.backends.triton.rules import OverSum
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Causal


@dataclass(frozen=True, slots=True)
class Linear:
    """What the templates need of a core.

    Attributes:
        problem: names, results and gradients of the operator.
        causal: whether queries see the keys up to them alone.
        grouped: whether several heads of q share one of k and v.
        scale: the number in the score.
        over: how results are divided by the sum of weights; none where they are not.
    """

    problem: Problem
    causal: bool
    grouped: bool
    scale: float
    over: OverSum | None

    @property
    def decays(self) -> bool:
        """Whether weights change with the distance."""
        return RATE in self.problem.names.tensors

    def width(self, tensor: str) -> int:
        """Return the last size of `q`, `k`, `v`, `grad_out` or `out`."""
        return self.problem.dim if tensor in ("q", "k") else self.problem.width

    def length(self, tensor: str) -> str:
        """Return the number of rows of a tensor."""
        return "n" if self.causal or tensor not in ("k", "v") else "m"

    def head(self, tensor: str) -> str:
        """Return the head to read of a tensor."""
        return "h // group" if self.grouped and tensor in ("k", "v") else "h"

    def scaled(self, value: str) -> str:
        """Return a value times the number in the score."""
        return times(value, repr(self.scale) if self.scale != 1 else "")


def linear(core: Site) -> Linear:
    """Prepare a core."""
    problem = digest(core)
    (source,), ((k, _),) = core.attention.sources, core.sources
    over = problem.rule if isinstance(problem.rule, OverSum) else None
    grouped = k.shape[1] != core.q.shape[1]
    return Linear(problem, isinstance(source.domain, Causal), grouped, scale_of(core), over)


def kernel(
    site: Linear,
    name: str,
    doc: str,
    pointers: Iterable[str],
    contiguous: Iterable[str],
    sizes: Iterable[str],
    body: Iterable[str],
) -> KernelText:
    """Return a kernel over chunks of BLOCK_I rows and BLOCK_J columns of what it writes.

    Args:
        site: what it is part of.
        name: of the function, before the site's own; `doc` is its docstring.
        pointers: tensors in, then tensors out.
        contiguous: those that need no strides.
        sizes: that the body reads.
        body: blocks of lines.
    """
    pointers, names, sizes = tuple(pointers), site.problem.names, {*sizes}
    sizes |= {"group"} if site.grouped and {"k", "v"} & {*pointers} else set()
    plain, body = {RATE, *contiguous}, tuple(body)
    constants = ("WIDE",) if any("WIDE" in block for block in body) else ()
    return KernelText(
        site.problem.private(name), doc, pointers,
        tuple(each for each in pointers if each not in plain),
        tuple(each for each in names.ordered(sizes) if names.is_size(each)),
        constants, names, body,
    )  # fmt: skip


# Lines ----------------------------------------------------------------------------------------


def tile(tensor: str) -> str:
    """Return the name of the tile of a tensor."""
    return "grad_tile" if tensor == "grad_out" else f"{tensor}_tile"


def whole_rows(site: Linear, tensor: str) -> str:
    """Return a statement that reads rows of a tensor in full."""
    width = site.width(tensor)
    arguments = [tensor, "b", site.head(tensor), "near", f"{tensor}_strides", f"{width}"]
    return call(f"{tile(tensor)} = load_rows", [*arguments, f"{padded(width)}"], 2)


def some_columns(site: Linear, tensor: str, columns: str = "columns") -> str:
    """Return a statement that reads some columns, those of this program, of rows of a tensor."""
    strides, width = f"{tensor}_strides", f"{site.width(tensor)}"
    arguments = [tensor, "b", site.head(tensor), "near", columns, strides, width]
    return call(f"{tile(tensor)} = load_columns", arguments, 2)


def shares(site: Linear) -> Iterator[str]:
    """Yield statements for what weights of each query are multiplied by."""
    if site.over is not None:
        yield "sums_tile = tl.load(sums + (b * heads + h) * n + near)"
        yield f"share = 1.0 / ({site.over.divisor('sums_tile')})"


def shared(site: Linear) -> Iterator[str]:
    """Yield the statement that multiplies queries by their shares.

    Gradients would leave half precision there: next to a small total q itself is small.
    """
    if site.over is not None:
        yield "q_tile = (q_tile * share[:, None]).to(q_tile.dtype)"


def deltas(site: Linear) -> Iterator[str]:
    """Yield statements for what gradients of weights count from."""
    if site.over is not None:
        yield "delta_tile = tl.load(delta + (b * heads + h) * n + near)"


def near(length: str) -> str:
    """Return a statement for the rows to read."""
    return f"near = tl.minimum(first + rows, {length} - 1)  # past the end the last row again"


def place(parts: str, width: int) -> list[str]:
    """Return statements that find the columns of this program, of `width`, and its part."""
    return [
        f"tile, part, b, h = place_columns({parts}, heads, {width}, BLOCK_J)",
        "columns = tile * BLOCK_J + tl.arange(0, BLOCK_J)",
        "rows = tl.arange(0, BLOCK_I)",
    ]


def inner(width: int) -> str:
    """Return a statement for the columns that products are summed over."""
    return f"inner = tl.arange(0, {padded(width)})"


def fades(site: Linear, later: bool, *used: str) -> Iterator[str]:
    """Yield statements for how weights change within a chunk.

    `within` from row to row, `since` from what came before the chunk, `until` its end, and `fade`
    over all of it; where later rows count, towards its start.
    """
    if "within" in used:
        one, other = ("[None, :]", "[:, None]") if later else ("[:, None]", "[None, :]")
        yield f"lag = rows{one} - rows{other}"
    if not site.decays:
        return
    yield "speed = tl.load(rate + b * heads + h).to(tl.float32)"
    values = {
        "within": "tl.where(lag >= 0, tl.exp(speed * tl.maximum(lag, 0)), 0.0)",
        "since": f"tl.exp(speed * {'(BLOCK_I - rows)' if later else '(rows + 1)'})",
        "until": f"tl.exp(speed * {'rows' if later else '(BLOCK_I - 1 - rows)'})",
        "fade": "tl.exp(speed * BLOCK_I)",
    }
    yield from (f"{name} = {value}" for name, value in values.items() if name in used)


def chunks(length: str, later: bool, body: Iterable[str]) -> Iterator[str]:
    """Yield the statements that walk through the chunks of a part."""
    number = "(chunks - 1 - chunk)" if later else "chunk"
    yield "begin = part * span"
    yield f"chunks = tl.cdiv(tl.minimum(span, {length} - begin), BLOCK_I)"
    lines = indent("\n".join((f"first = begin + {number} * BLOCK_I", *body)), "    ")
    yield f"for chunk in range(chunks):\n{lines}"


def carried(site: Linear, name: str, added: str) -> str:
    """Return a statement that brings a sum over rows forward by a chunk."""
    return f"{name} = {name} * fade + {added}" if site.decays else f"{name} += {added}"


def moved(site: Linear, y: str, z: str) -> list[str]:
    """Return statements that add a chunk to `state`, the sum of y^T z as it fades."""
    y_tile, z_tile = tile(y), tile(z)
    if not site.decays:
        return [carried(site, "state", product(f"tl.trans({y_tile})", z_tile))]
    fading = f"{y_tile} = ({y_tile} * until[:, None]).to({y_tile}.dtype)"
    return [fading, carried(site, "state", product(f"tl.trans({y_tile})", z_tile))]

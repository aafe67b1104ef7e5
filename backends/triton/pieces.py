"""Lines that the kernels have in common: the scores of one tile of pairs and their mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import indent

from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.layout import call
from attnc.backends.triton.problem import ONE, Stream
from attnc.backends.triton.tiles import Walk
from attnc.dsl.attention import Constant
from attnc.dsl.scorelang import coordinates, fill, has_dot


def padded(width: int) -> int:
    """Return the columns of a tile: a power of two, and at least the 16 that tl.dot takes."""
    return max(16, 1 << (width - 1).bit_length())


def rows_of(tensor: str, head: str, rows: str, width: int) -> str:
    """Return an expression for rows of a tensor as a tile."""
    return f"load_rows({tensor}, b, {head}, {rows}, {tensor}_strides, {width}, {padded(width)})"


def stored(
    tile: str, tensor: str, head: str, rows: str, length: str, width: int, like: str = ""
) -> str:
    """Return a statement that writes a tile to rows of a tensor, laid out as `like` if given."""
    strides = f"{like or tensor}_strides"
    arguments = [tile, tensor, "b", head, rows, length, strides, str(width), str(padded(width))]
    return call("store_rows", arguments)


def product(left: str, right: str, into: str = "") -> str:
    """Return left times right, added to `into` if given; both are tiles."""
    if into:
        return f"tl.dot({left}, {right}, {into}, PRECISION)"
    return f"tl.dot({left}, {right}, None, PRECISION, out_dtype=tl.float32)"


def key_head(stream: Stream) -> str:
    """Return the head of k and v that head `h` of q reads."""
    return f"h // {stream.own('group')}" if stream.grouped else "h"


def key_sizes(stream: Stream) -> tuple[str, ...]:
    """Return the sizes that reading keys takes."""
    return (*((stream.own("group"),) if stream.grouped else ()), stream.own("m"))


def query_tile(walks: Iterable[Walk]) -> Iterator[str]:
    """Yield statements that find the queries of this program."""
    text = " ".join(part for walk in walks for part in walk.parts())
    yield "tile, b, h = place(n, heads, BLOCK_I)"
    yield "first_i = tile * BLOCK_I"
    if "last_i" in text:
        yield "last_i = tl.minimum(first_i + BLOCK_I, n) - 1"
    yield "rows = first_i + tl.arange(0, BLOCK_I)"
    yield "i = tl.minimum(rows, n - 1)  # past the end the last row again, never stored"


def near(rows: str, length: str, masked: bool) -> str:
    """Return a statement for rows to read: past the end it is the last row again."""
    held = f"near = tl.minimum({rows}, {length} - 1)"
    return held if masked else f"{held} if EDGE else {rows}"


def axes(formulas: Iterable[Formula], i: str, j: str) -> list[str]:
    """Return statements that give the coordinates two axes, as far as formulas read them."""
    read = {name for each in formulas for name in each.variables}
    given = (("i", i), ("j", j))
    return [f"{name} = {value}" for name, value in given if name in read and value != name]


def needs_product(formulas: Iterable[Formula]) -> bool:
    """Say whether formulas need `qk`: some read it, others only its shape."""
    return any(has_dot(each.tree) or not coordinates(each.tree) >= {"i", "j"} for each in formulas)


def scores(stream: Stream) -> list[str]:
    """Return statements for `s`, the scores of a tile in base 2."""
    lines = [stream.score.assigned("s")]
    if not has_dot(stream.score.tree) and needs_product([stream.score]):
        lines.append("s = tl.zeros_like(qk) + s")
    return lines


def at_edges(stream: Stream, lines: Iterable[str]) -> str:
    """Return lines that only tiles with pairs outside need."""
    block = "\n".join(lines)
    return block if stream.masked else "if EDGE:\n" + indent(block, "    ")


def kept(stream: Stream, inside: str = "") -> list[str]:
    """Return statements for `keep`: the pairs that are allowed and `inside` the lengths."""
    keep = stream.keep
    if keep is None:
        return [f"keep = {inside}"]
    if not inside:
        return [keep.assigned("keep")]
    if keep.name:
        return [keep.assigned("keep"), f"keep = keep & {inside}"]
    return [f"keep = {fill('{a} & {b}', inside, keep.value)}"]


def literal(factor: Formula | None, name: str) -> str:
    """Return what to multiply by: empty for 1, a number, or `name`, where it is to be put."""
    if factor is None or factor.tree == ONE:
        return ""
    return factor.value if isinstance(factor.tree, Constant) else name


def times(value: str, factor: str) -> str:
    """Return `value * factor`; an empty factor stands for 1."""
    return f"{value} * {factor}" if factor else value


def captures(formulas: Iterable[Formula | None]) -> set[str]:
    """Return what formulas read besides the pair at hand."""
    return {name for each in formulas if each is not None for name in each.captures}


def variables(formulas: Iterable[Formula | None]) -> set[str]:
    """Return which of `qk b h i j` formulas read."""
    return {name for each in formulas if each is not None for name in each.variables}

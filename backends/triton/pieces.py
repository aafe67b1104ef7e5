"""Lines that the kernels have in common: the scores of one tile of pairs and their mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import indent

from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.layout import call
from attnc.backends.triton.orientation import Orientation
from attnc.backends.triton.streams import Blocks, Stream
from attnc.backends.triton.tiles import Walk
from attnc.dsl.attention import Constant
from attnc.dsl.scorelang import coordinates, fill, has_dot

ONE = Constant(1.0)


def padded(width: int) -> int:
    """Return the columns of a tile: a power of two, and at least the 16 that tl.dot takes."""
    return max(16, 1 << (width - 1).bit_length())


def rows_of(tensor: str, head: str, rows: str, width: int, first: int = 0) -> str:
    """Return an expression for `width` columns, from the first one on, of rows of a tensor."""
    sizes = ", ".join(map(str, (width, padded(width), *([first] if first else []))))
    return f"load_rows({tensor}, b, {head}, {rows}, {tensor}_strides, {sizes})"


def stored(
    tile: str,
    tensor: str,
    head: str,
    rows: str,
    length: str,
    width: int,
    like: str = "",
    first: int = 0,
) -> str:
    """Return a statement that writes a tile to columns, from the first one on, of rows of a tensor.

    Strides are those of `like` if given.
    """
    sizes = map(str, (width, padded(width), *([first] if first else [])))
    strides = f"{like or tensor}_strides"
    return call("store_rows", [tile, tensor, "b", head, rows, length, strides, *sizes])


def key_head(stream: Stream, held: Orientation) -> str:
    """Return the head of k and v that a tile of q reads."""
    if held.h != "h":
        return "shared"
    return f"h // {stream.own('group')}" if stream.grouped else "h"


def key_sizes(stream: Stream, held: Orientation) -> tuple[str, ...]:
    """Return the sizes that reading keys takes."""
    by_head = stream.grouped and held.h == "h"
    return (*((stream.own("group"),) if by_head else ()), stream.own("m"))


def shared_head(held: Orientation) -> tuple[str, ...]:
    """Return the name of the head of k and v, where steps are given it."""
    return ("shared",) if held.h != "h" else ()


def query_tile(blocks: Blocks | None, group: str, walks: Iterable[Walk]) -> Iterator[str]:
    """Yield statements that find the queries of this program.

    Args:
        blocks: that they are taken from.
        group: the size that says how many heads share a tile; empty for one.
        walks: over keys.
    """
    text = " ".join(part for walk in walks for part in walk.parts())
    if group:
        yield from _tile_of_heads(group, text)
        return
    if blocks is None:
        yield "tile, b, h = place(n, heads, BLOCK_I)"
        yield "first_i = tile * BLOCK_I"
        if "last_i" in text:
            yield "last_i = tl.minimum(first_i + BLOCK_I, n) - 1"
        yield "rows = first_i + tl.arange(0, BLOCK_I)"
        yield "i = tl.minimum(rows, n - 1)  # past the end the last row again, never stored"
        return
    yield from block_tile(blocks, "i", "heads", "h")
    yield f"rows = {blocks.own.tokens.rows('slots_i', 'n')}"
    yield "i = tl.minimum(rows, n - 1)  # for no query the last one, never stored"
    if "first_i" in text:
        yield "first_i = tl.min(i)"
    if "last_i" in text:
        yield "last_i = tl.max(i)"


def _tile_of_heads(group: str, walks: str) -> Iterator[str]:
    yield f"tile, b, shared = place(n * {group}, heads // {group}, BLOCK_I)"
    yield "slots = tile * BLOCK_I + tl.arange(0, BLOCK_I)"
    yield f"h = shared * {group} + slots % {group}  # heads innermost"
    yield f"rows = slots // {group}"
    if "first_i" in walks:
        yield f"first_i = tile * BLOCK_I // {group}"
    if "last_i" in walks:
        yield f"last_i = tl.minimum((tile * BLOCK_I + BLOCK_I - 1) // {group}, n - 1)"
    yield "i = tl.minimum(rows, n - 1)  # past the end the last row again, never stored"


def key_tile(stream: Stream, heads: str, head: str, walk: str) -> Iterator[str]:
    """Yield statements that find the keys of this program.

    Args:
        stream: whose keys.
        heads: expression of their number of heads.
        head: name for the head.
        walk: the texts of the walk over queries.
    """
    m = stream.own("m")
    if stream.blocks is not None:
        yield from block_tile(stream.blocks, "j", heads, head)
        yield f"j = {stream.blocks.own.tokens.rows('slots_j', m)}"
        yield f"near = tl.minimum(j, {m} - 1)  # for no key the last one, never stored"
        return
    yield f"tile, b, {head} = place({m}, {heads}, BLOCK_J)"
    yield "first_j = tile * BLOCK_J"
    if "last_j" in walk:
        yield f"last_j = tl.minimum(first_j + BLOCK_J, {m}) - 1"
    yield "j = first_j + tl.arange(0, BLOCK_J)"
    yield f"near = tl.minimum(j, {m} - 1)  # past the end the last row again, never stored"


def of_stream(stream: Stream) -> tuple[str, ...]:
    """Return the tensors, strides and sizes that a step reads to find its rows."""
    return () if stream.blocks is None else tuple(stream.blocks.used)


def constants(stream: Stream) -> tuple[str, ...]:
    """Return the constants of a step besides the rows of a tile."""
    return () if stream.blocks is None else stream.blocks.constants


def block_constants(streams: Iterable[Stream]) -> tuple[str, ...]:
    """Return the constants of a kernel besides the rows of tiles."""
    return tuple(dict.fromkeys(each for stream in streams for each in constants(stream)))


def block_tile(blocks: Blocks, token: str, heads: str, head: str) -> Iterator[str]:
    """Yield statements that find the block of this program and its slots there."""
    of, slots = blocks.own.blocks, blocks.own.slots
    if blocks.packs:
        of, slots = f"tl.cdiv({of}, PACK)", f"PACK * {slots}"
    size = f"BLOCK_{token.upper()}"
    yield call(f"block, start, b, {head} = place_block", [of, slots, heads, size])
    yield f"slots_{token} = start + tl.arange(0, {size})"


def walked(stream: Stream, token: str, rows: str, length: str) -> list[str]:
    """Return statements for the rows of a tile that is walked, and `near` for those to read."""
    run = f"first + tl.arange(0, BLOCK_{token.upper()})"
    if stream.blocks is None:
        return [f"{rows} = {run}", near(rows, length, stream.masked)]
    tokens = stream.blocks.seen.tokens.rows(f"slots_{token}", length)
    return [f"slots_{token} = {run}", f"{rows} = {tokens}", near(rows, length, True)]


def of_block(stream: Stream, used: Iterable[Formula], held: Orientation) -> tuple[str, ...]:
    """Return names of the tile that stays which a step of a source by block reads."""
    if stream.blocks is None:
        return ()
    slots = f"slots_{held.stays}"
    reads = f"slot_{held.stays}" in variables(used)
    return ("block", slots) if reads or stream.blocks.packs else ("block",)


def near(rows: str, length: str, masked: bool) -> str:
    """Return a statement for rows to read: past the end it is the last row again."""
    held = f"near = tl.minimum({rows}, {length} - 1)"
    return held if masked else f"{held} if EDGE else {rows}"


def axes(stream: Stream, formulas: Iterable[Formula], held: Orientation) -> list[str]:
    """Return statements that give the coordinates two axes, as far as formulas read them."""
    given = {"i": f"{held.i}{held.per_query}", "j": f"{held.j}{held.per_key}"}
    if held.h != "h":
        given["h"] = held.h
    if stream.blocks is not None:
        for token in "ij":
            side = stream.blocks.own if token == held.stays else stream.blocks.seen
            given[f"slot_{token}"] = f"(slots_{token} % {side.slots}){held.stretched(token)}"
    read = variables(formulas)
    return [f"{name} = {value}" for name, value in given.items() if name in read]


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


def kept(stream: Stream, held: Orientation, inside: str = "") -> list[str]:
    """Return statements for `keep`: the pairs that are allowed and `inside` the lengths."""
    return [*_kept(stream.keep, inside), *_of_one_block(stream, held)]


def _kept(keep: Formula | None, inside: str) -> list[str]:
    if keep is None:
        return [f"keep = {inside}"]
    if not inside:
        return [keep.assigned("keep")]
    if keep.name:
        return [keep.assigned("keep"), f"keep = {fill('keep & {a}', inside)}"]
    return [f"keep = {fill('{a} & {b}', inside, keep.value)}"]


def _of_one_block(stream: Stream, held: Orientation) -> list[str]:
    """Return statements that leave pairs of one block only, where a tile holds several."""
    if stream.blocks is None or not stream.blocks.packs:
        return []
    slots = stream.blocks.own.slots
    query, key = (f"(slots_{token} // {slots}){held.stretched(token)}" for token in "ij")
    return ["if PACK > 1:", f"    keep = keep & ({query} == {key})"]


def only_kept(name: str, outside: str = "0.0") -> str:
    """Return a statement that leaves pairs that are not allowed with a fixed value."""
    return f"{name} = tl.where(keep, {name}, {outside})"


def assigned(factor: Formula | None, name: str) -> list[str]:
    """Return the statement for what `literal` calls by its name; none where that is a number."""
    return [factor.assigned(name)] if factor is not None and literal(factor, name) == name else []


def is_uneven(factor: Formula | None) -> bool:
    """Say whether a factor differs from pair to pair, and may be infinite at some."""
    uneven = {"qk", "l1", "w", "i", "j", "slot_i", "slot_j"}
    return factor is not None and not uneven.isdisjoint(factor.variables)


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

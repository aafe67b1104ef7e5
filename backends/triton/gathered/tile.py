"""Lines that kernels of gathered rows have in common: keys of a tile of queries, their scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.gathered.problem import Gathered
from attnc.backends.triton.orientation import Orientation
from attnc.backends.triton.pieces import kept, key_head, key_sizes, only_kept, padded
from attnc.backends.triton.streams import Stream
from attnc.backends.triton.tiles import Loop, Walk, over_keys, walk
from attnc.dsl.scorelang import has_distance, has_dot

QUERIES_BY_SLOTS = Orientation(
    "dots(q_tile, k_tile)", "dots(grad_tile, v_tile)", "i", "j", "[:, None]", "", "i"
)
"""A tile of queries [i] and of slots, each with a key of its own [i, slot]."""

DIFFERENCE = "q_tile[:, None, :].to(tl.float32) - k_tile.to(tl.float32)"
DISTANCE = "tl.sum(tl.abs(difference), 2)"


def rows_of(tensor: str, head: str, rows: str, length: str, width: int) -> str:
    """Return an expression for a row of a tensor for each element of a tile of rows."""
    arguments = [tensor, "b", head, rows, length, f"{tensor}_strides", str(width)]
    return f"load_lists({', '.join(arguments)}, {padded(width)})"


def walks(problem: Gathered) -> list[Walk]:
    """Return the loops over the slots, or the tiles of keys, of each stream."""
    return [_walk(problem, stream) for stream in problem.streams]


def _walk(problem: Gathered, stream: Stream) -> Walk:
    if stream.tag not in problem.lists:
        return walk(over_keys(stream), stream, problem.names)
    loop = Loop("0", problem.slots(stream), True, few=True)
    return Walk((), (loop,), frozenset(problem.sizes(stream)))


def keys_of(problem: Gathered, stream: Stream) -> Iterator[str]:
    """Yield statements for the keys `j` in a tile of slots; `m` where there is none."""
    function = problem.functions[stream.tag]
    yield "i = i[:, None]"
    yield f"slot_j = first + tl.arange(0, {problem.block})[None, :]"
    yield f"j = {function.keys(stream.own('m'))}"


def rows_of_keys(problem: Gathered, stream: Stream, name: str, width: int) -> str:
    """Return a statement that reads k or v of the keys of a tile."""
    rows = rows_of(
        stream.own(name), key_head(stream, QUERIES_BY_SLOTS), "j", stream.own("m"), width
    )
    return f"{name}_tile = {rows}"


def products(formulas: Iterable[Formula]) -> Iterator[str]:
    """Yield statements for what formulas read of the vectors of query and key."""
    trees = [each.tree for each in formulas]
    if any(map(has_dot, trees)):
        yield f"qk = {QUERIES_BY_SLOTS.product}"
    if any(map(has_distance, trees)):
        yield f"difference = {DIFFERENCE}"
        yield f"l1 = {DISTANCE}"


def scores(problem: Gathered, stream: Stream) -> Iterator[str]:
    """Yield statements for `keep` and `s`, the scores of a tile, all of it."""
    yield stream.score.assigned("s")
    yield from kept(stream, QUERIES_BY_SLOTS, f"j < {stream.own('m')}")
    yield only_kept("s", problem.rule.outside)


def places(problem: Gathered, stream: Stream) -> Iterator[str]:
    """Yield statements for `at`, where a tile stands in buffers [b, h, n, slots]."""
    slots = problem.slots(stream)
    yield f"at = ((b * heads + h) * n + rows[:, None]) * {slots} + slot_j"
    yield f"inside = (rows < n)[:, None] & (slot_j < {slots})"


def step_sizes(problem: Gathered, stream: Stream) -> tuple[str, ...]:
    """Return what steps read besides formulas to find their rows."""
    function = problem.functions[stream.tag]
    return (*key_sizes(stream, QUERIES_BY_SLOTS), *function.used, *problem.sizes(stream))

"""Rotations of pairs of columns by an angle of the token, as position embeddings have them.

A rotation is a sum of products with two tables: (x cos - y sin, y cos + x sin) for the columns x
and y of each pair, written for both halves by themselves or for all columns at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import cast

from attnc.dsl.graph import Arg, Node, Value
from attnc.dsl.ops.notation import parse


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation is of.

    Attributes:
        x: [b, h, n, d], the rows before.
        cos, sin: tables that broadcast to [b, h, n, d / 2], or to [b, h, n, d].
        neighbours: whether columns 2 c and 2 c + 1 are a pair, and not c and c + d / 2.
    """

    x: Value
    cos: Value
    sin: Value
    neighbours: bool

    @property
    def by_column(self) -> bool:
        """Whether tables have an element for each column."""
        return self.cos.shape[-1] == self.x.shape[-1]


Pair = tuple[Value, Value]
_RANK = 4


def rotation(value: Value, makers: Mapping[Value, Node]) -> Rotation | None:
    """Return the rotation that a tensor [b, h, n, d] is, if it is one.

    Args:
        makers: value -> the node that computes it.
    """
    found = _Reader(makers)
    made = found.by_halves(value) or found.by_columns(value)
    fits = made is not None and _fits(made)
    return made if fits else None


def _fits(found: Rotation) -> bool:
    """Say whether tables broadcast to the rows, and are tensors of floats by column or pair."""
    *rows, width = found.x.shape
    if len(found.x.shape) != _RANK or not isinstance(width, int) or width % 2:
        return False
    for table in (found.cos, found.sin):
        if not table.shape:
            return False
        *outer, columns = table.shape
        if table.type.dtype != "float" or columns not in (width, width // 2):
            return False
        if len(outer) > len(rows) or columns != found.cos.shape[-1]:
            return False
        ends = rows[len(rows) - len(outer) :]
        if any(size not in (1, end) for size, end in zip(outer, ends, strict=True)):
            return False
    return True


class _Reader:
    """Reads rotations back from the nodes that compute them."""

    def __init__(self, makers: Mapping[Value, Node]) -> None:
        self.makers = makers

    def by_halves(self, value: Value) -> Rotation | None:
        """Read (x cos - y sin, y cos + x sin), computed apart and joined."""
        joined, neighbours = self._joined(value)
        if joined is None:
            return None
        difference = self._products(joined[0], "subtract")
        total = self._products(joined[1], "add")
        for (x, cos), (y, sin) in _orders_of(difference):
            turned = any(
                (found[0], other[0]) == (y, x)
                and same((found[1], other[1]), (cos, sin), self.makers)
                for found, other in _both_orders(total)
            )
            if turned and self._parts(x, y) is neighbours:
                return Rotation(self._whole(x), cos, sin, neighbours)
        return None

    def by_columns(self, value: Value) -> Rotation | None:
        """Read x cos + (-y, x) sin."""
        for (x, cos), (turned, sin) in _both_orders(self._products(value, "add")):
            joined, neighbours = self._joined(turned)
            minus = None if joined is None else self._maker(joined[0], "negative")
            if joined is None or minus is None:
                continue
            low, high = joined[1], minus.args["x"]
            if not isinstance(high, Value) or self._parts(low, high) is not neighbours:
                continue
            if self._whole(low) is x:
                return Rotation(x, cos, sin, neighbours)
        return None

    # Columns ------------------------------------------------------------------------------

    def _joined(self, value: Value) -> tuple[Pair | None, bool]:
        """Return the two parts that all columns are joined from, and whether as neighbours."""
        node = self._maker(value, "concat")
        if node is not None:
            return (_pair(node.args["tensors"]) if _is_last(node) else None), False
        node = self._maker(value, "rearrange", "reshape")
        inner = None if node is None else self._maker(node.args["x"], "stack")
        if node is None or inner is None or not _is_last(inner) or not _keeps_rows(node):
            return None, True
        return _pair(inner.args["tensors"]), True

    def _parts(self, first: Value, second: Value) -> bool | None:
        """Say whether two tensors part columns as neighbours; none where they do not part them."""
        node = self._maker(first, "split", "chunk", "unbind")
        if node is None or node.results != (first, second) or not _is_last(node):
            return None
        if node.op != "unbind":
            return False if first.shape == second.shape else None
        outer = self._maker(node.args["x"], "rearrange", "reshape")
        return True if outer is not None and _keeps_rows(outer) else None

    def _whole(self, part: Value) -> Value:
        """Return the columns that one is a part of."""
        node = self.makers[part]
        if node.op == "unbind":
            node = self.makers[cast(Value, node.args["x"])]
        return cast(Value, node.args["x"])

    # Sums ---------------------------------------------------------------------------------

    def _products(self, value: Value, op: str) -> tuple[Pair, ...]:
        """Return the factors of the two products that an operator combines; else nothing."""
        node = self._maker(value, op)
        made = [] if node is None else [self._maker(node.args[x], "multiply") for x in "ab"]
        pairs = [None if each is None else _pair((each.args["a"], each.args["b"])) for each in made]
        found = tuple(pair for pair in pairs if pair is not None)
        return found if len(found) == 2 else ()

    def _maker(self, value: Arg, *ops: str) -> Node | None:
        node = self.makers.get(value) if isinstance(value, Value) else None
        return node if node is not None and node.op in ops and not node.train else None


def same(one: Arg, other: Arg, makers: Mapping[Value, Node]) -> bool:
    """Say whether two arguments are equal, tensors by what computes them."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(same(*pair, makers) for pair in pairs)
    if not isinstance(one, Value) or not isinstance(other, Value):
        return one == other
    left, right = makers.get(one), makers.get(other)
    if one is other or left is None or right is None:
        return one is other
    alike = (left.op, left.module, left.body) == (right.op, None, None)
    if not alike or left.results.index(one) != right.results.index(other):
        return False
    return all(same(arg, right.args[name], makers) for name, arg in left.args.items())


def _pair(arg: Arg) -> Pair | None:
    """Return two tensors, if an argument is that."""
    if isinstance(arg, tuple) and len(arg) == 2:
        first, second = arg
        if isinstance(first, Value) and isinstance(second, Value):
            return first, second
    return None


def _orders(pair: Pair) -> tuple[Pair, Pair]:
    return pair, pair[::-1]


def _orders_of(pairs: tuple[Pair, ...]) -> Iterator[tuple[Pair, Pair]]:
    """Yield two products, the factors of each in both orders."""
    if pairs:
        yield from product(_orders(pairs[0]), _orders(pairs[1]))


def _both_orders(pairs: tuple[Pair, ...]) -> Iterator[tuple[Pair, Pair]]:
    """Yield two products in both orders, the factors of each in both orders."""
    yield from _orders_of(pairs)
    yield from _orders_of(pairs[::-1])


def _is_last(node: Node) -> bool:
    """Say whether a node joins or parts the last axis."""
    behind = len(node.results[0].shape) - (node.op not in ("unbind",))
    return node.args["axis"] in (-1, behind)


def _keeps_rows(node: Node) -> bool:
    """Say whether [b, h, n, c, 2] becomes [b, h, n, 2 c], or the other way round."""
    shapes = cast(Value, node.args["x"]).shape, node.results[0].shape
    inner, outer = sorted(shapes, key=len)
    if len(inner) != _RANK or len(outer) != _RANK + 1:
        return False
    if inner[:3] != outer[:3] or outer[4] != 2:
        return False
    if node.op == "reshape":
        return True
    pattern = parse(cast(str, node.args["pattern"])).for_rank(len(shapes[0]))
    return [name for group in pattern.left for name in group] == [
        name for group in pattern.right for name in group
    ]

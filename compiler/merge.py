"""One instance called with different shapes: two units become one where their code agrees.

Code that differs in whole numbers only (`unflatten(1, (7, 7))` and `unflatten(1, (14, 14))`) agrees
too: such numbers become extra arguments of the block, which each call passes.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from torch import fx
from torch.fx.node import Argument

from attnc.compiler.kernel import Site
from attnc.compiler.unit import Extra, Leaf, Origin, Part, Unit, add_port
from attnc.dsl.dims import Size, symbol, symbols
from attnc.dsl.graph import Body, TensorType, Weight

Literals = tuple[int, ...]

Done = dict[tuple[Unit, Unit], tuple[Unit, Literals, Literals]]
"""Pairs that were merged: the common unit, and the numbers that calls of the first and of the
second unit have to add."""


class DifferenceError(Exception):
    """The code of two units is not the same."""


def merged(left: Unit, right: Unit, done: Done) -> Unit | None:
    """Return a unit that computes what both do, or none where their code differs."""
    try:
        return _merge(left, right, done)[0]
    except DifferenceError:
        return None


def _merge(left: Unit, right: Unit, done: Done) -> tuple[Unit, Literals, Literals]:
    if left is right:
        return left, (), ()
    if (left, right) not in done:
        done[left, right] = _Merger(left, right, done).build()
    return done[left, right]


class _Merger:
    """Walks two units in step and builds their common unit."""

    def __init__(self, left: Unit, right: Unit, done: Done) -> None:
        self.left, self.right, self.done = left, right, done
        self.graph = fx.Graph()
        self.from_left: dict[fx.Node, fx.Node] = {}
        self.from_right: dict[fx.Node, fx.Node] = {}
        self.literals: dict[tuple[int, int], fx.Node] = {}
        self.parts: dict[str, Part] = {}
        self.added: dict[str, tuple[Literals, Literals]] = {}
        self.last_port: fx.Node | None = None

    def build(self) -> tuple[Unit, Literals, Literals]:
        left, right = self.left, self.right
        if [*left.parts] != [*right.parts] or len(left.graph.nodes) != len(right.graph.nodes):
            raise DifferenceError
        for path, part in left.parts.items():
            self.parts[path] = self._part(path, part, right.parts[path])
        for one, other in zip(left.graph.nodes, right.graph.nodes, strict=True):
            self.from_left[one] = self.from_right[other] = self._node(one, other)
        first, second = tuple(a for a, _ in self.literals), tuple(b for _, b in self.literals)
        extras: dict[Body, tuple[Extra, ...]] = {
            **{body: (*given, *first) for body, given in left.extras.items()},
            **{body: (*given, *second) for body, given in right.extras.items()},
        }
        places = {**left.places, **right.places}
        return Unit(left.body, self.graph, self.parts, places, extras), first, second

    def _part(self, path: str, left: Part, right: Part) -> Part:
        match left, right:
            case Site(), Site():
                return _common_site(left, right)
            case Unit(), Unit():
                unit, *added = _merge(left, right, self.done)
                self.added[path] = added[0], added[1]
                return unit
            case (Leaf(), Leaf()) | (Weight(), Weight()) if left == right:
                return left
        raise DifferenceError

    def _node(self, left: fx.Node, right: fx.Node) -> fx.Node:
        if left.op != right.op or (left.op != "placeholder" and left.target != right.target):
            raise DifferenceError
        arguments = self._tuple(left.args, right.args)
        if left.op == "call_module":
            arguments += self._tuple(*self.added.get(str(left.target), ((), ())))
        keywords = {
            key: self._argument(value, right.kwargs.get(key)) for key, value in left.kwargs.items()
        }
        node = self.graph.create_node(left.op, left.target, arguments, keywords, left.name)
        node.meta = dict(left.meta)
        if left.op == "placeholder":
            self.last_port = node
        return node

    def _argument(self, left: Argument, right: Argument) -> Argument:
        if isinstance(left, fx.Node) and isinstance(right, fx.Node):
            if self.from_left[left] is self.from_right[right]:
                return self.from_left[left]
        elif isinstance(left, tuple) and isinstance(right, tuple):
            return self._tuple(left, right)
        elif isinstance(left, list) and isinstance(right, list):
            return [*self._tuple(tuple(left), tuple(right))]
        elif isinstance(left, slice) and isinstance(right, slice):
            return slice(*self._tuple(_parts(left), _parts(right)))
        elif type(left) is int and type(right) is int and left != right:
            return self._literal(left, right)
        elif type(left) is type(right) and left == right:
            return left
        raise DifferenceError

    def _tuple(
        self, left: tuple[Argument, ...], right: tuple[Argument, ...]
    ) -> tuple[Argument, ...]:
        if len(left) != len(right):
            raise DifferenceError
        return tuple(self._argument(*pair) for pair in zip(left, right, strict=True))

    def _literal(self, left: int, right: int) -> fx.Node:
        if (left, right) not in self.literals:
            node = add_port(self.graph, "size", self.last_port)
            node.meta["attnc"] = Origin(names=("size",), size=left)
            self.literals[left, right] = self.last_port = node
        return self.literals[left, right]


def _parts(index: slice) -> tuple[Argument, ...]:
    return index.start, index.stop, index.step


def _common_site(left: Site, right: Site) -> Site:
    """Return the site with a fresh symbol for every pair of sizes that differ."""
    if left.attention != right.attention or len(left.sources) != len(right.sources):
        raise DifferenceError
    types = _types(left) + _types(right)
    taken = {name for type_ in types for size in type_.shape for name in symbols(size)}
    names = (f"size{number}" for number in count() if f"size{number}" not in taken)
    pairs: dict[tuple[Size, Size], Size] = {}

    def common(one: TensorType, other: TensorType) -> TensorType:
        if one.dtype != other.dtype or len(one.shape) != len(other.shape):
            raise DifferenceError
        shape = []
        for pair in zip(one.shape, other.shape, strict=True):
            if pair not in pairs:
                pairs[pair] = pair[0] if pair[0] == pair[1] else symbol(next(names))
            shape.append(pairs[pair])
        return TensorType(tuple(shape), one.dtype)

    return replace(
        left,
        q=common(left.q, right.q),
        sources=tuple(
            (common(k, other_k), common(v, other_v))
            for (k, v), (other_k, other_v) in zip(left.sources, right.sources, strict=True)
        ),
        tensors=tuple(map(common, left.tensors, right.tensors)),
    )


def _types(site: Site) -> tuple[TensorType, ...]:
    return (site.q, *(type_ for source in site.sources for type_ in source), *site.tensors)

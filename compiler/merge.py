"""One instance called with different shapes: units become one where their code agrees.

Code that differs in whole numbers only (`unflatten(1, (7, 7))` and `unflatten(1, (14, 14))`) agrees
too: such numbers become extra arguments of the block, which each call passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TypeVar

from torch import fx
from torch.fx.node import Argument

from attnc.compiler.kernel import Site
from attnc.compiler.sites import site_types, with_types
from attnc.compiler.unit import Origin, Part, Unit, add_port
from attnc.dsl.dims import Size, symbol, symbols
from attnc.dsl.graph import TensorType

Units = tuple[Unit, ...]

Done = dict[Units, tuple[Unit, tuple[tuple[int, ...], ...]]]
"""Units that were merged: the common unit, and for each of them the numbers that its calls add."""


T = TypeVar("T")


class DifferenceError(Exception):
    """The code of units is not the same."""


def merged(units: Units, done: Done) -> Unit | None:
    """Return a unit that computes what all of some different units do; none if code differs."""
    try:
        return _merge(units, done)[0]
    except DifferenceError:
        return None


def _merge(units: Units, done: Done) -> tuple[Unit, tuple[tuple[int, ...], ...]]:
    if len(units) == 1:
        return units[0], ((),)
    if units not in done:
        done[units] = _Merger(units, done).build()
    return done[units]


class _Merger:
    """Walks units in step and builds their common unit."""

    def __init__(self, units: Units, done: Done) -> None:
        self.units, self.done = units, done
        self.graph = fx.Graph()
        self.nodes: dict[fx.Node, fx.Node] = {}
        self.literals: dict[tuple[int, ...], fx.Node] = {}
        self.parts: dict[str, Part] = {}
        self.added: dict[str, list[tuple[int, ...]]] = {}
        self.last_port: fx.Node | None = None

    def build(self) -> tuple[Unit, tuple[tuple[int, ...], ...]]:
        first = self.units[0]
        for path in _common([[*unit.parts] for unit in self.units]):
            self.parts[path] = self._part(path, [unit.parts[path] for unit in self.units])
        _common([len(unit.graph.nodes) for unit in self.units])
        for nodes in zip(*(unit.graph.nodes for unit in self.units), strict=True):
            self.nodes |= dict.fromkeys(nodes, self._node(nodes))
        literals = tuple(tuple(each[at] for each in self.literals) for at in range(len(self.units)))
        extras = {
            body: (*given, *numbers)
            for unit, numbers in zip(self.units, literals, strict=True)
            for body, given in unit.extras.items()
        }
        places = {node: place for unit in self.units for node, place in unit.places.items()}
        return Unit(first.body, self.graph, self.parts, places, extras), literals

    def _part(self, path: str, parts: Sequence[Part]) -> Part:
        units = [part for part in parts if isinstance(part, Unit)]
        sites = [part for part in parts if isinstance(part, Site)]
        if len(units) == len(parts):
            different = tuple(dict.fromkeys(units))
            unit, literals = _merge(different, self.done)
            self.added[path] = [literals[different.index(each)] for each in units]
            return unit
        return _common_site(sites) if len(sites) == len(parts) else _common(parts)

    def _node(self, nodes: Sequence[fx.Node]) -> fx.Node:
        op = _common([node.op for node in nodes])
        target = (
            nodes[0].target if op == "placeholder" else _common([node.target for node in nodes])
        )
        arguments = self._tuple([node.args for node in nodes])
        if op == "call_module" and target in self.added:
            arguments += self._tuple(self.added[str(target)])
        keywords = {
            key: self._argument([node.kwargs[key] for node in nodes])
            for key in _common([[*node.kwargs] for node in nodes])
        }
        node = self.graph.create_node(op, target, arguments, keywords, nodes[0].name)
        node.meta = dict(nodes[0].meta)
        if op == "placeholder":
            self.last_port = node
        return node

    def _argument(self, given: Sequence[Argument]) -> Argument:
        """Return what stands for one argument of each unit."""
        kind = _common([type(each) for each in given])
        if issubclass(kind, fx.Node):
            return _common([self.nodes[each] for each in given if isinstance(each, fx.Node)])
        if issubclass(kind, (tuple, list)):
            items = self._tuple([tuple(each) for each in given if isinstance(each, (tuple, list))])
            return items if issubclass(kind, tuple) else [*items]
        if issubclass(kind, slice):
            parts = [(s.start, s.stop, s.step) for s in given if isinstance(s, slice)]
            return slice(*self._tuple(parts))
        if kind is int and len(set(given)) > 1:
            return self._literal(tuple(each for each in given if isinstance(each, int)))
        return _common(given)

    def _tuple(self, given: Sequence[tuple[Argument, ...]]) -> tuple[Argument, ...]:
        _common([len(items) for items in given])
        return tuple(map(self._argument, zip(*given, strict=True)))

    def _literal(self, numbers: tuple[int, ...]) -> fx.Node:
        if numbers not in self.literals:
            node = add_port(self.graph, "size", self.last_port)
            node.meta["attnc"] = Origin(names=("size",), size=numbers[0])
            self.literals[numbers] = self.last_port = node
        return self.literals[numbers]


def _common(values: Sequence[T]) -> T:
    """Return what all values are equal to.

    Raises:
        DifferenceError: they are not equal.
    """
    if any(value != values[0] for value in values):
        raise DifferenceError
    return values[0]


def _common_site(sites: Sequence[Site]) -> Site:
    """Return the site with a symbol of its own for every size that differs."""
    _common([(site.attention, len(site.sources)) for site in sites])
    types = [site_types(site) for site in sites]
    used = {name for each in types for type_ in each for name in _names(type_)}
    fresh = (name for number in count() if (name := f"size{number}") not in used)
    known: dict[tuple[Size, ...], Size] = {}

    def common_size(sizes: tuple[Size, ...]) -> Size:
        if sizes not in known:
            known[sizes] = sizes[0] if len(set(sizes)) == 1 else symbol(next(fresh))
        return known[sizes]

    def common_type(given: Sequence[TensorType]) -> TensorType:
        _common([(type_.dtype, len(type_.shape)) for type_ in given])
        shapes = zip(*(type_.shape for type_ in given), strict=True)
        return TensorType(tuple(map(common_size, shapes)), given[0].dtype)

    return with_types(sites[0], [common_type(given) for given in zip(*types, strict=True)])


def _names(type_: TensorType) -> set[str]:
    return {name for size in type_.shape for name in symbols(size)}

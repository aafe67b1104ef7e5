"""Which blocks an unrolled spec has, their ports, and the sizes that callers hand in.

Each body is a block. Bodies called through one instance, with tensors of different shapes, are
cases of one block, as they share their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import cast

from attnc.dsl import liveness, state, tree
from attnc.dsl.attention import Grid
from attnc.dsl.dims import Dim, Shape, Size, symbol, symbols
from attnc.dsl.graph import Arg, Body, Graph, Value
from attnc.dsl.unroll.names import Names
from attnc.dsl.unroll.notation import HERE, listed, name, size

CASE = "case"
"""The param that tells the cases of a block apart."""

_ANNOTATED = ("float", "int", "bool")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor of a list that a block takes: `xs_1: [b, n, 64] = xs[1]`."""

    value: Value
    source: tree.Expr
    shape: tree.ListOf


@dataclass(frozen=True, slots=True)
class Layout:
    """How the ports of a body are written.

    Attributes:
        ports: one for each port of the body that is not none.
        leaves: the tensors in lists that the body reads.
        names: taken names, and those of the tensors that come in.
        sizes: symbols that shapes bind.
    """

    ports: tuple[tree.Port, ...]
    leaves: tuple[Leaf, ...]
    names: Names
    sizes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Group:
    """A block of the unrolled spec.

    Attributes:
        bodies: its cases; mostly one.
        sizes: symbols that callers hand in as params, in order.
    """

    name: str
    bodies: tuple[Body, ...]
    layouts: Mapping[Body, Layout]
    sizes: tuple[str, ...]


def groups(graph: Graph, taken: frozenset[str]) -> Mapping[Body, Group]:
    """Return the block that every body but the top becomes.

    Args:
        taken: names that blocks must not have: symbols, inputs, params.
    """
    names, cases = Names(taken), _cases(graph.body)
    called = [names.fresh(bodies[0].name) for bodies in cases]
    within = frozenset({*input_symbols(graph), *called})
    layouts = [dict(_layouts(bodies, within)) for bodies in cases]
    needed = _needed(cases, {body: each for layout in layouts for body, each in layout.items()})
    made = [
        Group(name, bodies, layout, tuple(sorted(needed[bodies[0]])))
        for name, bodies, layout in zip(called, cases, layouts, strict=True)
    ]
    return {body: group for group in made for body in group.bodies}


def input_symbols(graph: Graph) -> frozenset[str]:
    """Return the symbolic sizes of the inputs."""
    sizes = (size for kind in graph.inputs.values() for size in kind.shape)
    return frozenset(each for size in sizes for each in symbols(size))


def _cases(top: Body) -> list[tuple[Body, ...]]:
    """Return the bodies called, those together that one path of some body leads to."""
    order = [*state.bottom_up(top)]
    together = {body: [body] for body in order}
    for body in order:
        first: dict[str, Body] = {}
        for node in body.calls():
            called = cast(Body, node.body)
            here = together[first.setdefault(str(node.module), called)]
            if together[called] is not here:
                here += together[called]
                together.update(dict.fromkeys(here, here))
    return [
        tuple(dict.fromkeys(together[body])) for body in order[:-1] if together[body][0] is body
    ]


# Sizes ------------------------------------------------------------------------------------


def _needed(
    cases: Sequence[tuple[Body, ...]], layouts: Mapping[Body, Layout]
) -> Mapping[Body, frozenset[str]]:
    """Return the symbols that each body takes as params: what it or its callees use unbound."""
    used = {body: frozenset(_symbols_used(body)) for body in layouts}
    needed: dict[Body, frozenset[str]] = dict.fromkeys(layouts, frozenset())
    while True:
        before = dict(needed)
        for bodies in cases:
            free = [_free(body, used[body], needed) - layouts[body].sizes for body in bodies]
            needed.update(dict.fromkeys(bodies, frozenset().union(*free)))
        if needed == before:
            return needed


def _free(
    body: Body, used: frozenset[str], needed: Mapping[Body, frozenset[str]]
) -> frozenset[str]:
    return used.union(*(needed[cast(Body, node.body)] for node in body.calls()))


def _symbols_used(body: Body) -> Iterator[str]:
    for node in body.nodes:
        for each in sizes_in(tuple(node.args.values())):
            yield from symbols(each)


def sizes_in(value: object) -> Iterator[Size]:
    """Yield the symbolic sizes inside an argument of a node; tensors' shapes do not count."""
    match value:
        case Dim():
            yield value
        case Value() | Grid((_,), _):  # tokens in a row need no grid
            return
        case tuple() | list():
            for item in value:
                yield from sizes_in(item)
        case Mapping():
            yield from sizes_in([*value.values()])
        case _ if is_dataclass(value):
            yield from sizes_in([getattr(value, each.name) for each in fields(value)])


# Ports ------------------------------------------------------------------------------------


def _layouts(bodies: Sequence[Body], taken: frozenset[str]) -> Iterator[tuple[Body, Layout]]:
    """Yield the layout of every case of a block; a port belongs to one case."""
    several = len(bodies) > 1
    names = Names({*taken, CASE} if several else taken)
    ports = {
        body: {port: names.fresh(port) for port, arg in body.ports.items() if arg is not None}
        for body in bodies
    }
    every = {
        *taken,
        *([CASE] if several else []),
        *(n for each in ports.values() for n in each.values()),
    }
    for body in bodies:
        yield body, _layout(body, ports[body], Names(every), several)


def _layout(body: Body, called: Mapping[str, str], names: Names, optional: bool) -> Layout:
    shapes = Shapes(names, {size: name for name, size in body.dims.items()})
    ports: list[tree.Port] = []
    waiting: list[tuple[Value, tree.Expr]] = []
    for port, word in called.items():
        arg = body.ports[port]
        annotated = isinstance(arg, Value) and arg.type.dtype in _ANNOTATED
        if isinstance(arg, Value):
            names.called[arg] = word
        else:
            waiting += leaves(arg, name(word))
        shape = shapes.written(arg.shape) if isinstance(arg, Value) and annotated else None
        dtype = arg.type.dtype if isinstance(arg, Value) and annotated else "float"
        ports.append(tree.Port(word, shape, HERE, dtype, optional))
    used = {value for node in body.nodes for value in liveness.values(tuple(node.args.values()))}
    used.update(liveness.values(body.outputs))
    taken = []
    for value, source in waiting:
        if value in used:
            names.call(value)
            taken.append(Leaf(value, source, shapes.written(value.shape)))
    return Layout(tuple(ports), tuple(taken), names, frozenset(shapes.bound))


def leaves(arg: Arg, source: tree.Expr) -> Iterator[tuple[Value, tree.Expr]]:
    """Yield the tensors in a list, each with the expression that takes it out of `source`."""
    if isinstance(arg, Value):
        yield arg, source
    for at, item in enumerate(arg if isinstance(arg, tuple) else ()):
        yield from leaves(item, tree.Index(source, (tree.Number(at, HERE),), HERE))


class Shapes:
    """Writes shapes one after the other; a symbol is bound by the first axis that is just it.

    Attributes:
        bound: symbols known so far.
    """

    def __init__(self, names: Names, wanted: Mapping[Size, str]) -> None:
        self.bound: set[str] = set()
        self._names, self._wanted = names, wanted
        self._own: dict[Size, str] = {}

    def written(self, shape: Shape) -> tree.ListOf:
        """Return the annotation for a shape.

        An axis whose symbols are not bound, as that of n + 1 without n, gets a name of its own.
        """
        self.bound |= {each for size in shape for each in symbols(size) if size == symbol(each)}
        return listed(self._axis(each) for each in shape)

    def _axis(self, each: Size) -> tree.Expr:
        if symbols(each) <= self.bound:
            return size(each)
        if each not in self._own:
            self._own[each] = self._names.fresh(self._wanted.get(each, "n"))
        return name(self._own[each])

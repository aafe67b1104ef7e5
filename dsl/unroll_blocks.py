"""Which blocks an unrolled spec has, their ports, and the sizes that callers hand in.

Each body is a block. Bodies called through one instance, with tensors of different shapes, are
cases of one block, as they share their weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

from attnc.dsl import liveness, state, tree
from attnc.dsl.dims import Dim, Shape, Size, symbol, symbols
from attnc.dsl.graph import Arg, Body, Graph, TensorType, Value
from attnc.dsl.unroll_names import Names
from attnc.dsl.unroll_notation import HERE, listed, name, size

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
    """Return the block that every body but the top becomes; callees come before callers.

    Args:
        taken: names that blocks must not have: symbols, inputs, params.
    """
    names, known = Names(taken), symbols_of(graph)
    cases = _cases(graph.body)
    called = {each[0]: names.fresh(each[0].name) for each in cases}
    layouts = {
        body: layout for each in cases for body, layout in _layouts(each, known, called.values())
    }
    needed = _needed(cases, layouts)
    return {
        body: Group(called[each[0]], each, layouts, tuple(sorted(needed[each])))
        for each in cases
        for body in each
    }


def symbols_of(graph: Graph) -> frozenset[str]:
    """Return the symbolic sizes of the inputs."""
    return frozenset(each for kind in graph.inputs.values() for s in kind.shape for each in symbols(s))

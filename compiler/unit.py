"""A lowered block, before it has weights: its FX graph and what its module will hold."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

from torch import fx

from attnc.compiler.kernel import Site
from attnc.dsl.dims import Size
from attnc.dsl.graph import Body, Node, TensorType, Weight
from attnc.dsl.spans import SpanChain


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an FX node comes from: the value of `node.meta["attnc"]`.

    Attributes:
        spans: of the spec, outermost use site first.
        types: of the results, in order; none for steps inside an operator.
        names: of the results, as the spec calls them.
        train: true for what runs in training mode only.
        size: the size that the node computes, for nodes that compute one.
    """

    spans: SpanChain = ()
    types: tuple[TensorType, ...] = ()
    names: tuple[str, ...] = ()
    train: bool = False
    size: Size | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """A torch module with weights, by its constructor: `nn.Linear(384, 1152)`."""

    source: str


@dataclass(frozen=True, slots=True)
class Like:
    """An extra argument of a block: any tensor of the model's dtype, on its device."""


Extra = Union[Size, Like]
"""What a block needs from its caller besides its ports: a size that no port tells, or a tensor
to take dtype and device from."""


@dataclass(frozen=True, slots=True)
class Inlined:
    """Where a call went that could not be a call: the places of the nodes of its body."""

    places: Mapping[Node, Place]


Place = Union[str, Inlined]
"""Where an `attend` or `block` node went: a path inside the module, or into the caller."""


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A lowered body. Instances of a block with equal bodies share one unit.

    Attributes:
        body: what it was made from.
        graph: the code; its placeholders are the ports that are not none, then the extras.
        parts: path -> what the module holds there, in the order of the state dict.
        places: where each `attend` and `block` node of the body went.
        extras: what to pass after the ports, for each body that this unit computes. They are
            several where one instance is called with different shapes.
    """

    body: Body
    graph: fx.Graph
    parts: dict[str, Part]
    places: dict[Node, Place]
    extras: dict[Body, tuple[Extra, ...]]


Part = Union[Leaf, Weight, Site, Unit]


def add_port(graph: fx.Graph, wish: str, after: fx.Node | None) -> fx.Node:
    """Add a placeholder behind another, or in front; its name is the wish where that is free."""
    taken = {node.target for node in graph.find_nodes(op="placeholder")} | {"self", "torch"}
    name, count = wish, 0
    while name in taken or keyword.iskeyword(name):
        count += 1
        name = f"{wish}_{count}"
    with graph.inserting_after(after):
        return graph.placeholder(name)

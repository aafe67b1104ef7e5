"""Copies of checked graphs with some nodes replaced; each distinct block is rewritten once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from attnc.compiler.kernel import Target
from attnc.dsl.graph import Arg, Body, Graph, Node, Value
from attnc.dsl.liveness import values
from attnc.dsl.ops import TABLE


@dataclass(frozen=True)
class Block:
    """A body under a recogniser's eye.

    Attributes:
        makers: value -> the node that computes it; ports have none.
        uses: value -> how often nodes and results read it.
        target: what the graph is compiled for.
    """

    makers: dict[Value, Node]
    uses: dict[Value, int]
    target: Target

    @classmethod
    def of(cls, body: Body, target: Target) -> Block:
        """Index a body."""
        uses: dict[Value, int] = {}
        read = (value for node in body.nodes for value in values(node.args))
        for value in (*read, *values(body.outputs), *body.exits.values()):
            uses[value] = uses.get(value, 0) + 1
        return cls({value: node for node in body.nodes for value in node.results}, uses, target)

    def maker(self, value: object, *ops: str) -> Node | None:
        """Return the node that computes a value, if it is one of these operators."""
        node = self.makers.get(value) if isinstance(value, Value) else None
        return node if node is not None and node.op in ops else None

    def own(self, value: object, *ops: str) -> Node | None:
        """Return the maker of a value that nothing else reads."""
        node = self.maker(value, *ops)
        return node if node and all(self.uses.get(each, 0) <= 1 for each in node.results) else None


Recogniser = Callable[[Node, Block], Sequence[Node] | None]
"""Returns the nodes that stand for one, whose last computes the same values; none to keep it."""


def rewritten(graph: Graph, recogniser: Recogniser, target: Target) -> Graph:
    """Return the graph with a recogniser at work in every block; the same one if it found none."""
    body = _Rewriter(recogniser, target).body(graph.body)
    return graph if body is graph.body else replace(graph, body=body)


@dataclass
class _Rewriter:
    recogniser: Recogniser
    target: Target

    def __post_init__(self) -> None:
        self.done: dict[Body, Body] = {}

    def body(self, body: Body) -> Body:
        if body not in self.done:
            self.done[body] = self._rewritten(body)
        return self.done[body]

    def _rewritten(self, body: Body) -> Body:
        block = Block.of(body, self.target)
        nodes: list[Node] = []
        for node in body.nodes:
            nodes += self._nodes(node, block)
        if all(one is other for one, other in zip(nodes, body.nodes, strict=False)):
            return body
        kept = _live(nodes, (*values(body.outputs), *body.exits.values()))
        return replace(body, nodes=tuple(kept))

    def _nodes(self, node: Node, block: Block) -> Sequence[Node]:
        if node.body is not None:
            inner = self.body(node.body)
            return (node,) if inner is node.body else (replace(node, body=inner),)
        return self.recogniser(node, block) or (node,)


def _live(nodes: Iterable[Node], results: Iterable[Value]) -> list[Node]:
    """Return the nodes that results need, and all that have weights."""
    wanted = set(results)
    kept: list[Node] = []
    for node in reversed([*nodes]):
        if node.module is not None or not wanted.isdisjoint(node.results):
            kept.append(node)
            wanted.update(values(node.args))
    return kept[::-1]


def made(op: str, source: Node, results: tuple[Value, ...] | None = None, **given: Arg) -> Node:
    """Return a node of the operator table that stands where another did.

    Args:
        results: the values that it computes; new ones unless given.
        given: parameters; the others have their defaults.
    """
    row = TABLE[op]
    args = {each.name: given.get(each.name, cast(Arg, each.default)) for each in row.parameters}
    if results is None:
        results = tuple(Value(op, type_, source.spans) for type_ in row.infer(args))
    return Node(op, args, results, train=source.train, spans=source.spans)

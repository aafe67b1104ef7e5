"""Copies of checked graphs with some nodes replaced; each distinct block is rewritten once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Union, cast

from attnc.compiler.choice import Verdict, choose
from attnc.compiler.kernel import Backend, Target
from attnc.compiler.sites import site_of
from attnc.dsl.graph import Arg, Body, Graph, Node, Value
from attnc.dsl.liveness import values
from attnc.dsl.ops import TABLE

Edits = Mapping[Node, Sequence[Node]]
"""What stands for some nodes of a body; all results that are still read are computed by it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the graph is compiled for, and what can compute its attentions there.

    Attributes:
        asked: a backend that goes before the preference of the target; empty for none.
    """

    target: Target
    backends: Sequence[Backend]
    asked: str = ""


@dataclass(frozen=True)
class Block:
    """A body under a recogniser's eye.

    Attributes:
        makers: value -> the node that computes it; ports have none.
        uses: value -> how often nodes and results read it.
        machine: what the graph is compiled for.
    """

    body: Body
    makers: dict[Value, Node]
    uses: dict[Value, int]
    machine: Machine

    @classmethod
    def of(cls, body: Body, machine: Machine) -> Block:
        """Index a body."""
        uses: dict[Value, int] = {}
        read = (value for node in body.nodes for value in values(node.args))
        for value in (*read, *values(body.outputs), *body.exits.values()):
            uses[value] = uses.get(value, 0) + 1
        makers = {value: node for node in body.nodes for value in node.results}
        return cls(body, makers, uses, machine)

    @property
    def target(self) -> Target:
        """What the graph is compiled for."""
        return self.machine.target

    def maker(self, value: object, *ops: str) -> Node | None:
        """Return the node that computes a value, if it is one of these operators."""
        node = self.makers.get(value) if isinstance(value, Value) else None
        return node if node is not None and node.op in ops else None

    def own(self, value: object, *ops: str) -> Node | None:
        """Return the maker of a value that nothing else reads."""
        node = self.maker(value, *ops)
        return node if node and all(self.uses.get(each, 0) <= 1 for each in node.results) else None

    def reader(self, value: Value) -> Node | None:
        """Return the node that reads a value, if it alone does, and once."""
        if self.uses.get(value, 0) != 1:
            return None
        return next((node for node in self.body.nodes if value in values(node.args)), None)

    def backend(self, attend: Node) -> str | None:
        """Return the name of the backend that would compute an attention."""
        verdict = self.verdict(attend)
        return None if verdict is None else verdict.backend

    def verdict(self, attend: Node) -> Verdict | None:
        """Return what the backend that would compute an attention says of it."""
        machine = self.machine
        verdicts = choose(site_of(attend), self.target, machine.backends, machine.asked)
        return next((verdict for verdict in verdicts if verdict.chosen), None)


Recogniser = Callable[[Node, Block], Union[Sequence[Node], Edits, None]]
"""Returns the nodes that stand for one and compute the same values, or edits of several nodes; none
to keep it."""


def rewritten(graph: Graph, recogniser: Recogniser, machine: Machine) -> Graph:
    """Return the graph with a recogniser at work in every block; the same one if it found none."""
    body = _Rewriter(recogniser, machine).body(graph.body)
    return graph if body is graph.body else replace(graph, body=body)


@dataclass
class _Rewriter:
    recogniser: Recogniser
    machine: Machine

    def __post_init__(self) -> None:
        self.done: dict[Body, Body] = {}

    def body(self, body: Body) -> Body:
        if body not in self.done:
            inner = edited(body, {
                node: [replace(node, body=self.body(node.body))]
                for node in body.nodes
                if node.body is not None and self.body(node.body) is not node.body
            })  # fmt: skip
            self.done[body] = self._rewritten(inner)
        return self.done[body]

    def _rewritten(self, body: Body) -> Body:
        """Return the body when the recogniser finds nothing more in it."""
        while edits := self._edits(Block.of(body, self.machine)):
            body = edited(body, edits)
        return body

    def _edits(self, block: Block) -> Edits:
        edits: dict[Node, Sequence[Node]] = {}
        for node in block.body.nodes:
            found = None if node in edits else self.recogniser(node, block)
            if found is None:
                continue
            more = found if isinstance(found, Mapping) else {node: found}
            if edits.keys().isdisjoint(more) and is_whole(edited(block.body, {**edits, **more})):
                edits.update(more)
        return edits


def edited(body: Body, edits: Edits, **changes: object) -> Body:
    """Return a body with edits made, and other changes to its fields; the same one without any."""
    if not edits and not changes:
        return body
    nodes = [each for node in body.nodes for each in edits.get(node, (node,))]
    changed = replace(body, nodes=tuple(nodes), **changes)  # type: ignore[arg-type]
    kept = _live(changed.nodes, (*values(changed.outputs), *changed.exits.values()))
    return replace(changed, nodes=tuple(kept))


def is_whole(body: Body) -> bool:
    """Say whether all that nodes read is still there."""
    known = {*values(tuple(body.ports.values()))}
    for node in body.nodes:
        if not known.issuperset(values(node.args)):
            return False
        known.update(node.results)
    return known.issuperset((*values(body.outputs), *body.exits.values()))


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
    defaults = {each.name.lstrip("*"): cast(Arg, each.default) for each in row.parameters}
    args = {name: given.get(name, default) for name, default in defaults.items()}
    if results is None:
        results = tuple(Value(op, type_, source.spans) for type_ in row.infer(args))
    return Node(op, args, results, train=source.train, spans=source.spans)

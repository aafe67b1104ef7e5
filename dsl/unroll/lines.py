"""Nodes as lines of text, to compare bodies by: with the names of the spec, or by number alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

from attnc.dsl import tree
from attnc.dsl.expression_printer import expression_text
from attnc.dsl.graph import Arg, Body, Node, Value
from attnc.dsl.liveness import values
from attnc.dsl.unroll.attend import attend_call
from attnc.dsl.unroll.calls import indexed, labelled, row_call, weight_call
from attnc.dsl.unroll.notation import Called, argument, call, name

Outputs = Mapping[str, Value]
"""The outputs of a model by name; none for a block, whose results have no names."""


def named_lines(body: Body, outputs: Outputs | None = None) -> list[str]:
    """Return a line for each port, node and result, which stay when other nodes come or go.

    Tensors are called what the spec calls them, several perhaps the same.
    """
    return _Lines(_AsTheSpec(), lambda node: cast(Body, node.body).name).of(body, outputs)


def numbered_lines(body: Body, outputs: Outputs | None = None) -> list[str]:
    """Return the same lines for all bodies that compute the same, and for no others.

    Tensors are numbered in order. What called blocks are named, and what they compute, is left out.
    """
    numbers: dict[Value, str] = {}
    made = [*values(tuple(body.ports.values()))]
    made += [result for node in body.nodes for result in node.results]
    for value in made:
        numbers[value] = f"t{len(numbers)}"
    return _Lines(numbers, lambda node: "block").of(body, outputs)


class _AsTheSpec(Mapping[Value, str]):
    """Calls every tensor what the spec calls it."""

    def __getitem__(self, value: Value) -> str:
        return value.name

    def __iter__(self) -> Iterator[Value]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _Lines:
    """Writes bodies.

    Attributes:
        called: what tensors are called.
        block: what the block that a node calls is called.
    """

    def __init__(self, called: Called, block: Callable[[Node], str]) -> None:
        self.called, self.block = called, block
        self.writers: Mapping[str, Callable[[Node], tree.Expr]] = {
            "attend": lambda node: attend_call(node, called, {}),
            "block": self.call,
            "param": weight_call,
            "slice_update": self.update,
            "weight": lambda node: name("weight"),
        }

    def of(self, body: Body, outputs: Outputs | None) -> list[str]:
        ports = [
            f"{self.port(word, value, outputs)}: {value.type}"
            for word, port in body.ports.items()
            for value in values(port)
        ]
        nodes = map(self.node, body.nodes)
        exits = [f"exit {word} = {self.called[value]}" for word, value in body.exits.items()]
        given = {} if outputs is None else outputs
        results = [f"output {word} = {self.called[value]}" for word, value in given.items()]
        if outputs is None:
            results = [f"return {', '.join(self.called[each] for each in values(body.outputs))}"]
        return [*ports, *nodes, *exits, *results]

    def port(self, word: str, value: Value, outputs: Outputs | None) -> str:
        """Inputs of a model are told apart by name, ports of a block by their order."""
        return f"input {word}" if outputs is not None else self.called[value]

    def node(self, node: Node) -> str:
        writer = self.writers.get(node.op)
        value = row_call(node, self.called) if writer is None else writer(node)
        targets = ", ".join(self.called[result] for result in node.results)
        types = ", ".join(str(result.type) for result in node.results)
        mode = "when train: " if node.train else ""
        return f"{mode}{targets} = {expression_text(labelled(value, node.module))}  # {types}"

    def call(self, node: Node) -> tree.Expr:
        ports = cast(tuple[Arg, ...], node.args["ports"])
        given = [argument(each, self.called) for each in ports if each is not None]
        return call(self.block(node), given)

    def update(self, node: Node) -> tree.Expr:
        target = indexed(name(self.called[cast(Value, node.args["x"])]), node.args["spec"])
        return call("slice_update", [target, argument(node.args["value"], self.called)])

"""Nodes as lines of text that do not change when other nodes come or go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

from attnc.dsl import tree
from attnc.dsl.expression_printer import expression_text
from attnc.dsl.graph import Arg, Body, Node, Value
from attnc.dsl.liveness import values
from attnc.dsl.unroll.attend import attend_call
from attnc.dsl.unroll.calls import indexed, labelled, row_call, weight_call
from attnc.dsl.unroll.notation import HERE, argument, call, name


class _AsTheSpec(Mapping[Value, str]):
    """Calls every tensor what the spec calls it, though several may be called so."""

    def __getitem__(self, value: Value) -> str:
        return value.name

    def __iter__(self) -> Iterator[Value]:
        return iter(())

    def __len__(self) -> int:
        return 0


CALLED = _AsTheSpec()


def body_lines(body: Body) -> list[str]:
    """Return a line for each port, node, exit and result of a body."""
    ports = [f"{word}: {each.type}" for word, port in body.ports.items() for each in values(port)]
    exits = [f"exit {word} = {value.name}" for word, value in body.exits.items()]
    results = ", ".join(value.name for value in values(body.outputs))
    return [*ports, *map(node_line, body.nodes), *exits, f"return {results}"]


def node_line(node: Node) -> str:
    """Return `x = linear(y, 384) @fc1  # [b, n, 384]`."""
    writer = _WRITERS.get(node.op)
    value = _row(node) if writer is None else writer(node)
    targets = ", ".join(result.name for result in node.results)
    types = ", ".join(str(result.type) for result in node.results)
    mode = "when train: " if node.train else ""
    return f"{mode}{targets} = {expression_text(value)}  # {types}"


def _row(node: Node) -> tree.Expr:
    return labelled(row_call(node, CALLED), node.module)


def _block(node: Node) -> tree.Expr:
    body = cast(Body, node.body)
    ports = cast(tuple[Arg, ...], node.args["ports"])
    given = [argument(each, CALLED) for each in ports if each is not None]
    return labelled(call(body.name, given), node.module)


def _update(node: Node) -> tree.Expr:
    target = indexed(name(cast(Value, node.args["x"]).name), node.args["spec"])
    return call("slice_update", [target, argument(node.args["value"], CALLED)])


def _read(node: Node) -> tree.Expr:
    path, _, weight = cast(str, node.module).rpartition(".")
    return tree.Attribute(name(path), weight, HERE)


_WRITERS: Mapping[str, Callable[[Node], tree.Expr]] = {
    "attend": lambda node: attend_call(node, CALLED, {}),
    "block": _block,
    "param": lambda node: labelled(weight_call(node), node.module),
    "slice_update": _update,
    "weight": _read,
}

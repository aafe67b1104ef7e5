"""Nothing computed in vain: every value must reach an output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attnc.dsl import codes
from attnc.dsl.diagnostics import Collector
from attnc.dsl.graph import Arg, Body, Node, Value


def check_used(body: Body, collector: Collector) -> None:
    """Report every node of a body whose results nothing uses, and every port never read."""
    used: set[Value] = {*values(body.outputs), *body.exits.values()}
    for node in body.nodes:
        used.update(values(node.args))
    for node in body.nodes:
        if node.op != "weight" and used.isdisjoint(node.results):
            result = node.results[0]
            has_name = result.name != _called(node)
            what = f"'{result.name}'" if has_name else f"the result of {result.name}"
            collector.add(codes.UNUSED_OUTPUT.at(result.spans[-1], what=what))
    for name, port in body.ports.items():
        leaves = [*values(port)]
        if leaves and used.isdisjoint(leaves) and leaves[0].spans:
            collector.add(codes.UNUSED_OUTPUT.at(
                leaves[0].spans[-1], what=f"input '{name}'", hint="use it, or remove it"
            ))  # fmt: skip


def _called(node: Node) -> str:
    """Return what the results of a node are called where the spec gives them no name."""
    return node.body.name if node.op == "block" and node.body else node.op


def values(arg: Arg) -> Iterator[Value]:
    """Yield the tensors inside an argument, however nested."""
    if isinstance(arg, Value):
        yield arg
    elif isinstance(arg, tuple):
        for item in arg:
            yield from values(item)
    elif isinstance(arg, Mapping):
        for item in arg.values():
            yield from values(item)

"""Calls of blocks without weights, as nodes that stand in the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from attnc.dsl.graph import Arg, Node, Value


def opened(node: Node) -> tuple[Node, ...]:
    """Return the nodes of a called block, the last of them computing the result of the call.

    Nothing where the block has weights, calls blocks itself, or gives more than a tensor.
    """
    body = node.body
    if body is None or not isinstance(body.outputs, Value) or body.exits or not body.nodes:
        return ()
    if any(each.module is not None or each.body is not None or each.train for each in body.nodes):
        return ()
    ports, given = body.ports.values(), cast(tuple[Arg, ...], node.args["ports"])
    known = {
        port: arg
        for port, arg in zip(ports, given, strict=True)
        if isinstance(port, Value) and isinstance(arg, Value)
    }
    if len(known) < sum(port is not None for port in ports):
        return ()
    (result,) = node.results
    made = []
    for each in body.nodes:
        results = tuple(result if x is body.outputs else replace(x) for x in each.results)
        args = {name: _within(arg, known) for name, arg in each.args.items()}
        made.append(replace(each, args=args, results=results))
        known.update(zip(each.results, results, strict=True))
    return tuple(made) if any(result in each.results for each in made) else ()


def _within(arg: Arg, known: Mapping[Value, Value]) -> Arg:
    """Return an argument with other tensors in it."""
    if isinstance(arg, Value):
        return known[arg]
    if isinstance(arg, tuple):
        return tuple(_within(each, known) for each in arg)
    if isinstance(arg, Mapping):
        return {name: _within(each, known) for name, each in arg.items()}
    return arg

"""The state dict of a checked graph: names and shapes of all weights, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Union, cast

from attnc.dsl import codes
from attnc.dsl.diagnostics import SpecError
from attnc.dsl.graph import Body, Graph, Node, Weight
from attnc.dsl.initial import parse_initial
from attnc.dsl.ops import TABLE

State = dict[str, Weight]

_Tree = dict[str, Union[Weight, State, "_Tree"]]
"""Sub-modules and weights by name; a finished `State` stands for a sub-module as a whole."""


def weights(graph: Graph) -> State:
    """Return every weight and buffer by its name in the state dict, in the order of torch.

    Of each module come first the parameters, then the buffers, then the sub-modules, each in
    the order of their first use. Shared weights stand there once.

    Raises:
        SpecError: an instance is called with shapes that need different weights (E302).
    """
    return body_weights(graph.body)


def parameter_count(graph: Graph) -> int:
    """Return the number of trained elements; shared weights count once."""
    return sum(prod(each.shape) for each in weights(graph).values() if each.trainable)


def body_weights(top: Body) -> State:
    """Return the weights of one body and all that it calls; see `weights`."""
    done: dict[Body, State] = {}
    for body in bottom_up(top):
        tree: _Tree = {}
        for node in body.nodes:
            if node.module is not None and node.op != "weight":
                _place(tree, node, _node_state(node, done))
        done[body] = dict(_flat(tree))
    return done[top]


def bottom_up(top: Body) -> Iterator[Body]:
    """Yield each distinct body once, after all bodies that it calls."""
    seen = {top}
    stack = [(top, top.calls())]
    while stack:
        body, calls = stack[-1]
        called = next((cast(Body, node.body) for node in calls if node.body not in seen), None)
        if called is None:
            yield body
            stack.pop()
        else:
            seen.add(called)
            stack.append((called, called.calls()))


def _node_state(node: Node, done: Mapping[Body, State]) -> State | Weight:
    if node.op == "param":
        return weight_of(node)
    if node.body is not None:
        return done[node.body]
    return dict(_parameters_first(TABLE[node.op].weights(node.args)))


def weight_of(node: Node) -> Weight:
    """Return the weight that a `param` node declares.

    Raises:
        SpecError: its init is no rule for initial values (E205).
    """
    try:
        parse_initial(str(node.args["init"]))
    except ValueError as wrong:
        span = node.spans[-1] if node.spans else None
        raise SpecError([codes.ARGUMENT.at(span, op="param", detail=str(wrong))]) from None
    shape = cast(tuple[int, ...], node.args["shape"])
    trainable = cast(bool, node.args.get("trainable", True))
    return Weight(shape, str(node.args["init"]), trainable, node.results[0].type.dtype)


def _place(tree: _Tree, node: Node, state: State | Weight) -> None:
    *containers, name = cast(str, node.module).split(".")
    for container in containers:
        tree = cast(_Tree, tree.setdefault(container, {}))
    if isinstance(state, Weight):
        tree.setdefault(name, state)
        return
    known = cast(State, tree.setdefault(name, {}))
    for key, weight in state.items():
        if known.setdefault(key, weight) != weight:
            span = node.spans[-1] if node.spans else None
            first, second = list(known[key].shape), list(weight.shape)
            path = f"{node.module}.{key}"
            raise SpecError([codes.INSTANCE.at(span, path=path, first=first, second=second)])


def _flat(tree: _Tree) -> Iterator[tuple[str, Weight]]:
    own = {name: each for name, each in tree.items() if isinstance(each, Weight)}
    yield from _parameters_first(own)
    for name, part in tree.items():
        if not isinstance(part, Weight):
            for inner, weight in _flat(cast(_Tree, part)):
                yield f"{name}.{inner}", weight


def _parameters_first(state: Mapping[str, Weight]) -> list[tuple[str, Weight]]:
    return sorted(state.items(), key=lambda item: not item[1].trainable)

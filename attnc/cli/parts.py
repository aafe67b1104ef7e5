"""The parts of a model: shapes, parameters, FLOPs; equal repeats count as one part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from attnc.compiler.cost import Flops, node_flops
from attnc.dsl.graph import Body, Graph, Node, Value
from attnc.dsl.ops import TABLE
from attnc.dsl.spans import Span
from attnc.dsl.state import body_weights, bottom_up, weight_of

LAST_NUMBER = re.compile(r"((?:.*\.)?)(\d+)((?:\.[^.\d][^.]*)*)")
"""What stands before, is, and stands after the last number of a path: the 3 of `blocks.3.attn`."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a body, or several equal ones.

    Attributes:
        path: of its module below the body, with `{}` for the last number; the name of the result
            where there is no module.
        numbers: the last numbers of the parts that it stands for; empty where there is none.
        kind: a block's name, an operator, or `param`.
        inputs, outputs: the types of its tensors.
        params: elements that one of them trains.
        flops: of one of them, for one call in evaluation mode.
        span: where it stands.
        body: what it consists of, where it is a block.
    """

    path: str
    numbers: tuple[int, ...]
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: int
    flops: Flops
    span: Span | None
    body: Body | None

    @property
    def name(self) -> str:
        """The path with all numbers: `blocks.0-11`."""
        return self.path.replace("{}", _ranges(self.numbers))

    @property
    def count(self) -> int:
        """How many parts this one stands for."""
        return max(len(self.numbers), 1)


class Summary:
    """Parts and costs of every body of a graph.

    Raises:
        SpecError: an instance is called with shapes that need different weights.
    """

    def __init__(self, graph: Graph) -> None:
        self._flops: dict[Body, Flops] = {}
        for body in bottom_up(graph.body):
            counted = (node_flops(node, self._flops) for node in body.nodes if not node.train)
            self._flops[body] = sum(counted, start=Flops())

    def flops(self, body: Body) -> Flops:
        """Return the FLOPs of one call of a body."""
        return self._flops[body]

    def params(self, body: Body) -> int:
        """Return the number of elements that a body trains; shared weights count once."""
        return sum(prod(each.shape) for each in body_weights(body).values() if each.trainable)

    def parts(self, body: Body) -> list[Part]:
        """Return the parts of a body that are blocks or have weights, or attend."""
        merged: dict[tuple[object, ...], Part] = {}
        for part in self._singles(body):
            key = (part.path, part.kind, part.inputs, part.outputs, part.params, str(part.flops))
            if known := merged.get(key):
                part = replace(known, numbers=known.numbers + part.numbers)
            merged[key] = part
        return list(merged.values())

    def _singles(self, body: Body) -> Iterator[Part]:
        for node in body.nodes:
            if node.op == "weight" or not (node.module or node.body or node.op == "attend"):
                continue
            path, numbers = _numbered(node.module or node.results[0].name)
            yield Part(
                path, numbers, node.body.name if node.body else node.op,
                tuple(str(value.type) for value in _tensors(list(node.args.values()))),
                tuple(str(value.type) for value in node.results),
                self._params(node), node_flops(node, self._flops),
                node.spans[-1] if node.spans else None, node.body,
            )  # fmt: skip

    def _params(self, node: Node) -> int:
        if node.body is not None:
            return self.params(node.body)
        if node.op == "param":
            weights = [weight_of(node)]
        elif node.op == "attend":
            return 0
        else:
            weights = [*TABLE[node.op].weights(node.args).values()]
        return sum(prod(each.shape) for each in weights if each.trainable)


def _tensors(args: Sequence[object]) -> Iterator[Value]:
    for arg in args:
        if isinstance(arg, Value):
            yield arg
        elif isinstance(arg, (tuple, list)):
            yield from _tensors(arg)
        elif isinstance(arg, Mapping):
            yield from _tensors(list(arg.values()))


def _numbered(path: str) -> tuple[str, tuple[int, ...]]:
    """Take the last number out of a path: `blocks.3.attn` gives `blocks.{}.attn` and 3."""
    found = LAST_NUMBER.fullmatch(path)
    return (f"{found[1]}{{}}{found[3]}", (int(found[2]),)) if found else (path, ())


def _ranges(numbers: Sequence[int]) -> str:
    """Write 0, 1, 2, 5 as `0-2,5`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)

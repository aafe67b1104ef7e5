"""The table of a model's parts: shapes, parameters, FLOPs; equal repeats in one row.

FLOPs are those of one forward pass in evaluation mode: a multiply-add counts two, attention counts
all pairs, masked or not, as torch.utils.flop_counter does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import cast

from attnc.dsl.dims import Size
from attnc.dsl.graph import Arg, Body, Graph, Node, Value
from attnc.dsl.ops import TABLE
from attnc.dsl.spans import Span
from attnc.dsl.state import body_weights, bottom_up, weight_of


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a body, or several equal ones.

    Attributes:
        path: of its module below the body, with `{}` for the number of the repeat; the name of
            its result where it has no weights.
        numbers: the repeats that it stands for; empty where there is no number.
        kind: a block's name, an operator, or `param`.
        inputs, outputs: the types of its tensors.
        params: elements that one of them trains.
        flops: of one of them, for one call.
        span: where it stands.
        body: what it consists of, where it is a block.
    """

    path: str
    numbers: tuple[int, ...]
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: int
    flops: Size
    span: Span | None
    body: Body | None

    @property
    def name(self) -> str:
        """The path with its numbers: `blocks.0-11`."""
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
        self._flops: dict[Body, Size] = {}
        for body in bottom_up(graph.body):
            self._flops[body] = self._sum(body.nodes)

    def flops(self, body: Body) -> Size:
        """Return the FLOPs of one call of a body."""
        return self._flops[body]

    def params(self, body: Body) -> int:
        """Return the number of elements that a body trains; shared weights count once."""
        return sum(prod(each.shape) for each in body_weights(body).values() if each.trainable)

    def parts(self, body: Body) -> list[Part]:
        """Return the parts of a body that are blocks or have weights, or attend."""
        merged: dict[tuple[object, ...], Part] = {}
        for part in self._singles(body):
            key = (part.path, part.kind, part.inputs, part.outputs, part.params, part.flops)
            known = merged.get(key)
            numbers = (known.numbers if known else ()) + part.numbers
            merged[key] = replace(known or part, numbers=numbers)
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
                self._params(node), self._cost(node),
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

    def _sum(self, nodes: Sequence[Node]) -> Size:
        total: Size = 0
        for node in nodes:
            if not node.train:
                total = total + self._cost(node)
        return total

    def _cost(self, node: Node) -> Size:
        if node.body is not None:
            return self._flops[node.body]
        if node.op == "attend":
            return _attend_flops(node.args)
        row = TABLE.get(node.op)
        return row.flops(node.args, node.results) if row else 0


def _attend_flops(args: Mapping[str, Arg]) -> Size:
    """q: [b, h, n, d]; k: [b, hk, m, d], v: [b, hk, m, e] of each source."""
    b, h, n, d = cast(Value, args["q"]).shape
    total: Size = 0
    for key, value in cast(tuple[tuple[Value, Value], ...], args["sources"]):
        m, e = key.shape[2], value.shape[3]
        total = total + 2 * b * h * n * m * (d + e)
    return total


def _tensors(args: Sequence[object]) -> Iterator[Value]:
    for arg in args:
        if isinstance(arg, Value):
            yield arg
        elif isinstance(arg, (tuple, list)):
            yield from _tensors(arg)
        elif isinstance(arg, Mapping):
            yield from _tensors(list(arg.values()))


def _numbered(path: str) -> tuple[str, tuple[int, ...]]:
    """Split the first number off a path: `blocks.3.attn` gives `blocks.{}.attn` and 3."""
    steps = path.split(".")
    for at, step in enumerate(steps):
        if step.isdecimal():
            return ".".join([*steps[:at], "{}", *steps[at + 1 :]]), (int(step),)
    return path, ()


def _ranges(numbers: Sequence[int]) -> str:
    """Write 0, 1, 2, 5 as `0-2,5`."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)

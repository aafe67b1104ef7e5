"""What a block returns: a tensor, a tuple, or a dict with early exits and results of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import cast

from torch import fx
from torch.fx.node import Argument

from attnc.compiler.emit.code import (
    Assign,
    Binary,
    DictOf,
    Expr,
    If,
    Index,
    Name,
    Ref,
    Return,
    Statement,
    fixed,
)
from attnc.compiler.emit.expressions import argument
from attnc.compiler.emit.flow import Line
from attnc.compiler.emit.origins import origin
from attnc.dsl.graph import Body


class Outputs:
    """The results of one block.

    Attributes:
        value: the argument of the output node.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        (node,) = module.graph.find_nodes(op="output")
        self.value = cast(Argument, node.args[0])
        self.body = cast(Body | None, module.meta.get("body"))

    @property
    def items(self) -> list[tuple[str, Argument]]:
        """The results with their names, which are empty unless it is a dict."""
        if isinstance(self.value, dict):
            return list(self.value.items())
        if isinstance(self.value, (tuple, list)):
            return [("", each) for each in self.value]
        return [("", self.value)]

    @property
    def annotation(self) -> str:
        """The type that `forward` returns."""
        return _annotation(self.value)

    @cached_property
    def late(self) -> Mapping[str, str]:
        """The results that exist in training only: name -> node."""
        named = {name: node for name, node in self.items if name and isinstance(node, fx.Node)}
        return {name: node.name for name, node in named.items() if origin(node).train}

    @cached_property
    def exits(self) -> Mapping[str, str]:
        """The early exits: node -> name."""
        known = self.body.exits if self.body else {}
        return {
            node.name: name
            for name, node in self.items
            if name in known and isinstance(node, fx.Node)
        }

    def expressions(self) -> tuple[Expr, ...]:
        """Return what is returned, then each result of training."""
        if not self.late:
            return (argument(self.value),)
        always = {name: value for name, value in self.items if name not in self.late}
        return (argument(always), *map(Ref, self.late.values()))

    def with_exits(self, lines: Sequence[Line]) -> Iterator[Line]:
        """Yield lines, with a return behind each value that is an early exit."""
        for line in lines:
            yield line
            targets = line.statement.targets if isinstance(line.statement, Assign) else ()
            for target in targets:
                if isinstance(target, Ref) and target.node in self.exits:
                    yield Line(_cut(self.exits[target.node], target), line.train)

    def last_lines(self, result: Expr) -> Iterator[Line]:
        """Yield the lines that return the result, with what training adds to it."""
        if not self.late:
            yield Line(Return(result))
            return
        outputs = Name("outputs")
        yield Line(Assign((outputs,), result))
        for name, node in self.late.items():
            yield Line(Assign((Index(outputs, (fixed(name),)),), Ref(node)), train=True)
        yield Line(Return(outputs))


def _cut(name: str, value: Expr) -> Statement:
    chosen = Binary("==", Name("until"), fixed(name))
    return If(chosen, (Return(DictOf(((name, value),))),))


def _annotation(value: Argument) -> str:
    if isinstance(value, dict):
        return "dict[str, Tensor]"
    if isinstance(value, (tuple, list)):
        return f"tuple[{', '.join(map(_annotation, value))}]"
    return "Tensor"

"""One lowered block to the code of one class, with its numbers still in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Union, cast

from torch import fx

from attnc.compiler.constants import constants_of, merged
from attnc.compiler.emit.code import (
    Attribute,
    Call,
    Do,
    If,
    ListOf,
    Literal,
    Statement,
)
from attnc.compiler.emit.construction import statements
from attnc.compiler.emit.expressions import argument
from attnc.compiler.emit.flow import ROOM, Flow, Line
from attnc.compiler.emit.holdings import Construct, holdings
from attnc.compiler.emit.loops import Roller
from attnc.compiler.emit.members import SELF, Folder, Member, lists
from attnc.compiler.emit.naming import Names, class_name, identifier
from attnc.compiler.emit.origins import origin, shape_note
from attnc.compiler.emit.outputs import Outputs
from attnc.compiler.emit.steps import Kernels, Steps
from attnc.dsl.graph import Body

Scalar = Union[int, float, bool, str]
Result = tuple[str, Union[ListOf, None]]
"""The name of a result, which may be empty, and its shape."""

TRAINING = Attribute(SELF, "training")


@dataclass(frozen=True, slots=True)
class Port:
    """A parameter of `forward`."""

    name: str
    annotation: str
    shape: ListOf | None


@dataclass(frozen=True, slots=True)
class ClassCode:
    """The code of a class.

    Attributes:
        body: the block it computes.
        ports: the parameters of `forward`.
        returns: the annotation of its result.
        tables: names of buffers, for annotations.
        settings: what the block calls the numbers it was elaborated for.
        exits: names of early exits.
    """

    body: Body
    ports: tuple[Port, ...]
    returns: str
    results: tuple[Result, ...]
    init: tuple[Statement, ...]
    forward: tuple[Statement, ...]
    tables: tuple[str, ...]
    settings: Mapping[str, Scalar]
    exits: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The class's name, if no other class takes it."""
        return class_name(self.body.name)


class ClassReader:
    """Reads one graph module.

    Attributes:
        reserved: names of the file, which variables keep clear of.
        room: columns that a value may take before its parts get lines of their own.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        construct: Construct,
        kernels: Kernels,
        reserved: frozenset[str],
        room: int = ROOM,
    ) -> None:
        self.body = cast(Body, module.meta["body"])
        self.kernels, self.reserved, self.room = kernels, reserved, room
        self.constants = constants_of(module)
        self.root = holdings(module, construct)
        self.outputs = Outputs(module)
        self.steps = Steps(module, self.root, kernels, self.outputs.exits)

    def read(self) -> ClassCode:
        """Return the class."""
        parameters, forward = self._forward()
        return ClassCode(
            self.body,
            tuple(map(self._port, self.steps.ports.ports, parameters)),
            self.outputs.annotation,
            tuple(self._results()),
            (*self._tables(), *statements(self.root)),
            forward,
            (*self.constants, *self._buffers()),
            settings(self.body),
            tuple(self.outputs.exits.values()),
        )

    def _port(self, node: fx.Node, name: str) -> Port:
        about = origin(node)
        annotation = "Tensor" if about.types or about.names else "tuple[Tensor, ...]"
        shape = shape_note(node, self.body)
        return Port(name, "int" if about.size is not None else annotation, shape)

    def _results(self) -> Iterator[Result]:
        for name, value in self.outputs.items:
            yield name, shape_note(value, self.body) if isinstance(value, fx.Node) else None

    def _buffers(self) -> Iterator[str]:
        for name, entry in self.root.entries.items():
            if isinstance(entry, Member) and entry.kind == "buffer":
                yield name

    def _tables(self) -> Iterator[Statement]:
        """Yield the statements of `__init__` that compute constants."""
        constants = merged(self.constants.values())
        steps = Steps(constants, Folder(), self.kernels, {})
        results = tuple(argument(value) for _, value in Outputs(constants).items)
        flow = Flow(steps.all(), results, self.room)
        names = Names(steps.wishes, self.reserved | set(settings(self.body)))
        keywords = (("persistent", Literal(False)),)
        register = Attribute(SELF, "register_buffer")
        last = [
            Line(Do(Call(register, (Literal(name), value), keywords)))
            for name, value in zip(self.constants, flow.results, strict=True)
        ]
        yield from (line.statement for line in names.apply((), [*flow.lines, *last])[1])

    def _forward(self) -> tuple[list[str], tuple[Statement, ...]]:
        """Return the names of the parameters, and the statements."""
        ports, outputs = self.steps.ports, self.outputs
        flow = Flow(self.steps.all(), outputs.expressions(), self.room)
        lines = [
            *ports.lines(),
            *outputs.with_exits(flow.lines),
            *outputs.last_lines(flow.results[0]),
        ]
        names = Names(self.steps.wishes, self.reserved, ports.is_steady)
        parameters, named = names.apply([node.name for node in ports.ports], lines)
        roller = Roller(dict(lists(self.root)), names.used | self.reserved)
        return parameters, roller.roll(tuple(_by_mode(named)))


def _by_mode(lines: list[Line]) -> Iterator[Statement]:
    """Yield the statements, those of training mode under `if self.training`."""
    for train, group in groupby(lines, lambda line: line.train):
        statements = tuple(line.statement for line in group)
        yield from (If(TRAINING, statements),) if train else statements


def settings(body: Body) -> Mapping[str, Scalar]:
    """Return the numbers and words that a block was elaborated for, sizes first."""
    known = {identifier(name): value for name, value in {**body.dims, **body.arguments}.items()}
    return {n: value for n, value in known.items() if isinstance(value, (int, float, bool, str))}

"""One lowered block to the code of one class, with its numbers still in place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Union, cast

from torch import fx, nn
from torch.fx.node import Argument

from attnc.compiler.constants import constants_of
from attnc.compiler.emit import members
from attnc.compiler.emit.code import (
    Assign,
    Attribute,
    Binary,
    Call,
    DictOf,
    Do,
    Expr,
    If,
    Index,
    ListOf,
    Literal,
    Name,
    Ref,
    Return,
    Statement,
    fixed,
    rewrite,
)
from attnc.compiler.emit.expressions import argument
from attnc.compiler.emit.flow import ROOM, Flow, Line
from attnc.compiler.emit.initial import weight
from attnc.compiler.emit.loops import Roller
from attnc.compiler.emit.members import Folder, Member
from attnc.compiler.emit.naming import Names, class_name, identifier
from attnc.compiler.emit.reader import read_expression
from attnc.compiler.emit.steps import Kernels, Steps, origin, said_of
from attnc.compiler.leaf import Attend
from attnc.dsl.graph import Body, Weight

Scalar = Union[int, float, bool, str]
Construct = Callable[[fx.GraphModule, Union[Expr, None]], Call]
"""Gives the constructor call of an instance, for the expression of the spec that asks for it."""

TRAINING = Attribute(Name("self"), "training")


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
        tables: names of buffers, for annotations.
        settings: what the block calls the numbers it was elaborated for.
        exits: names of early exits.
    """

    body: Body
    ports: tuple[Port, ...]
    returns: str
    results: tuple[tuple[str, ListOf | None], ...]
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
        construct: for the blocks inside.
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
        self.room = room
        self.module, self.construct, self.kernels = module, construct, kernels
        self.reserved = reserved
        self.body = cast(Body, module.meta["body"])
        self.constants = constants_of(module)
        self.root = self._root()
        self.output = _output(module)
        self.steps = Steps(module, self.root, kernels, self._exits())

    def read(self) -> ClassCode:
        """Return the class."""
        parameters, forward = self._forward()
        annotations = [_annotation(node) for node in self.steps.ports]
        shapes = [self._shape(node) for node in self.steps.ports]
        ports = tuple(map(Port, parameters, annotations, shapes))
        init = (*self._tables(), *members.statements(self.root))
        return ClassCode(
            self.body,
            ports,
            _returned(self.output),
            tuple(self._results()),
            init,
            forward,
            tuple(self.constants) + tuple(self._buffers()),
            _settings(self.body),
            tuple(self._exits().values()),
        )

    # Members ----------------------------------------------------------------------------

    def _root(self) -> Folder:
        """Collect what the block holds, but for constants and attention nodes."""
        root = Folder()
        declared = cast(Mapping[str, Weight], self.module.meta.get("weights", {}))
        sites = self._first_uses()
        for path, part in _parts(self.module):
            if part is None:
                root.add(path, weight(declared[path], sites.get(path)))
            else:
                root.add(path, Member(self._constructor(part, sites.get(path))))
        return root

    def _constructor(self, part: nn.Module, said: Expr | None) -> Expr:
        if isinstance(part, fx.GraphModule):
            return self.construct(part, said)
        return _from(read_expression(str(part.attnc_source)), said)

    def _first_uses(self) -> dict[str, Expr | None]:
        uses: dict[str, Expr | None] = {}
        for node in self.module.graph.nodes:
            if node.op in ("call_module", "get_attr"):
                uses.setdefault(str(node.target), said_of(node))
        return uses

    def _buffers(self) -> Iterator[str]:
        for name, entry in self.root.entries.items():
            if isinstance(entry, Member) and entry.kind == "buffer":
                yield name

    def _tables(self) -> Iterator[Statement]:
        """Yield the statements of `__init__` that compute constants."""
        names = Names({}, self.reserved | set(_settings(self.body)))
        for name, constant in self.constants.items():
            steps = Steps(constant, Folder(), self.kernels, {})
            flow = Flow(steps.all(), (argument(_output(constant)),), self.room)
            names.wishes.update(steps.wishes)
            register = Attribute(Name("self"), "register_buffer")
            keywords = (("persistent", Literal(False)),)
            last = Line(Do(Call(register, (Literal(name), *flow.results), keywords)))
            yield from (line.statement for line in names.apply((), [*flow.lines, last])[1])

    # Forward ----------------------------------------------------------------------------

    def _forward(self) -> tuple[list[str], tuple[Statement, ...]]:
        """Return the names of the parameters, and the statements."""
        late = self._late()
        result = argument(self.output if not late else self._early())
        flow = Flow(self.steps.all(), (result, *map(Ref, late.values())), self.room)
        lines = [*self._sizes(), *self._with_exits(flow.lines), *_last(flow.results[0], late)]
        names = Names(self.steps.wishes, self.reserved, self.steps.is_steady)
        parameters, named = names.apply([node.name for node in self.steps.ports], lines)
        statements = [
            statement
            for train, group in groupby(named, lambda line: line.train)
            for statement in _under(train, tuple(line.statement for line in group))
        ]
        roller = Roller(dict(members.lists(self.root)), names.used | self.reserved)
        return parameters, roller.roll(statements)

    def _late(self) -> dict[str, str]:
        """Return the outputs that exist in training only, by name."""
        if not isinstance(self.output, dict):
            return {}
        return {
            name: node.name
            for name, node in self.output.items()
            if isinstance(node, fx.Node) and origin(node).train
        }

    def _early(self) -> dict[str, Argument]:
        late = self._late()
        outputs = cast(dict[str, Argument], self.output)
        return {name: node for name, node in outputs.items() if name not in late}

    def _exits(self) -> dict[str, str]:
        """Return the early exits: node -> name."""
        if not isinstance(self.output, dict):
            return {}
        return {
            node.name: name
            for name, node in self.output.items()
            if name in self.body.exits and isinstance(node, fx.Node)
        }

    def _with_exits(self, lines: Sequence[Line]) -> Iterator[Line]:
        cuts = self._exits()
        for line in lines:
            yield line
            targets = line.statement.targets if isinstance(line.statement, Assign) else ()
            for target in targets:
                if isinstance(target, Ref) and target.node in cuts:
                    yield Line(_cut(cuts[target.node], target), line.train)

    def _sizes(self) -> Iterator[Line]:
        """Yield the reads of sizes that come first, those of one port together."""
        axes: dict[fx.Node, dict[int, str]] = defaultdict(dict)
        for node, (port, axis) in self.steps.hoisted.items():
            axes[port].setdefault(axis, node.name)
        for port, wanted in axes.items():
            shape = Attribute(Ref(port.name), "shape")
            if len(wanted) == 1:
                ((axis, name),) = wanted.items()
                yield Line(Assign((Ref(name),), Index(shape, (fixed(axis),))))
                continue
            rank = len(origin(port).types[0].shape)
            names = [Ref(wanted[axis]) if axis in wanted else Name("_") for axis in range(rank)]
            yield Line(Assign(tuple(names), shape, unpack=True))

    # Shapes -----------------------------------------------------------------------------

    def _shape(self, node: fx.Node) -> ListOf | None:
        types = origin(node).types
        return self.steps.shape(types[0]) if len(types) == 1 else None

    def _results(self) -> Iterator[tuple[str, ListOf | None]]:
        """Yield the name, where it has one, and the shape of each result."""
        for name, item in _results_of(self.output):
            yield name, self._shape(item) if isinstance(item, fx.Node) else None


def _parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module | None]]:
    """Yield what a block holds, in the order of its state dict; none stands for a weight."""
    for name in (*module._parameters, *module._buffers):
        if name not in module._non_persistent_buffers_set:
            yield f"{prefix}{name}", None
    for name, child in module.named_children():
        if isinstance(child, fx.GraphModule) or hasattr(child, "attnc_source"):
            yield f"{prefix}{name}", child
        elif not isinstance(child, Attend):
            yield from _parts(child, f"{prefix}{name}.")


def _output(module: fx.GraphModule) -> Argument:
    (node,) = module.graph.find_nodes(op="output")
    return cast(Argument, node.args[0])


def _results_of(output: Argument) -> list[tuple[str, Argument]]:
    if isinstance(output, dict):
        return list(output.items())
    return [("", each) for each in (output if isinstance(output, (tuple, list)) else [output])]


def _last(result: Expr, late: Mapping[str, str]) -> Iterator[Line]:
    """Yield the lines that return the result, with what training adds to it."""
    if not late:
        yield Line(Return(result))
        return
    outputs = Name("outputs")
    yield Line(Assign((outputs,), result))
    for name, node in late.items():
        yield Line(Assign((Index(outputs, (fixed(name),)),), Ref(node)), train=True)
    yield Line(Return(outputs))


def _cut(name: str, value: Expr) -> Statement:
    chosen = Binary("==", Name("until"), fixed(name))
    return If(chosen, (Return(DictOf(((name, value),))),))


def _under(train: bool, statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
    return (If(TRAINING, statements),) if train else statements


def _from(made: Expr, said: Expr | None) -> Expr:
    """Return a constructor whose numbers come from an expression of the spec."""
    spoken = dict(said.keywords) if isinstance(said, Call) else {}
    if isinstance(made, Call):
        given = tuple(_about(value, said) for value in made.arguments)
        named = [(name, _about(value, spoken.get(name, said))) for name, value in made.keywords]
        return Call(made.function, given, tuple(named))
    return made


def _about(value: Expr, said: Expr | None) -> Expr:
    def change(expr: Expr) -> Expr | None:
        return Literal(expr.value, said) if isinstance(expr, Literal) else None

    return rewrite(value, change)


def _annotation(node: fx.Node) -> str:
    about = origin(node)
    if about.size is not None:
        return "int"
    return "Tensor" if about.types or about.names else "tuple[Tensor, ...]"


def _returned(output: Argument) -> str:
    if isinstance(output, dict):
        return "dict[str, Tensor]"
    if isinstance(output, (tuple, list)):
        return f"tuple[{', '.join(map(_returned, output))}]"
    return "Tensor"


def _settings(body: Body) -> Mapping[str, Scalar]:
    """Return the numbers and words that a block was elaborated for, sizes first."""
    known = {identifier(name): value for name, value in {**body.dims, **body.arguments}.items()}
    return {n: value for n, value in known.items() if isinstance(value, (int, float, bool, str))}

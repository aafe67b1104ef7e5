"""All blocks of a model to classes: inner ones first, one class for codes that agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import fx

from attnc.compiler.emit.bodies import ClassCode, ClassReader
from attnc.compiler.emit.code import (
    Call,
    Expr,
)
from attnc.compiler.emit.declared import declared
from attnc.compiler.emit.flow import ROOM
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.emit.layout import INDENT, WIDTH, lines_of
from attnc.compiler.emit.naming import unused
from attnc.compiler.emit.unify import Class, skeleton, unify
from attnc.dsl import tree
from attnc.dsl.graph import Body

IMPORTED = frozenset({"F", "Tensor", "math", "nn", "torch"})
"""Names that model.py imports."""
_ROOMS = (ROOM, 64, 50, 36, 22)
"""Columns that a value may take, the most first."""

Definition = tuple[str, str, int]
"""Where a block is declared: its name, file and place; one for the bodies of one block."""


class Classes:
    """The classes of a model.

    Args:
        spec: whose blocks, and those of the standard library, say what shapes they take.

    Attributes:
        done: in the order of the file: what a class needs stands before it.
    """

    def __init__(self, top: fx.GraphModule, kernels: KernelFile, spec: tree.Spec) -> None:
        self.top, self.kernels, self.spec = top, kernels, spec
        self.reserved = frozenset(kernels.functions)
        self.done: list[Class] = []
        self._places: dict[int, tuple[Class, int]] = {}
        self._groups: dict[Definition, list[fx.GraphModule]] = {}
        self._collect(top, set())
        for definition in self._ordered():
            self._make(self._groups[definition])

    def _collect(self, module: fx.GraphModule, seen: set[int]) -> None:
        """Group the distinct graphs by the block that they come from, in order of use."""
        if id(module.graph) in seen:
            return
        seen.add(id(module.graph))
        self._groups.setdefault(_definition(module), []).append(module)
        for child in _children(module):
            self._collect(child, seen)

    def _ordered(self) -> list[Definition]:
        """Return the blocks, those that others hold before these."""
        order: list[Definition] = []

        def visit(definition: Definition) -> None:
            if definition in order:
                return
            for module in self._groups[definition]:
                for child in _children(module):
                    visit(_definition(child))
            order.append(definition)

        visit(_definition(self.top))
        return order

    def _make(self, modules: list[fx.GraphModule]) -> None:
        """Make the classes of one block, with shorter values until all lines fit."""
        for room in _ROOMS:
            made = list(self._classes(modules, room))
            if all(_fits(each) for each, _ in made):
                break
        for each, members in made:
            self.done.append(each)
            for position, module in enumerate(members):
                self._places[id(module.graph)] = (each, position)

    def _classes(
        self, modules: list[fx.GraphModule], room: int
    ) -> Iterator[tuple[Class, list[fx.GraphModule]]]:
        """Yield classes for graphs of one block, each with the graphs that it stands for."""
        alike: dict[object, list[tuple[fx.GraphModule, ClassCode]]] = {}
        for module in modules:
            reader = ClassReader(module, self._construct, self.kernels, self.reserved, room)
            code = reader.read()
            alike.setdefault(skeleton(code), []).append((module, code))
        taken = self.reserved | IMPORTED | {each.name for each in self.done}
        for members in alike.values():
            codes = [code for _, code in members]
            name = unused(codes[0].name, taken)
            taken |= {name}
            said = declared(codes[0].body, self.spec)
            made = unify(name, codes, said, members[0][0] is self.top)
            yield made, [module for module, _ in members]

    def _construct(self, module: fx.GraphModule, said: Expr | None) -> Call:
        made, position = self._places[id(module.graph)]
        return made.constructor(position, said)


def _fits(made: Class) -> bool:
    lines = lines_of((*made.code.init, *made.code.forward), INDENT * 2)
    return max(map(len, lines)) <= WIDTH


def _children(module: fx.GraphModule) -> Iterator[fx.GraphModule]:
    """Yield the blocks that a block holds, not those inside them."""
    stack = [*reversed([*module.children()])]
    while stack:
        child = stack.pop()
        if isinstance(child, fx.GraphModule):
            yield child
        else:
            stack += reversed([*child.children()])


def _definition(module: fx.GraphModule) -> Definition:
    body = cast(Body, module.meta["body"])
    if not body.definition:
        return body.name, "", 0
    span = body.definition[-1]
    return body.name, span.source.name, span.start

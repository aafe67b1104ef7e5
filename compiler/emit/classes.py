"""All blocks of a model to classes: inner ones first, one class for codes that agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from torch import fx

from attnc.compiler.emit.bodies import read_class
from attnc.compiler.emit.code import (
    Call,
    Expr,
)
from attnc.compiler.emit.declared import declared_flow
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.emit.naming import class_name, unused
from attnc.compiler.emit.unify import Class, skeleton, unify
from attnc.dsl import tree
from attnc.dsl.graph import Body

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
        """Make the classes of one block."""
        codes = [read_class(m, self._construct, self.kernels, self.reserved) for m in modules]
        alike: dict[object, list[int]] = {}
        for at, code in enumerate(codes):
            alike.setdefault(skeleton(code), []).append(at)
        for members in alike.values():
            taken = self.reserved | {made.name for made in self.done}
            name = unused(class_name(codes[members[0]].body.name), taken)
            alike_codes = [codes[at] for at in members]
            made = unify(name, alike_codes, modules[members[0]] is self.top)
            flow = declared_flow(alike_codes[0].body, self.spec)
            made = replace(made, flow=flow)
            self.done.append(made)
            for position, at in enumerate(members):
                self._places[id(modules[at].graph)] = (made, position)

    def _construct(self, module: fx.GraphModule, said: Expr | None) -> Call:
        made, position = self._places[id(module.graph)]
        return made.constructor(position, said)


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

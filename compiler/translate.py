"""Bodies become units: the nodes of a checked block written as FX nodes, once for each body."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from itertools import chain, count
from typing import cast

from torch import fx
from torch.fx.node import Argument

from attnc.compiler.inline import Inliner
from attnc.compiler.merge import Done, merged
from attnc.compiler.scope import Scope
from attnc.compiler.sites import operands, site_of
from attnc.compiler.template import Module, Writer
from attnc.compiler.unit import Leaf, Origin, Part, Place, Unit
from attnc.dsl import codes
from attnc.dsl.diagnostics import SpecError
from attnc.dsl.graph import Arg, Body, Graph, Node, Value
from attnc.dsl.ops import TABLE
from attnc.dsl.ops.row import Template
from attnc.dsl.state import weight_of


class Units:
    """The units of one model: each body is translated once."""

    def __init__(self) -> None:
        self._units: dict[Body, Unit] = {}
        self._merged: Done = {}

    def of(self, body: Body) -> Unit:
        """Return the unit of a block."""
        if body not in self._units:
            self._units[body] = Translator(self, body).unit(body.outputs)
        return self._units[body]

    def instances(self, body: Body) -> dict[str, Unit]:
        """Return the unit at every path that a body calls.

        Calls with different bodies share a unit as far as their code agrees; the others are
        those whose body is not among its `extras`.
        """
        shared: dict[str, tuple[Unit, ...]] = {}
        for node in body.calls():
            unit, path = self.of(called(node)), path_of(node)
            known = shared.get(path, ())
            if unit not in known and (not known or merged((*known, unit), self._merged)):
                shared[path] = (*known, unit)
        found = {path: merged(units, self._merged) for path, units in shared.items()}
        return {path: unit for path, unit in found.items() if unit is not None}


def top_unit(graph: Graph) -> Unit:
    """Return the unit of a whole model. It returns a tensor, or a dict of all outputs by name.

    Raises:
        SpecError: a size cannot be computed (E301), or a label is reserved (E303).
    """
    outputs = {**graph.outputs, **graph.body.exits}
    returned: Arg = outputs if len(outputs) > 1 else next(iter(outputs.values()))
    return Translator(Units(), graph.body, is_top=True).unit(returned)


def called(node: Node) -> Body:
    """Return the body of a `block` node."""
    return cast(Body, node.body)


def path_of(node: Node) -> str:
    """Return the path of a `block` or `param` node, or of one with weights."""
    return cast(str, node.module)


class Translator:
    """Writes one body.

    Attributes:
        scope: what nodes may refer to.
        instances: the unit at every path that the body calls.
        roots: the first names of the paths of all modules.
    """

    def __init__(self, units: Units, body: Body, is_top: bool = False) -> None:
        self.units, self.body = units, body
        self.scope = Scope(body, is_top)
        self.graph = self.scope.graph
        self.parts: dict[str, Part] = {}
        self.places: dict[Node, Place] = {}
        self.instances = units.instances(body)
        self.roots = {node.module.split(".")[0] for node in body.nodes if node.module}

    def unit(self, outputs: Arg) -> Unit:
        """Translate the body; `outputs` is what it returns."""
        for node in self.body.nodes:
            self._check_label(node)
            self._write(node)
        self.scope.returns(outputs)
        extras = {self.body: tuple(self.scope.extras)}
        return Unit(self.body, self.graph, self.parts, self.places, extras)

    def _check_label(self, node: Node) -> None:
        for label in (node.module or "").split("."):
            if label in _reserved_labels():
                span = node.spans[-1] if node.spans else None
                raise SpecError([codes.RESERVED_LABEL.at(span, name=label)])

    # Nodes ------------------------------------------------------------------------------

    def _write(self, node: Node) -> None:
        last = next(iter(reversed(self.graph.nodes)), None)
        results = _WRITERS.get(node.op, Translator._row)(self, node)
        for value, result in zip(node.results, results, strict=True):
            self.scope.values[value] = result
            result.meta.setdefault("attnc", _origin(node, value))
        for made in reversed(self.graph.nodes):
            if made is last:
                break
            made.meta.setdefault("attnc", _origin(node))

    def _row(self, node: Node) -> list[fx.Node]:
        row = TABLE[node.op]
        module, template = row.module_template(node.args), row.template(node.args)
        if module is not None:
            self.parts.setdefault(path_of(node), Leaf(_constructor(module)))
            template = template or Template("{module}(*{inputs})", module.holes)
        assert template is not None
        several = row.is_tuple or len(node.results) > 1
        hole = partial(self._hole, template.holes, node.module)
        made = Writer(self.graph, hole).write(template.text, _name(node, several))
        return self._results(node, made, several)

    def _hole(self, holes: Mapping[str, Arg], module: str | None, name: str) -> object:
        if name in holes:
            return self.scope.argument(holes[name])
        if name == "module":
            return Module(cast(str, module))
        return self.scope.like(name)

    def _param(self, node: Node) -> list[fx.Node]:
        self.parts.setdefault(path_of(node), weight_of(node))
        return self._weight(node)

    def _weight(self, node: Node) -> list[fx.Node]:
        return [self.graph.create_node("get_attr", path_of(node), name=node.results[0].name)]

    def _attend(self, node: Node) -> list[fx.Node]:
        path = self._free("attend")
        self.parts[path], self.places[node] = site_of(node), path
        several = len(node.results) > 1
        arguments = tuple(self.scope.values[value] for value in operands(node))
        made = self.graph.create_node("call_module", path, arguments, name=_name(node, several))
        return self._results(node, made, several)

    def _block(self, node: Node) -> list[fx.Node]:
        body, path = called(node), path_of(node)
        unit = instance = self.instances[path]
        self.parts.setdefault(path, instance)
        if body not in instance.extras:
            unit = self.units.of(body)
        given = cast(tuple[Arg, ...], node.args["ports"])
        ports = [
            arg for arg, port in zip(given, body.ports.values(), strict=True) if port is not None
        ]
        arguments = (
            *map(self.scope.argument, ports),
            *map(self.scope.extra_argument, unit.extras[body]),
        )
        if unit is instance:
            name = _name(node, isinstance(body.outputs, tuple))
            result: Argument = self.graph.create_node("call_module", path, arguments, name=name)
            self.places[node] = path
        else:
            inliner = Inliner(self.graph, self.parts, self._free)
            result, self.places[node] = inliner.write(unit, instance, path, arguments)
        return self._leaves(body.outputs, result, iter(node.results))

    # Results ----------------------------------------------------------------------------

    def _results(self, node: Node, made: object, several: bool) -> list[fx.Node]:
        """Return one FX node for each result of an operator."""
        if not several:
            return [cast(fx.Node, made)]
        return [self._item(made, at, value.name) for at, value in enumerate(node.results)]

    def _leaves(self, outputs: Arg, result: Argument, values: Iterator[Value]) -> list[fx.Node]:
        """Return the tensors of a block's nested result, in order."""
        if isinstance(outputs, Value):
            return [cast(fx.Node, result)]
        leaves: list[fx.Node] = []
        for at, item in enumerate(cast(tuple[Arg, ...], outputs or ())):
            if item is not None:
                name = next(values).name if isinstance(item, Value) else None
                leaves += self._leaves(item, self._item(result, at, name), values)
        return leaves

    def _item(self, result: object, at: int, name: str | None) -> fx.Node:
        if isinstance(result, (tuple, list)):
            return cast(fx.Node, result[at])
        arguments = (cast(fx.Node, result), at)
        return self.graph.create_node("call_function", operator.getitem, arguments, name=name)

    def _free(self, wish: str) -> str:
        """Return a path that no module of the body takes."""
        names = chain([wish], (f"{wish}_{number}" for number in count(1)))
        taken = self.roots | self.parts.keys() | _reserved_labels()
        return next(name for name in names if name not in taken)


_WRITERS: Mapping[str, Callable[[Translator, Node], list[fx.Node]]] = {
    "block": Translator._block,
    "param": Translator._param,
    "weight": Translator._weight,
    "attend": Translator._attend,
}
"""The nodes of the core; all others are rows of the operator table."""


def _origin(node: Node, *results: Value) -> Origin:
    types, names = tuple(each.type for each in results), tuple(each.name for each in results)
    return Origin(node.spans, types, names, node.train)


def _name(node: Node, several: bool) -> str:
    return node.op if several else node.results[0].name


def _constructor(template: Template) -> str:
    """Return the text of a constructor with its holes filled: sizes of weights are numbers."""
    return re.sub(r"\{(\w+)\}", lambda hole: repr(template.holes[hole[1]]), template.text)


@cache
def _reserved_labels() -> frozenset[str]:
    """Return the attributes of graph modules, which cannot name sub-modules."""
    return frozenset(dir(fx.GraphModule({}, fx.Graph())))

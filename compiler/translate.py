"""Bodies become units: the nodes of a checked block written as FX nodes, once for each body."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property, partial
from itertools import chain, count
from typing import cast

import torch
from torch import fx
from torch.fx.node import Argument

from attnc.compiler.inline import Inliner
from attnc.compiler.merge import Done, merged
from attnc.compiler.sites import operands, site_of
from attnc.compiler.size_nodes import SizeNodes
from attnc.compiler.template import Module, Writer
from attnc.compiler.unit import Extra, Leaf, Like, Origin, Part, Place, Unit, add_port
from attnc.dsl import codes
from attnc.dsl.attention import Attention
from attnc.dsl.diagnostics import SpecError
from attnc.dsl.dims import Dim, Size
from attnc.dsl.graph import Arg, Body, Graph, Node, TensorType, Value, Weight
from attnc.dsl.ops import TABLE
from attnc.dsl.ops.row import Template
from attnc.dsl.state import body_weights, weight_of


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
        values: the FX node of every value so far.
        tensors: type and node of every tensor among the ports.
    """

    def __init__(self, units: Units, body: Body, is_top: bool = False) -> None:
        self.units, self.body, self.is_top = units, body, is_top
        self.graph = fx.Graph()
        self.values: dict[Value, fx.Node] = {}
        self.tensors: list[tuple[TensorType, fx.Node]] = []
        self.parts: dict[str, Part] = {}
        self.places: dict[Node, Place] = {}
        self.extras: dict[Extra, fx.Node] = {}
        self.likes: dict[str, fx.Node] = {}
        self.last_port: fx.Node | None = None
        self.instances = units.instances(body)
        self.roots = {node.module.split(".")[0] for node in body.nodes if node.module}

    def unit(self, outputs: Arg) -> Unit:
        """Translate the body; `outputs` is what it returns."""
        for name, port in self.body.ports.items():
            if port is not None:
                self.last_port = add_port(self.graph, name, self.last_port)
                self._bind_port(port, self.last_port)
        self.sizes = SizeNodes(self.graph, self.tensors)
        for node in self.body.nodes:
            self._check_label(node)
            self._write(node)
        self.graph.output(self.argument(outputs)).meta["attnc"] = Origin()
        for _, tensor in self.tensors:
            if tensor.op != "placeholder" and not tensor.users:
                self.graph.erase_node(tensor)
        extras = {self.body: tuple(self.extras)}
        return Unit(self.body, self.graph, self.parts, self.places, extras)

    def _bind_port(self, port: Arg, node: fx.Node) -> None:
        if isinstance(port, tuple):
            node.meta["attnc"] = Origin()
            for at, item in enumerate(port):
                self._bind_port(item, self.graph.call_function(operator.getitem, (node, at)))
        elif isinstance(port, Value):
            node.meta["attnc"] = Origin(port.spans, (port.type,), (port.name,))
            self.values[port] = node
            self.tensors.append((port.type, node))

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
            self.values[value] = result
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
            return self.argument(holes[name])
        if name == "module":
            return Module(cast(str, module))
        return self._like(name)

    def _param(self, node: Node) -> list[fx.Node]:
        self.parts.setdefault(path_of(node), weight_of(node))
        return self._weight(node)

    def _weight(self, node: Node) -> list[fx.Node]:
        return [self.graph.create_node("get_attr", path_of(node), name=node.results[0].name)]

    def _attend(self, node: Node) -> list[fx.Node]:
        path = self._free("attend")
        self.parts[path], self.places[node] = site_of(node), path
        several = len(node.results) > 1
        arguments = tuple(self.values[value] for value in operands(node))
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
        arguments = (*map(self.argument, ports), *map(self._extra_argument, unit.extras[body]))
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

    # Arguments --------------------------------------------------------------------------

    def argument(self, arg: Arg) -> Argument:
        """Return what stands for an argument of a node: tensors and symbolic sizes are nodes."""
        match arg:
            case Value():
                return self.values[arg]
            case Dim():
                return self._size(arg)
            case tuple():
                return tuple(map(self.argument, arg))
            case Mapping():
                return {name: self.argument(item) for name, item in arg.items()}
            case Attention():
                raise TypeError("only attend nodes take an attention")
            case _:
                return arg

    def _size(self, size: Size) -> Argument:
        """Return a size: computed from the ports, or passed by the caller."""
        written = self.sizes.write(size)
        return self._extra(size) if written is None else written

    def _like(self, attribute: str) -> fx.Node:
        """Return the dtype or the device of the model's tensors."""
        if attribute not in self.likes:
            node = self.graph.call_function(getattr, (self._like_tensor(), attribute))
            self.likes[attribute] = _always(node)
        return self.likes[attribute]

    def _like_tensor(self) -> fx.Node:
        """Return a tensor with the model's dtype, on its device."""
        for type_, node in self.tensors:
            if type_.dtype == "float":
                return node
        for path, weight in self._weights.items():
            if weight.dtype == "float":
                return _always(self.graph.create_node("get_attr", path))
        if not self.is_top:
            return self._extra(Like())
        keywords: dict[str, Argument] = {}
        for _, node in self.tensors[:1]:
            keywords["device"] = _always(self.graph.call_function(getattr, (node, "device")))
        return _always(self.graph.call_function(torch.empty, (0,), keywords))

    def _extra_argument(self, extra: Extra) -> Argument:
        return self._like_tensor() if isinstance(extra, Like) else self.argument(extra)

    def _extra(self, extra: Extra) -> fx.Node:
        """Return the extra port for what a caller must tell."""
        if self.is_top and isinstance(extra, Dim):
            span = self.body.definition[-1] if self.body.definition else None
            raise SpecError([codes.UNSOLVED_SIZE.at(span, size=extra, name=self.body.name)])
        if extra not in self.extras:
            name = "like" if isinstance(extra, Like) else self._size_name(extra)
            node = self.last_port = add_port(self.graph, name, self.last_port)
            size = None if isinstance(extra, Like) else extra
            node.meta["attnc"] = Origin(names=(name,), size=size)
            self.extras[extra] = node
        return self.extras[extra]

    def _size_name(self, size: Size) -> str:
        """Return what the block calls a size."""
        known = {**self.body.arguments, **self.body.dims}
        return next((name for name, value in known.items() if value == size), "size")

    @cached_property
    def _weights(self) -> Mapping[str, Weight]:
        return body_weights(self.body)

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


def _always(node: fx.Node) -> fx.Node:
    """Mark a node that later nodes may use, and that runs in training mode or not."""
    node.meta["attnc"] = Origin()
    return node


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

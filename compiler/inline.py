"""A call that shares weights with an instance, but not its code, is written into the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import fx
from torch.fx.node import Argument, map_arg

from attnc.compiler.kernel import Site
from attnc.compiler.unit import Inlined, Part, Place, Unit
from attnc.dsl.graph import Node


class Inliner:
    """Writes units into a caller's graph.

    Attributes:
        graph: the caller's.
        parts: what the caller's module holds; what an instance lacks is added.
        free: gives a path that is not taken, near to a wish.
    """

    def __init__(self, graph: fx.Graph, parts: dict[str, Part], free: Callable[[str], str]) -> None:
        self.graph, self.parts, self.free = graph, parts, free

    def write(
        self, unit: Unit, instance: Unit, path: str, arguments: Sequence[Argument]
    ) -> tuple[Argument, Inlined]:
        """Write the code of `unit`, reading the weights of `instance`, which is at `path`.

        Returns:
            The result of the call, and where the attention nodes inside went.
        """
        call = _Call(self, unit, instance, path)
        ports = iter(arguments)
        for node in unit.graph.nodes:
            call.nodes[node] = next(ports) if node.op == "placeholder" else call.copied(node)
        return call.nodes[node], call.moved(unit.places)


class _Call:
    """One call under way: what the nodes of the unit became, and where its parts went."""

    def __init__(self, inliner: Inliner, unit: Unit, instance: Unit, path: str) -> None:
        self.inliner, self.unit, self.instance, self.path = inliner, unit, instance, path
        self.nodes: dict[fx.Node, Argument] = {}
        self.places: dict[str, Place] = {}

    def copied(self, node: fx.Node) -> Argument:
        arguments = map_arg(node.args, lambda each: self.nodes[each])
        if node.op == "output":
            return arguments[0]
        target = node.target
        if isinstance(target, str) and node.op == "call_module":
            there, part = self.instance.parts.get(target), self.unit.parts[target]
            if isinstance(part, Unit) and isinstance(there, Unit) and part is not there:
                path = f"{self.path}.{target}"
                result, self.places[target] = self.inliner.write(part, there, path, arguments)
                return result
            target = self.places[target] = self._place(target, part)
        elif isinstance(target, str) and node.op == "get_attr":
            target = f"{self.path}.{target}"
        keywords = map_arg(node.kwargs, lambda each: self.nodes[each])
        made = self.inliner.graph.create_node(node.op, target, arguments, keywords, node.name)
        made.meta = dict(node.meta)
        return made

    def _place(self, target: str, part: Part) -> str:
        path = f"{self.path}.{target}"
        if isinstance(part, Site):
            path = self.inliner.free(target)
        if isinstance(part, Site) or target not in self.instance.parts:
            self.inliner.parts[path] = part
        return path

    def moved(self, places: Mapping[Node, Place]) -> Inlined:
        """Return the places of a body's nodes, as the caller's module has them."""
        return Inlined({
            node: self.places[place] if isinstance(place, str) else self.moved(place.places)
            for node, place in places.items()
        })  # fmt: skip

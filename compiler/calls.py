"""The attention calls of a lowered module, in order of execution, with concrete sizes and paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

from torch import fx, nn

from attnc.compiler.kernel import Site
from attnc.compiler.leaf import Attend
from attnc.compiler.passes.fusible import Fusible
from attnc.compiler.sites import site_of
from attnc.compiler.unit import Inlined, Place
from attnc.dsl.graph import Body, Node
from attnc.dsl.spans import SpanChain


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """One call.

    Attributes:
        path: of the block that contains the attention (the model's name for the top); that of the
            attention itself where the block has several.
        place: of the leaf, in the lowered module.
        site: what the leaf computes. Its sizes are symbols where one instance serves calls with
            different shapes.
        called: the site with the types of this call.
        spans: where it stands in the spec.
        fusible: element-wise work beside it.
    """

    path: str
    place: str
    site: Site
    called: Site
    spans: SpanChain
    fusible: tuple[Fusible, ...] = ()


def attention_calls(module: fx.GraphModule) -> tuple[AttentionCall, ...]:
    """Return all attention calls of one forward pass."""
    body = cast(Body, module.meta["body"])
    calls = _Walk().block(body, module)
    return tuple(call if call.path else replace(call, path=body.name) for call in calls)


class _Walk:
    """Walks distinct blocks once."""

    def __init__(self) -> None:
        self.done: dict[tuple[Body, fx.Graph], tuple[AttentionCall, ...]] = {}

    def block(self, body: Body, module: fx.GraphModule) -> tuple[AttentionCall, ...]:
        key = body, module.graph
        if key not in self.done:
            places = cast(Mapping[Node, Place], module.meta["places"])
            self.done[key] = tuple(self._calls(body, module, places))
        return self.done[key]

    def _calls(
        self, body: Body, module: fx.GraphModule, places: Mapping[Node, Place]
    ) -> Iterator[AttentionCall]:
        attends = sum(node.op == "attend" for node in body.nodes)
        for node in body.nodes:
            if node.op == "attend":
                place = cast(str, places[node])
                leaf = _at(module, place)
                if isinstance(leaf, Attend):
                    path = place if attends > 1 else ""
                    marks = module.meta.get("fusible", {}).get(place, ())
                    yield AttentionCall(path, place, leaf.site, site_of(node), node.spans, marks)
            elif node.body is not None:
                for call in self._inner(node.body, module, places[node]):
                    yield replace(call, path=_joined(node.module, call.path))

    def _inner(self, body: Body, module: fx.GraphModule, place: Place) -> Iterator[AttentionCall]:
        if isinstance(place, Inlined):
            yield from self._calls(body, module, place.places)
            return
        inner = _at(module, place)
        if isinstance(inner, fx.GraphModule):
            for call in self.block(body, inner):
                yield replace(call, place=_joined(place, call.place))


def _joined(*parts: str | None) -> str:
    return ".".join(part for part in parts if part)


def _at(module: nn.Module, path: str) -> nn.Module | None:
    """Return what is at a path; none where a pass removed it."""
    found: nn.Module | None = module
    for name in path.split("."):
        found = None if found is None else found._modules.get(name)
    return found

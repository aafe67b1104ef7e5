"""The shapes that a block takes and gives, as the author of the spec wrote them."""

from __future__ import annotations

from collections.abc import Iterable

from attnc.dsl import library, tree
from attnc.dsl.graph import Body

_LIBRARY = "std:"


def declared_flow(body: Body, spec: tree.Spec) -> str:
    """Return `x: [b, n, d] -> [b, n, d]`; empty for the model itself, or without shapes."""
    block = next((each for each in _candidates(body, spec) if each.span in body.definition), None)
    if block is None or not block.results or not any(port.shape for port in block.ports):
        return ""
    given = [
        f"{port.name}: {_text(port.shape)}"
        for port in block.ports
        if port.shape and body.ports.get(port.name) is not None
    ]
    return f"{', '.join(given)} -> {', '.join(map(_text, block.results))}"


def _candidates(body: Body, spec: tree.Spec) -> Iterable[tree.Block]:
    source = body.definition[-1].source.name if body.definition else ""
    if source.startswith(_LIBRARY):
        return library.block(source.removeprefix(_LIBRARY)).home.blocks.values()
    return spec.blocks


def _text(shape: tree.ListOf) -> str:
    return " ".join(shape.span.text.split())

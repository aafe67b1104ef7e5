"""What a block takes and gives, as the author of the spec wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from attnc.compiler.emit.naming import identifier
from attnc.dsl import library, tree
from attnc.dsl.graph import Body

_LIBRARY = "std:"


@dataclass(frozen=True, slots=True)
class Declared:
    """Texts of shapes, and defaults.

    Attributes:
        ports: by the name that the port has in emitted code, `[b, n, d]`.
        results: of all results; empty where the author left them out.
        defaults: of each param whose default is a name, such as `width = d`, that name.
    """

    ports: Mapping[str, str] = field(default_factory=dict)
    results: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)


def declared(body: Body, spec: tree.Spec) -> Declared:
    """Return what the block of a body declares; nothing for the model itself."""
    block = next((each for each in _candidates(body, spec) if each.span in body.definition), None)
    if block is None:
        return Declared()
    ports = {identifier(port.name): _text(port.shape) for port in block.ports if port.shape}
    defaults = {
        identifier(param.name): identifier(param.default.id)
        for param in block.params
        if isinstance(param.default, tree.Name)
    }
    return Declared(ports, tuple(map(_text, block.results)), defaults)


def _candidates(body: Body, spec: tree.Spec) -> Iterable[tree.Block]:
    source = body.definition[-1].source.name if body.definition else ""
    if source.startswith(_LIBRARY):
        return library.block(source.removeprefix(_LIBRARY)).home.blocks.values()
    return spec.blocks


def _text(shape: tree.ListOf) -> str:
    return " ".join(shape.span.text.split())

"""A body as a Mermaid flowchart: what has weights or attends, and the tensors in between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import cast

from attnc.dsl import codes
from attnc.dsl.attention import Attention
from attnc.dsl.attention_text import normaliser_text
from attnc.dsl.diagnostics import UsageError
from attnc.dsl.graph import Arg, Body, Graph, Node, Value
from attnc.dsl.liveness import values
from attnc.dsl.suggest import did_you_mean

_SHAPES = {"input": ("([", "])"), "output": ("([", "])"), "attend": ("{{", "}}")}
"""The outline of a box by its kind; all others are rectangles."""

Source = tuple[int, str]
"""The number of a box, and the type of a tensor."""


@dataclass(frozen=True, slots=True)
class Box:
    """What is drawn as one: an input, an output, or a node; or equal blocks in a row.

    Attributes:
        kind: `input`, `output`, `attend`, the name of a block or of an operator.
        path: of its weights; empty where it has none.
        sources: boxes that it reads, with the type of the tensor as it reaches it.
        body: what a block computes.
        times: how many are in the row.
    """

    kind: str
    path: str
    sources: tuple[Source, ...]
    body: Body | None = None
    times: int = 1


@dataclass(slots=True)
class _Drawing:
    """Boxes so far, by number; and the boxes that each tensor comes from."""

    boxes: dict[int, Box] = field(default_factory=dict)
    origins: dict[Value, tuple[Source, ...]] = field(default_factory=dict)

    def add(self, box: Box, results: tuple[Value, ...]) -> None:
        number = self._row(box)
        if number is None:
            number = len(self.boxes)
            self.boxes[number] = box
        else:
            first = self.boxes[number]
            path = f"{first.path.partition(' ')[0]} to {box.path}"
            self.boxes[number] = replace(first, path=path, times=first.times + 1)
        for value in results:
            self.origins[value] = ((number, str(value.type)),)

    def _row(self, box: Box) -> int | None:
        """Return the box that this one goes on as a row: the same block, which alone it reads."""
        last = len(self.boxes) - 1
        if box.body is None or {number for number, _ in box.sources} != {last}:
            return None
        return last if self.boxes[last].body is box.body else None

    def reading(self, arg: Arg) -> tuple[Source, ...]:
        """Return where the tensors in an argument come from, each place once."""
        found = [source for value in values(arg) for source in self.origins[value]]
        return tuple(dict.fromkeys(found))

    def pass_on(self, node: Node) -> None:
        """Let the results of a node come from where its arguments do, in another shape."""
        numbers = dict.fromkeys(number for number, _ in self.reading(_all(node)))
        for value in node.results:
            self.origins[value] = tuple((number, str(value.type)) for number in numbers)


def mermaid(graph: Graph, path: str = "", every_operation: bool = False) -> str:
    """Return the flowchart of a model, or of the block at a path.

    Args:
        every_operation: draw also what has no weights and does not attend.

    Raises:
        UsageError: no block stands at the path.
    """
    body = _at(graph.body, path)
    drawing = _Drawing()
    for word, port in body.ports.items():
        for value in values(port):
            drawing.add(Box("input", word, ()), (value,))
    for node in body.nodes:
        if every_operation or node.module is not None or node.op == "attend":
            drawing.add(_box(node, drawing), node.results)
        else:
            drawing.pass_on(node)
    for word, value in _results(graph, body):
        drawing.add(Box("output", word, drawing.reading(value)), ())
    return "".join(f"{line}\n" for line in _lines(drawing))


def _at(body: Body, path: str) -> Body:
    inner = {str(node.module): cast(Body, node.body) for node in body.calls()}
    for name, called in inner.items():
        if path == name:
            return called
        if path.startswith(f"{name}."):
            return _at(called, path.removeprefix(f"{name}."))
    if not path:
        return body
    hint = did_you_mean(path, inner) or f"blocks here: {', '.join(inner)}"
    raise UsageError([
        codes.OPTION.at(None, option="--block", detail=f"no block at {path!r}", hint=hint)
    ])  # fmt: skip


def _all(node: Node) -> Arg:
    return tuple(node.args.values())


def _box(node: Node, drawing: _Drawing) -> Box:
    kind = node.body.name if node.body else node.op
    sources = drawing.reading(_all(node))
    path = node.module or ""
    if node.op == "attend":
        path = normaliser_text(cast(Attention, node.args["attention"]).normaliser)
    return Box(kind, path, sources, node.body)


def _results(graph: Graph, body: Body) -> Iterator[tuple[str, Value]]:
    if body is graph.body:
        yield from graph.outputs.items()
        yield from body.exits.items()
    else:
        yield from ((value.name, value) for value in values(body.outputs))


# Text -------------------------------------------------------------------------------------


def _lines(drawing: _Drawing) -> Iterator[str]:
    yield "flowchart TB"
    for number, box in drawing.boxes.items():
        opening, closing = _SHAPES.get(box.kind, ("[", "]"))
        yield f'  n{number}{opening}"{_label(box)}"{closing}'
    for number, box in drawing.boxes.items():
        for source, type_ in box.sources:
            yield f'  n{source} -- "{type_}" --> n{number}'


def _label(box: Box) -> str:
    times = f" &times; {box.times}" if box.times > 1 else ""
    words = [box.path] if box.kind in ("input", "output") else [f"{box.kind}{times}", box.path]
    return "<br/>".join(re.sub('"', "&quot;", word) for word in words if word)

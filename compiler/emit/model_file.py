"""The text of model.py."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath

from attnc.compiler.emit.code import (
    Attribute,
    Call,
    Do,
    Name,
    names_in,
)
from attnc.compiler.emit.imports import import_lines
from attnc.compiler.emit.layout import INDENT, WIDTH, lines_of, signature
from attnc.compiler.emit.parameters import Column
from attnc.compiler.emit.text import flat
from attnc.compiler.emit.unify import Class
from attnc.dsl.graph import Body

_MODULES: Mapping[str, str] = {
    "math": "import math", "torch": "import torch", "F": "import torch.nn.functional as F",
}  # fmt: skip
_SUPER = Do(Call(Attribute(Call(Name("super")), "__init__")))


def model_text(classes: Sequence[Class], header: str, kernels: Iterable[str]) -> str:
    """Return the text of a module with the given classes, the model itself last.

    Args:
        header: the docstring.
        kernels: names to import from kernels.py.
    """
    bodies = ["\n".join(_class(each, classes)) for each in classes]
    parts = [f"{header}\n\n{_imports(classes, kernels)}", *bodies]
    return "\n\n\n".join(parts) + "\n"


def _imports(classes: Sequence[Class], kernels: Iterable[str]) -> str:
    code = tuple(part for each in classes for part in (*each.code.init, *each.code.forward))
    used = names_in(code)
    lines = [line for name, line in _MODULES.items() if name in used]
    lines += ["from torch import Tensor, nn", *(f"from .kernels import {name}" for name in kernels)]
    return "\n".join(["from __future__ import annotations", "", *import_lines(lines)])


def _class(made: Class, classes: Sequence[Class]) -> Iterator[str]:
    code = made.code
    yield f"class {made.name}(nn.Module):{_place(code.body)}"
    yield from docstring(_about(made, classes), INDENT)
    if code.tables:
        yield ""
    for table in code.tables:
        yield f"{INDENT}{table}: Tensor"
    yield from _init(made)
    yield from _forward(made)


def _place(body: Body) -> str:
    """Return a comment that says where the spec declares a block."""
    if not body.definition:
        return ""
    span = body.definition[-1]
    return f"  # {PurePath(span.source.name).name}:{span.line}"


def docstring(paragraphs: Sequence[str], indent: str) -> list[str]:
    """Return the lines of a docstring: the first paragraph opens it, the rest are set apart."""
    escaped = [part.replace("\\", "\\\\").replace('"""', "'''") for part in paragraphs if part]
    first, *rest = [_wrapped(part, WIDTH - len(indent) - 6) for part in escaped]
    lines = [f'{indent}"""{first[0]}', *(indent + line for line in first[1:])]
    for part in rest:
        lines += ["", *(indent + line for line in part)]
    if len(lines) == 1 and not lines[0].endswith('"'):
        return [f'{lines[0]}"""']
    return [*lines, f'{indent}"""']


def _wrapped(text: str, width: int) -> list[str]:
    return [part for line in text.splitlines() for part in textwrap.wrap(line, width)]


def _about(made: Class, classes: Sequence[Class]) -> list[str]:
    """Return the paragraphs of a class's docstring."""
    doc = " ".join((made.code.body.doc or "").split())
    doc = f"{doc}." if doc and doc[-1] not in ".!?" else doc
    exits = ", ".join(made.code.exits)
    early = f"Args:\n    until: return early with the exit of this name: {exits}." if exits else ""
    about = [part for part in (doc, _flow(made), _difference(made, classes), early) if part]
    return about or [f"{made.code.body.name.replace('_', ' ').capitalize()}."]


def _flow(made: Class) -> str:
    """Return the shapes of ports and results: `x: [b, n, d] -> y: [b, d]`."""
    declared, code = made.declared, made.code
    given = [
        f"{port.name}: {declared.ports.get(port.name) or flat(port.shape)}"
        for port in code.ports
        if port.shape
    ]
    shown = [f"{name}: {flat(note)}" if name else flat(note) for name, note in code.results if note]
    results = declared.results or shown
    return f"{', '.join(given)} -> {', '.join(results)}" if given and results else ""


def _difference(made: Class, classes: Sequence[Class]) -> str:
    """Say how a class differs from the first of its block: in what is no parameter of both."""
    first = next(each for each in classes if each.code.name == made.code.name)
    if first is made:
        return ""
    known = first.code.settings
    items = [
        f"{name} = {value!r} (there {known[name]!r})"
        for name, value in made.code.settings.items()
        if known.get(name, value) != value
        and not (name in made.parameters and name in first.parameters)
    ]
    more = f", for {', '.join(items)}" if items else ""
    return f"Differs in structure from {first.name}{more}."


def _init(made: Class) -> list[str]:
    if not made.code.init:
        return []
    names = [f"{name}: {_annotation(column)}" for name, column in made.parameters.items()]
    body = (_SUPER, *made.code.init)
    head = signature("def __init__", ["self", *names], " -> None:", INDENT)
    return ["", *head, *lines_of(body, INDENT * 2)]


def _annotation(column: Column) -> str:
    """Return the type of a parameter from its values."""
    names = sorted({type(value).__name__ for value in column if value is not None})
    if names == ["float", "int"]:
        names = ["float"]
    return " | ".join([*names, "None"] if None in column else names)


def _forward(made: Class) -> list[str]:
    parameters = [f"{port.name}: {port.annotation}" for port in made.code.ports]
    if made.code.exits:
        parameters.append("until: str | None = None")
    tail = f" -> {made.code.returns}:"
    head = signature("def forward", ["self", *parameters], tail, INDENT)
    return ["", *head, *lines_of(made.code.forward, INDENT * 2)]

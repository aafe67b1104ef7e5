"""Diagnostics as text with carets, as JSON, and as GitHub annotations.

Lines and columns count from 1; a column is a code point, a tab one column. The end of a range is
the position after its last character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Union

from attnc.dsl.diagnostics import Diagnostic, Note, place
from attnc.dsl.excerpt import excerpt, printable
from attnc.dsl.spans import Span

Json = Union[None, bool, int, float, str, Sequence["Json"], Mapping[str, "Json"]]

GUTTER = 5
"""Columns of a line number; wider where a file has more lines."""

LONGEST = 600
"""Characters of a message that are shown: what a spec says may stand in it, at any length."""

COLOURS = {
    "error": "1;31",
    "place": "1",
    "gutter": "34",
    "note": "36",
    "help": "32",
}
"""SGR parameters by role."""

Paint = Callable[[str, str], str]
"""`paint(role, text)`."""


def render_text(diagnostics: Iterable[Diagnostic], color: bool = False, dropped: int = 0) -> str:
    """Return all diagnostics for people: sorted, with carets, and a count at the end.

    `dropped` is the number of further findings that were not kept. No diagnostics give "".
    """
    ordered = sorted(diagnostics, key=place)
    if not ordered:
        return ""
    paint = _coloured if color else _plain
    blocks = ["\n".join(_block(diagnostic, paint)) for diagnostic in ordered]
    return "\n\n".join(blocks) + "\n" + paint("error", _count(len(ordered), dropped)) + "\n"


def render_json(
    diagnostics: Iterable[Diagnostic], command: str, ok: bool, result: Json = None
) -> str:
    """Return the one object that `--json` prints, whatever the command."""
    import json

    found = [as_json(diagnostic) for diagnostic in sorted(diagnostics, key=place)]
    answer = {
        "version": 1, "command": command, "ok": ok, "diagnostics": found, "result": result,
    }  # fmt: skip
    return json.dumps(answer, indent=2, ensure_ascii=False) + "\n"


def as_json(diagnostic: Diagnostic) -> Mapping[str, Json]:
    """Return one diagnostic as an object of `render_json`."""
    return {
        "code": diagnostic.code,
        "severity": "error",
        "message": diagnostic.message,
        **_where(diagnostic.span),
        "label": diagnostic.label,
        "notes": [{"message": note.message, **_where(note.span)} for note in diagnostic.notes],
        "help": diagnostic.help,
    }


def render_github(diagnostics: Iterable[Diagnostic]) -> str:
    """Return GitHub Actions workflow commands, one `::error` line each."""
    return "".join(_annotation(diagnostic) for diagnostic in sorted(diagnostics, key=place))


# Text -------------------------------------------------------------------------------------


def _block(diagnostic: Diagnostic, paint: Paint) -> list[str]:
    width = _gutter(diagnostic)
    where = f"{printable(str(diagnostic.span))}:" if diagnostic.span else ""
    head = paint("place", where) + " " if where else ""
    code = paint("error", f"error[{diagnostic.code}]:")
    lines = [f"{head}{code} {_one_line(diagnostic.message)}"]
    if diagnostic.span:
        lines += _quoted(diagnostic.span, "^", diagnostic.label, width, paint, "error")
    for note in diagnostic.notes:
        lines += _note(note, width, paint)
    if diagnostic.help:
        lines += _remark("help", diagnostic.help, width, paint)
    return lines


def _note(note: Note, width: int, paint: Paint) -> list[str]:
    if note.span is None:
        return _remark("note", note.message, width, paint)
    lines = _remark("note", f"{note.message} ({note.span})", width, paint)
    return lines + _quoted(note.span, "-", "", width, paint, "note")


def _quoted(
    span: Span, mark: str, label: str, width: int, paint: Paint, role: str
) -> list[str]:  # fmt: skip
    shown = excerpt(span)
    marker = mark * shown.width + (f" {_one_line(label)}" if label else "")
    source = f"{paint('gutter', f'{shown.line:>{width}} |')} {shown.text}".rstrip()
    return [
        source,
        f"{paint('gutter', ' ' * width + ' |')} {' ' * shown.indent}{paint(role, marker)}",
    ]


def _remark(kind: str, text: str, width: int, paint: Paint) -> list[str]:
    first, *rest = text.split("\n")
    indent = " " * (width + 1)
    head = f"{indent}{paint('gutter', '=')} {paint(kind, f'{kind}:')} {printable(first)}"
    return [head, *(f"{indent}{' ' * (len(kind) + 4)}{printable(line)}".rstrip() for line in rest)]


def _gutter(diagnostic: Diagnostic) -> int:
    spans = [diagnostic.span, *(note.span for note in diagnostic.notes)]
    return max([GUTTER, *(len(str(span.line)) for span in spans if span)])


def _count(shown: int, dropped: int) -> str:
    total = f"{shown} error" if shown == 1 else f"{shown} errors"
    return f"{total}, {dropped} more not shown" if dropped else total


def _one_line(text: str) -> str:
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}…"
    return printable(" ".join(text.split("\n")))


def _plain(_role: str, text: str) -> str:
    return text


def _coloured(role: str, text: str) -> str:
    return f"\x1b[{COLOURS[role]}m{text}\x1b[0m" if text else text


# Data -------------------------------------------------------------------------------------


def _where(span: Span | None) -> Mapping[str, Json]:
    if span is None:
        return {"file": None, "range": None}
    start, end = (_position(span, offset) for offset in (span.start, span.end))
    return {"file": span.source.name, "range": {"start": start, "end": end}}


def _position(span: Span, offset: int) -> Mapping[str, Json]:
    line, column = span.source.position(offset)
    return {"line": line, "column": column}


def _annotation(diagnostic: Diagnostic) -> str:
    fields = {"title": diagnostic.code}
    if span := diagnostic.span:
        line, column = span.source.position(span.end)
        fields = {
            "file": span.source.name,
            "line": str(span.line), "col": str(span.column),
            "endLine": str(line), "endColumn": str(column),
            **fields,
        }  # fmt: skip
    listed = ",".join(f"{name}={_workflow(text, ':,')}" for name, text in fields.items())
    return f"::error {listed}::{_workflow(_summary(diagnostic))}\n"


def _workflow(text: str, reserved: str = "") -> str:
    for character in "%\r\n" + reserved:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _summary(diagnostic: Diagnostic) -> str:
    notes = [f"note: {n.message}" + (f" ({n.span})" if n.span else "") for n in diagnostic.notes]
    remedy = [f"help: {diagnostic.help}"] if diagnostic.help else []
    return "\n".join([diagnostic.message, *notes, *remedy])

"""YAML scalars: what plain ones stand for, and where their characters stand in the file."""

from __future__ import annotations

import re

from attnc.dsl import literals
from attnc.dsl.lexemes import Fragment
from attnc.dsl.yaml_core import CONSTANTS, OTHER_BASE, is_text
from attnc.dsl.yaml_nodes import Scalar

_ESCAPE_LENGTHS = {"x": 4, "u": 6, "U": 10}
"""Characters of an escape that is longer than two."""

_BEFORE_TEXT = re.compile(r"(?:&\S+\s+)?(?:[|>][^\n]*\n?|[\"'])?")
"""An anchor, and the header of a block or an opening quote."""


def resolved(scalar: Scalar) -> str | int | float | bool | None:
    """Return what a scalar stands for; quoted ones and blocks are texts.

    Raises:
        Refused: a number is too large.
    """
    text = scalar.value
    if scalar.style or is_text(text):
        return text
    if text in CONSTANTS:
        return CONSTANTS[text]
    if OTHER_BASE.fullmatch(text):
        return int(text, 0)
    return literals.number(text, scalar.span)


def fragment_of(scalar: Scalar) -> Fragment:
    """Return the text of a scalar, each character with its place in the file."""
    raw, value, source = scalar.span.text, scalar.value, scalar.span.source
    before = _BEFORE_TEXT.match(raw) if scalar.style or raw.startswith("&") else None
    begin = before.end() if before else 0
    start = scalar.span.start + begin
    if raw.startswith(value, begin):
        return Fragment(value, source, range(start, start + len(value) + 1))
    places = [scalar.span.start + at for at in _aligned(value, raw, begin, scalar.style)]
    return Fragment(value, source, places)


def _aligned(value: str, raw: str, at: int, style: str) -> list[int]:
    """Return where each character of `value` stands in `raw`, which escapes or folds it."""
    places = []
    for char in value:
        while style == '"' and raw[at : at + 1] == "\\" and raw[at + 1 : at + 2] in "\r\n":
            at = _after_blanks(raw, at + 1)
        escaped = style == '"' and raw[at : at + 1] == "\\"
        if not char.isspace() and not escaped:
            at = _after_blanks(raw, at)
        places.append(min(at, len(raw)))
        if not char.isspace() or escaped or raw[at : at + 1].isspace():
            at += _width(raw, at, style)
    return [*places, min(at, len(raw))]


def _after_blanks(raw: str, at: int) -> int:
    while raw[at : at + 1].isspace():
        at += 1
    return at


def _width(raw: str, at: int, style: str) -> int:
    """Return how many characters of the file make up one of the text."""
    if style == "'":
        return 2 if raw.startswith("''", at) else 1
    if style == '"' and raw.startswith("\\", at):
        return _ESCAPE_LENGTHS.get(raw[at + 1 : at + 2], 2)
    return 1

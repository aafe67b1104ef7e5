"""Writing YAML: scalars with no more quotes than needed, maps and lists in the shorter form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

from attnc.dsl.layout import STEP, WIDTH, comment_lines

_LONGEST_KEY = 1000
"""YAML allows keys of 1024 characters, quotes included, where they are not marked by `?`."""

_PLAIN = re.compile(r"[A-Za-z0-9_(/](?:[^\s:]|:(?![\s,\[\]{}?]|$)| (?![ #]*$)(?!#))*")
_NOT_A_TEXT = re.compile(
    r"null|Null|NULL|true|True|TRUE|false|False|FALSE|[0-9].*|0[ox][0-9a-fA-F]+"
)
_FLOW_MARKS = frozenset(",[]{}?")

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, `true`, `false`, `null`, or nothing at all: written as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class String:
    """A string; `lines` is the same laid out over several lines, where that is wanted."""

    text: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value, the comments above, and the one behind."""

    key: str
    value: Value
    comments: tuple[str, ...] = ()
    trailing: str | None = None


@dataclass(frozen=True, slots=True)
class Map:
    """Keys with values; `flow` allows `{...}` where it fits on the line."""

    entries: tuple[Entry, ...]
    flow: bool = True

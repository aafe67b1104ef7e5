"""Writing YAML: scalars with no more quotes than needed, maps and lists in the shorter form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard, Union

from attnc.dsl.layout import STEP, WIDTH, comment_lines
from attnc.dsl.yaml_core import is_text

_LONGEST_KEY = 1000
"""YAML takes keys of 1024 characters, quotes included; longer ones are marked by `?`."""

_FIRST = frozenset("_(/")
"""With letters and digits: what a plain scalar is written with at its beginning."""

_FLOW_MARKS = frozenset(",[]{}?")

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, `true`, `false`, `null`, or nothing at all: written as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class String:
    """A string; `lines` is the same in several lines, for where it would be too long in one."""

    text: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value, the comments above, and the one behind the key."""

    key: str
    value: Value
    comments: tuple[str, ...] = ()
    trailing: str | None = None


@dataclass(frozen=True, slots=True)
class Map:
    """Keys with values; written `{...}` where that fits on the line and `flow` allows it."""

    entries: tuple[Entry, ...]
    flow: bool = True


@dataclass(frozen=True, slots=True)
class Element:
    """One item of a list, the comments above, and the one behind it."""

    value: Value
    comments: tuple[str, ...] = ()
    trailing: str | None = None


@dataclass(frozen=True, slots=True)
class List:
    """Items; written `[...]` where that fits on the line and `flow` allows it."""

    items: tuple[Element, ...]
    flow: bool = True


Value = Union[Literal, String, Map, List]


def entries(pairs: Sequence[Entry], margin: int = 0) -> Iterator[str]:
    """Yield the lines of a block map."""
    for at, entry in enumerate(pairs):
        yield from comment_lines(entry.comments, margin, first=at == 0)
        pad, key = " " * margin, scalar(entry.key)
        if len(key) > _LONGEST_KEY:
            yield f"{pad}? {key}"
            key = ""
        yield from _valued(f"{pad}{key}:", entry.value, margin, entry.trailing)


def _elements(items: Sequence[Element], margin: int) -> Iterator[str]:
    pad = " " * margin
    for at, element in enumerate(items):
        comments, value = _hoisted(element)
        yield from comment_lines(comments, margin, first=at == 0)
        if _fits(f"{pad}-", value):
            yield from _valued(f"{pad}-", value, margin, element.trailing)
        else:
            first, *others = _below(value, margin + STEP)
            yield f"{pad}- {first[margin + STEP :]}"
            yield from others


def _hoisted(element: Element) -> tuple[tuple[str, ...], Value]:
    """Return the comments above a list item, and its value without those of its first entry."""
    value = element.value
    if not isinstance(value, Map) or not value.entries:
        return element.comments, value
    first, *others = value.entries
    bare = Map((replace(first, comments=()), *others), value.flow)
    return (*element.comments, *first.comments), bare


def _valued(head: str, value: Value, margin: int, trailing: str | None) -> Iterator[str]:
    """Yield `head value` on one line, or the value below, indented by a step."""
    behind = "" if trailing is None else f"  # {trailing}".rstrip()
    line = _one_line(value) or ""
    if isinstance(value, String) and value.lines and _is_long(f"{head} {line}", value):
        yield f"{head} |-{behind}"
        yield from (" " * (margin + STEP) + text if text else "" for text in value.lines)
    elif _fits(head, value):
        yield f"{head} {line}".rstrip() + behind
    else:
        yield f"{head}{behind}"
        yield from _below(value, margin + STEP)


def _below(value: Value, margin: int) -> Iterator[str]:
    if isinstance(value, Map):
        return entries(value.entries, margin)
    assert isinstance(value, List), "scalars fit on their line"
    return _elements(value.items, margin)


def _is_long(line: str, value: String) -> bool:
    return "\n" in value.text or len(line) > WIDTH


def _fits(head: str, value: Value) -> bool:
    """Whether a value goes on the line of its head; what cannot be broken does at any length."""
    line = _one_line(value)
    return line is not None and (not _breaks(value) or len(head) + 1 + len(line) <= WIDTH)


def _breaks(value: Value) -> TypeGuard[Map | List]:
    """Whether a value holds items that can stand on lines of their own."""
    match value:
        case Map(inner) | List(inner):
            return bool(inner)
    return False


def _one_line(value: Value, flow: bool = False) -> str | None:
    """Return a value on one line; none where comments, its length or its maker forbid that."""
    if _breaks(value) and not value.flow:
        return None
    match value:
        case Literal(text):
            return text
        case String(text, lines):
            return None if flow and lines else scalar(text, flow)
        case List(items):
            inner = [_one_line(item.value, flow=True) for item in items]
            plain = all(not any(item.comments) and item.trailing is None for item in items)
            opening, closing = "[", "]"
        case Map(pairs):
            inner = [_flow_entry(entry) for entry in pairs]
            plain = all(not any(entry.comments) and entry.trailing is None for entry in pairs)
            opening, closing = "{", "}"
    kept = [text for text in inner if text is not None]
    if len(kept) < len(inner) or not plain:
        return None
    return f"{opening}{', '.join(kept)}{closing}"


def _flow_entry(entry: Entry) -> str | None:
    key, value = scalar(entry.key, flow=True), _one_line(entry.value, flow=True)
    return None if value is None or len(key) > _LONGEST_KEY else f"{key}: {value}".rstrip()


# Scalars ----------------------------------------------------------------------------------


def scalar(text: str, flow: bool = False) -> str:
    """Return a string as a scalar: plain where that reads back as the same string.

    Args:
        flow: within `[...]` or `{...}`, where plain scalars may hold less.
    """
    if _is_plain(text, flow):
        return text
    if text.isprintable() and ('"' in text or "\\" in text):
        doubled = text.replace("'", "''")
        return f"'{doubled}'"
    return f'"{"".join(_escaped(char) for char in text)}"'


def literal_lines(text: str) -> tuple[str, ...]:
    """Return the lines of a text that can be written as a block scalar; else nothing."""
    lines = text.split("\n")
    if not all(line.isprintable() and (not line or line.strip()) for line in lines):
        return ()
    return tuple(lines) if lines[0] and lines[0][0] != " " and lines[-1] else ()


def _is_plain(text: str, flow: bool) -> bool:
    return (
        text.isprintable()
        and is_text(text)
        and (text[0].isalnum() or text[0] in _FIRST)
        and ": " not in text
        and " #" not in text
        and text[-1] not in ": "
        and not (flow and _FLOW_MARKS.intersection(text))
    )


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )

"""Shapes in comments: they do not keep codes apart that agree otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat

from attnc.compiler.emit.bodies import ClassCode
from attnc.compiler.emit.code import Assign, For, If, ListOf, Statement, walk


def without_notes(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """Return statements without the shapes in their comments."""
    return _with_notes(statements, repeat(None))


def agreeing(codes: Sequence[ClassCode]) -> list[ClassCode]:
    """Return codes that are equal but for literals and notes, less the notes of unequal rank."""
    rows = zip(*(_notes(code.forward) for code in codes), strict=True)
    keep = [len({None if note is None else len(note.items) for note in row}) == 1 for row in rows]
    return [replace(code, forward=_with_notes(code.forward, _kept(code, keep))) for code in codes]


def _kept(code: ClassCode, keep: Sequence[bool]) -> Iterator[ListOf | None]:
    for note, kept in zip(_notes(code.forward), keep, strict=True):
        yield note if kept else None


def _notes(statements: tuple[Statement, ...]) -> list[ListOf | None]:
    return [part.shape for part in walk(statements) if isinstance(part, Assign)]


def _with_notes(
    statements: tuple[Statement, ...], notes: Iterator[ListOf | None]
) -> tuple[Statement, ...]:
    """Give each assignment the next note, in the order in which they are written."""
    made: list[Statement] = []
    for each in statements:
        if isinstance(each, Assign):
            made.append(replace(each, shape=next(notes)))
        elif isinstance(each, (If, For)):
            made.append(replace(each, body=_with_notes(each.body, notes)))
        else:
            made.append(each)
    return tuple(made)

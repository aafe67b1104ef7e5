"""Statements of generated text that are too long for a line."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from attnc.compiler.emit.layout import WIDTH, laid_out
from attnc.compiler.emit.reader import read_tree

_SKIP = "  # fmt: skip"


def fitted(text: str) -> str:
    """Return a text whose long statements of one line are broken as `ruff format` breaks them.

    A comment that the line has no room for comes before it. Docstrings and what is broken already
    stay as they are.
    """
    lines = text.split("\n")
    if not any(map(_is_long, lines)):
        return text
    for value in _values(ast.parse(text)):
        at = value.lineno - 1
        if _is_long(lines[at]) and value.end_lineno == value.lineno:
            lines[at] = "\n".join(_broken(lines[at], value))
    return "\n".join(lines)


def _is_long(line: str) -> bool:
    return len(line) > WIDTH and not line.endswith(_SKIP)


def _values(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield the expression that each statement has most of its length from."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(value=ast.expr() as value) | ast.AugAssign(value=value):
                yield value
            case ast.Return(value=ast.expr() as value) | ast.For(iter=value):
                yield value
            case ast.Expr(value=value) if not isinstance(value, ast.Constant):
                yield value


def _broken(line: str, value: ast.expr) -> Iterator[str]:
    indent = line[: len(line) - len(line.lstrip())]
    before, after = line[: value.col_offset], line[value.end_col_offset :]
    tail, mark, note = after.partition("  # ")
    if mark:
        yield f"{indent}# {note}"
    try:
        yield from laid_out(before, read_tree(value), tail, indent)
    except ValueError:  # what the emitted classes never say has no layout here
        yield before + line[value.col_offset : value.end_col_offset] + tail

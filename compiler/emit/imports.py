"""Import lines as isort orders them."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence

from attnc.compiler.emit.layout import INDENT, WIDTH


def import_lines(statements: Iterable[str]) -> list[str]:
    """Return import statements sorted and in groups: Python's own, other packages, this package."""
    modules: set[tuple[str, str | None]] = set()
    members: dict[str, set[tuple[str, str | None]]] = defaultdict(set)
    for statement in statements:
        for node in ast.parse(statement).body:
            if isinstance(node, ast.Import):
                modules |= {(alias.name, alias.asname) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                origin = "." * node.level + (node.module or "")
                members[origin] |= {(alias.name, alias.asname) for alias in node.names}
    lines: list[str] = []
    for group in range(3):
        part = [f"import {_named(*each)}" for each in sorted(modules) if _group(each[0]) == group]
        for origin in sorted(members):
            if _group(origin) == group:
                part += _from(origin, sorted(members[origin], key=_order))
        lines += ["", *part] if lines and part else part
    return lines


def _group(module: str) -> int:
    if module.startswith("."):
        return 2
    return 0 if module.partition(".")[0] in sys.stdlib_module_names else 1


def _order(member: tuple[str, str | None]) -> tuple[int, str]:
    """Constants first, then classes, then the rest."""
    name = member[0]
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), name


def _named(name: str, alias: str | None) -> str:
    return f"{name} as {alias}" if alias else name


def _from(origin: str, members: Sequence[tuple[str, str | None]]) -> list[str]:
    names = [_named(*member) for member in members]
    line = f"from {origin} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {origin} import (", *(f"{INDENT}{name}," for name in names), ")"]

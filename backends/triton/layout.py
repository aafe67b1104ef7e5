"""Laying out generated code: definitions and calls that a formatter leaves as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import indent, wrap

WIDTH = 88
"""No generated line is longer, so that neither this project's nor the default width breaks it."""


def call(head: str, arguments: Sequence[str], depth: int = 1) -> str:
    """Return `head(arguments)` at a depth of indentation, on several lines where it is long.

    Args:
        head: what stands before the parenthesis: `peak, total = step`.
        arguments: one text each.
        depth: how many times four spaces.
    """
    return _listed(head, arguments, "", depth)


def listing(head: str, items: Sequence[str], tail: str = "") -> str:
    """Return `head a, b tail` one level deep, with parentheses where it takes several lines."""
    line = f"{head}{', '.join(items)}{tail}"
    return line if len(line) + 4 <= WIDTH else _listed(head, items, tail, 1)


def define(
    name: str,
    parameters: Sequence[str],
    doc: str,
    body: Iterable[str],
    decorator: str = "@jit",
) -> str:
    """Return a decorated function.

    Args:
        name: its name.
        parameters: one text each, annotations included.
        doc: its docstring, one line.
        body: blocks of lines, not indented.
        decorator: a line above it; empty for none.
    """
    head = _listed(f"def {name}", parameters, ":", 0)
    lines = [decorator] if decorator else []
    lines += [head, indent(f'"""{doc}"""', "    ")]
    lines += [indent(block, "    ") for block in body if block]
    return "\n".join(lines) + "\n"


def loop(start: str, stop: str, step: str, body: str, pipelined: bool = True) -> str:
    """Return a loop over the first rows of tiles."""
    run = f"range({start}, {stop}, {step})"
    run = run if pipelined else f"tl.{run[:-1]}, num_stages=1)"
    return f"for first in {run}:\n" + indent(body, "    ")


def comment(text: str) -> str:
    """Return text as comment lines."""
    return "\n".join(wrap(text, WIDTH - 4, initial_indent="# ", subsequent_indent="# "))


def docstring(lines: Iterable[str]) -> str:
    """Return a docstring of several lines, not indented."""
    first, *rest = lines
    return "\n".join((f'"""{first}', *rest, '"""')) if rest else f'"""{first}"""'


def _listed(head: str, items: Sequence[str], tail: str, depth: int) -> str:
    pad = " " * (4 * depth)
    line = f"{head}({', '.join(items)}){tail}"
    if len(pad + line) <= WIDTH:
        return line
    inner = _filled(items, WIDTH - len(pad) - 4)
    return "\n".join((f"{head}(", *(f"    {each}" for each in inner), f"){tail}  # fmt: skip"))


def _filled(items: Sequence[str], width: int) -> list[str]:
    """Put items on as few lines as there can be, a comma after each."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 2 <= width:
            lines[-1] += f" {item},"
        else:
            lines.append(f"{item},")
    return lines

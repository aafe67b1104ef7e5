"""Laying out generated code: definitions and calls that a formatter leaves as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from textwrap import fill, indent

WIDTH = 88
"""No generated line is longer, so that neither this project's nor the default width breaks it."""

SKIP = "  # fmt: skip"
"""What ends a statement that a formatter would break in another way."""


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
        doc: its docstring.
        body: blocks of lines, not indented.
        decorator: a line above it; empty for none.
    """
    lines = [decorator] if decorator else []
    lines += [_listed(f"def {name}", parameters, ":", 0), indent(_docstring(doc), "    ")]
    body_lines = (line for block in body if block for line in block.split("\n"))
    lines += [settled(f"    {line}") for line in body_lines]
    return "\n".join(lines) + "\n"


def settled(line: str, width: int = WIDTH) -> str:
    """Return a statement as it is, or on several lines where it is too long for one."""
    if len(line) <= width or line.endswith(("(", ",", ":", SKIP)):
        return line
    pad = line[: len(line) - len(line.lstrip())]
    found = re.fullmatch(r"( *(?:return|[\w, ]+ [+&]?=)) ([^#]+)", line)
    if found and len(pad) + 4 + len(found[2]) <= width:
        return f"{found[1]} (\n{pad}    {found[2]}\n{pad}){SKIP}"
    groups = list(_groups(line))
    if not groups:
        return line
    start, stop = max(groups, key=lambda group: group[1] - group[0])
    items = _split(line[start + 1 : stop])
    room = width - len(pad) - 4
    inner = indent("\n".join(_item(each, room) for each in _filled(items, room)), f"{pad}    ")
    return f"{line[: start + 1]}\n{inner.removesuffix(',')}\n{pad}{line[stop:]}{SKIP}"


def _item(line: str, width: int) -> str:
    """Return items on a line as they are, or a single one that is too long on several lines."""
    if len(line) <= width or "\n" in line:
        return line
    return settled(line.removesuffix(","), width - 1).removesuffix(SKIP) + ","


def loop(start: str, stop: str, step: str, body: str, pipelined: bool = True) -> str:
    """Return a loop over the first rows of tiles."""
    run = f"range({start}, {stop}, {step})"
    run = run if pipelined else f"tl.{run[:-1]}, num_stages=1)"
    return f"for first in {run}:\n" + indent(body, "    ")


def _docstring(text: str) -> str:
    if len(text) + 10 <= WIDTH:
        return f'"""{text}"""'
    # on one line the closing quotes, too, must fit
    return f'"""{fill(text, WIDTH - 10, break_long_words=False, break_on_hyphens=False)}\n"""'


def _groups(line: str) -> Iterator[tuple[int, int]]:
    """Yield the positions of brackets that stand in no other brackets."""
    opened: list[int] = []
    for at, character in enumerate(line):
        if character in "([{":
            opened.append(at)
        elif character in ")]}":
            start = opened.pop()
            if not opened:
                yield start, at


def _split(text: str) -> list[str]:
    """Split at commas that stand in no brackets."""
    inside = [range(start, stop) for start, stop in _groups(text)]
    commas = [
        at
        for at, character in enumerate(text)
        if character == "," and not any(at in each for each in inside)
    ]
    bounds = [-1, *commas, len(text)]
    return [text[a + 1 : b].strip() for a, b in pairwise(bounds)]


def _listed(head: str, items: Sequence[str], tail: str, depth: int) -> str:
    pad = " " * (4 * depth)
    line = f"{head}({', '.join(items)}){tail}"
    if len(pad + line) <= WIDTH:
        return line
    targets, equals, function = head.partition(" = ")
    if equals and len(f"{pad}{head}(") > WIDTH:
        head = f"(\n    {targets},\n) = {function}"
    width = WIDTH - len(pad) - 4
    inner = [_item(each, width) for each in _filled(items, width)]
    lines = indent("\n".join(inner).replace(SKIP, ""), "    ")
    return f"{head}(\n{lines}\n){tail}{SKIP}"


def _filled(items: Sequence[str], width: int) -> list[str]:
    """Put items on as few lines as there can be, a comma after each."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 2 <= width:
            lines[-1] += f" {item},"
        else:
            lines.append(f"{item},")
    return lines

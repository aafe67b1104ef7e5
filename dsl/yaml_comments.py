"""Comments of a YAML file, found on the lines around a node."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attnc.dsl.lexemes import comment_text
from attnc.dsl.spans import Source
from attnc.dsl.yaml_nodes import Node, Scalar, Sequence

_BEFORE_NODE = re.compile(r"[ \t]*(?:[-?][ \t]+)*")
_BEHIND_NODE = re.compile(r"[ \t,:]*(?<=[ \t])#(?P<comment>[^\n]*)")
_BLOCK_HEADER = re.compile(r"(?:&\S+\s+)?[|>][-+0-9]*")


class Comments:
    """Looks comments up; an empty one is a blank line."""

    def __init__(self, source: Source, root: Node) -> None:
        self.source = source
        self.text_lines = {line for scalar in _scalars(root) for line in _lines_of(scalar)}

    def above(self, offset: int) -> tuple[str, ...]:
        """Return the comment lines and blank lines above what begins at `offset`.

        There are none where something else stands before it on its line.
        """
        number, column = self.source.position(offset)
        if not _BEFORE_NODE.fullmatch(self.source.line(number)[: column - 1]):
            return ()
        return self._upwards(number)

    def at_end(self) -> tuple[str, ...]:
        """Return the comment lines below everything."""
        return self._upwards(self.source.position(len(self.source.text))[0] + 1)

    def _upwards(self, number: int) -> tuple[str, ...]:
        found: list[str] = []
        while number > 1 and number - 1 not in self.text_lines:
            number -= 1
            line = self.source.line(number).strip()
            if line and not line.startswith("#"):
                break
            if line or found[-1:] != [""]:
                found.append(comment_text(line[1:]))
        return tuple(reversed(found))

    def behind(self, node: Node) -> str | None:
        """Return the comment that ends the line of a node; none if another node stands between."""
        offset = node.span.end
        if isinstance(node, Scalar) and node.style in ("|", ">"):
            header = _BLOCK_HEADER.match(node.span.text)
            offset = node.span.start + (header.end() if header else 1)
        number, column = self.source.position(offset)
        found = _BEHIND_NODE.fullmatch(self.source.line(number)[column - 1 :])
        return comment_text(found["comment"]) if found else None


def _scalars(node: Node) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        yield node
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from _scalars(item)
    else:
        for key, value in node.pairs:
            yield key
            yield from _scalars(value)


def _lines_of(scalar: Scalar) -> range:
    """Return the lines of a scalar behind its first one."""
    text = scalar.span.text.rstrip()
    if "\n" not in text:
        return range(0)
    first = scalar.span.line
    return range(first + 1, first + 1 + text.count("\n"))

"""Bodies of one block that differ in numbers only become one class with parameters.

The code of such bodies is the same tree with other literals. A literal becomes an expression over
the block's own sizes and arguments where one fits in every body: first what the text of the spec
says at that place, then a small product or quotient. What differs and fits nothing gets a
parameter of its own. A number that the spec writes as a number stays one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from attnc.compiler.emit.code import (
    Binary,
    Call,
    Constant,
    Expr,
    Literal,
    Name,
    Tree,
    Unary,
    walk,
)
from attnc.compiler.emit.reader import read_expression
from attnc.dsl.spans import Span

Column = tuple[Constant, ...]
"""The value of one literal in each body."""
Settings = Sequence[Mapping[str, Constant]]
"""What the block calls its sizes and arguments in each body, sizes first."""

_CHANCE = 16
"""Up to here numbers are equal by chance; a size must be larger to be told by its value alone."""
_FACTORS = (2, 3, 4, 5, 6, 8)
_WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Text:
    """What the spec says at one place.

    Attributes:
        words: names that it mentions.
        numbers: numbers that it spells out.
        expressions: its parts that compute something, larger ones first.
    """

    words: frozenset[str] = frozenset()
    numbers: frozenset[Constant] = frozenset()
    expressions: tuple[Expr, ...] = ()


@lru_cache(maxsize=4096)
def read_text(span: Span | None) -> Text:
    """Read the text of a span as far as it is an expression as Python has them."""
    if span is None:
        return Text()
    words = frozenset(_WORD.findall(span.text))
    try:
        tree = read_expression(span.text)
    except ValueError:
        return Text(words)
    parts = list(walk(tree))
    numbers = frozenset(part.value for part in parts if isinstance(part, Literal))
    computed = tuple(p for p in parts if isinstance(p, (Binary, Unary)) or _is_function(p))
    return Text(words, numbers, computed)


def _is_function(part: Tree) -> bool:
    return isinstance(part, Call) and isinstance(part.function, Name) and not part.keywords


@dataclass(slots=True)
class Parameters:
    """The parameters of one class.

    Attributes:
        settings: of each body.
        found: name -> its value in each body, in the order in which code first needs them.
        attributes: those that `forward` reads.
    """

    settings: Settings
    found: dict[str, Column] = field(default_factory=dict)
    attributes: set[str] = field(default_factory=set)
    _known: dict[tuple[Column, Text], Expr] = field(default_factory=dict)

    def expression(self, column: Column, literal: Literal, wish: str) -> Expr:
        """Return what stands for a literal: itself, or an expression over parameters.

        Args:
            wish: a name for a parameter of its own.
        """
        text = read_text(literal.origin)
        made = self._fitting(column, text)
        if made is None and len(set(map(_exact, column))) == 1:
            return literal
        if made is None:
            made = Name(self._own(column, wish))
        for part in walk(made):
            if isinstance(part, Name) and part.id in self.names:
                self.found.setdefault(part.id, self.names[part.id])
        return made

    @property
    def names(self) -> dict[str, Column]:
        """Return the columns of all settings that every body has."""
        first, *others = self.settings
        shared = [name for name in first if all(name in other for other in others)]
        return {name: tuple(each[name] for each in self.settings) for name in shared}

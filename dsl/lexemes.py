"""What the lexer hands to the grammar: words with their places, grouped into items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lark import Token

from attnc.dsl.spans import Source, Span

if TYPE_CHECKING:
    from attnc.dsl.pieces import Piece


@dataclass(frozen=True, slots=True)
class Fragment:
    """Text to parse, and where each of its characters stands in the source.

    Attributes:
        places: one offset for each character and one for the end. A range where the text stands
            in the source as it is; a list where YAML escapes or folds it.
    """

    text: str
    source: Source
    places: Sequence[int]

    @classmethod
    def of(cls, source: Source, start: int, end: int) -> Fragment:
        """Take the characters `start` up to, not including, `end` as they stand."""
        return cls(source.text[start:end], source, range(start, end + 1))

    def span(self, start: int, end: int) -> Span:
        """Return where characters `start` up to `end` of the text stand in the source."""
        return Span(self.source, self.places[start], self.places[end])


class Lexeme(Token):
    """A word, number, string or symbol; or `BODY`, a pair of braces with all that is inside.

    Attributes:
        type: the terminal of the grammar.
        comments: the comment lines that stand before it; an empty one is a blank line.
        trailing: the comment behind it on its line, where it ends an item or opens a body.
        items: of a body: what stands in the braces.
        pieces: of a body: the same, parsed.
    """

    __slots__ = ("comments", "end", "fragment", "items", "pieces", "start", "trailing")

    fragment: Fragment
    start: int
    end: int
    comments: tuple[str, ...]
    trailing: str | None
    items: Sequence[Item]
    pieces: tuple[Piece, ...]

    def __new__(cls, type: str, text: str, fragment: Fragment, start: int, end: int) -> Lexeme:
        """Make a lexeme of characters `start` up to, not including, `end` of a fragment."""
        lexeme = str.__new__(cls, text)
        lexeme.type = type
        lexeme.fragment = fragment
        lexeme.start = start
        lexeme.end = end
        lexeme.comments = ()
        lexeme.trailing = None
        return lexeme

    @classmethod
    def body(cls, text: str, fragment: Fragment, start: int, end: int) -> Lexeme:
        """Make a body; its items or pieces are filled in by the caller."""
        lexeme = cls("BODY", text, fragment, start, end)
        lexeme.items = ()
        lexeme.pieces = ()
        return lexeme

    @property
    def span(self) -> Span:
        """Where it stands."""
        return self.fragment.span(self.start, self.end)


def comment_text(behind_mark: str) -> str:
    """Return what a comment says: one blank behind its `#`, and those at its end, do not count."""
    clean = "".join(char if char.isprintable() else " " for char in behind_mark)
    return clean.rstrip().removeprefix(" ")


@dataclass(frozen=True, slots=True)
class Item:
    """A statement or declaration before parsing.

    Attributes:
        lexemes: at least one.
        broken: an error in it has been reported already, so it is not parsed.
    """

    lexemes: list[Lexeme]
    broken: bool = False

"""From characters to items: words, brackets, line ends, braces, comments.

Line ends count where no bracket is open. A brace behind a complete header opens a body; any other
opens a map. What goes wrong here is reported, and the item it is in is marked as broken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from attnc.dsl import codes
from attnc.dsl.diagnostics import Collector, Note
from attnc.dsl.lexemes import Fragment, Item, Lexeme, comment_text
from attnc.dsl.quotes import unclosed_quotes

DEEPEST = 100
"""Levels of brackets and bodies within each other."""

_TOKEN = re.compile(
    r"""[ \t\r]*+ (?:
      (?P<name>    [A-Za-z_][A-Za-z0-9_]* )
    | (?P<number>  (?: [0-9]+ \.? [0-9]* | \.[0-9]+ ) (?: [eE][+-]?[0-9]+ )? )
    | (?P<string>  "[^"\\]*+ (?: \\.[^"\\]*+ )*+ " )
    | (?P<symbol>  -> | [-+*/=!<>]= | // | \*\* | \.\.\. | && | \|\| | [-+*/%<>=.,:;@] )
    | (?P<bracket> [()\[\]{}] )
    | (?P<newline> \n )
    | (?P<comment> \#[^\n]* )
    | (?P<end>     \Z )
    | (?P<other>   . )
    )""",
    re.VERBOSE | re.DOTALL,
)

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SOFT_STARTS = frozenset({"attnc", "doc", "input", "output", "variant"})
"""Keywords at the start of an item where a word, number or string follows; else names."""

_HARD_STARTS = frozenset({"repeat", "for", "when", "exit", "return", "model", "block"})
"""Words that begin an item and stand in no expression."""

_OPERAND_ENDS = frozenset({"NAME", "NUMBER", "STRING", "LITERAL", "RPAR", "RSQB", "RBRACE"})

_SOFT_WITHIN = {"share": "REPEAT", "train": "WHEN"}
"""Keywords within an item that begins so; else names."""

_BODY_COMES = _OPERAND_ENDS | {"SHARE", "TRAIN", "WHEN", "BODY"}
"""A brace behind one of these opens a body."""

_CLOSING = {"(": ")", "[": "]", "{": "}"}

_OPENING = {closing: opening for opening, closing in _CLOSING.items()}


class TooDeep(Exception):
    """Brackets nest deeper than `DEEPEST`; it has been reported."""


@dataclass(slots=True)
class _Body:
    """Items being collected, the last of which is still open.

    Attributes:
        commas: a comma ends an item, as in variants.
        broken: an error in the open item has been reported.
    """

    commas: bool = False
    items: list[Item] = field(default_factory=list)
    lexemes: list[Lexeme] = field(default_factory=list)
    broken: bool = False


@dataclass(slots=True)
class _Level:
    """A bracket that is open.

    Attributes:
        outer: of a brace that opens a body, what the body stands in.
        depth: levels up to here; each `else if` counts as one.
    """

    bracket: str
    start: int
    outer: _Body | None
    depth: int


def lex(
    fragment: Fragment, words: Mapping[str, str], collector: Collector, part: bool = False
) -> list[Item]:
    """Split a text into items.

    Args:
        words: the terminal of each keyword and symbol.
        part: the text is an expression or another part of one item: as within brackets, line
            ends do not count, and braces are maps.

    Raises:
        TooDeep: brackets nest too deeply.
    """
    return _Lexer(fragment, words, collector, part).items()


def is_name(text: str, words: Mapping[str, str]) -> bool:
    """Whether a text is a name, and no keyword."""
    soft = text in _SOFT_STARTS or text in _SOFT_WITHIN
    return bool(_WORD.fullmatch(text)) and (soft or text not in words)


class _Lexer:
    def __init__(
        self, fragment: Fragment, words: Mapping[str, str], collector: Collector, part: bool
    ) -> None:
        self.fragment = fragment
        self.text = fragment.text
        self.words = words
        self.collector = collector
        self.body = _Body()
        self.levels: list[_Level] = []
        self.part = part
        self.inside = part  # a bracket is open that is not a body's
        self.previous: Lexeme | None = None  # of the item at hand
        self.last: Lexeme | None = None
        self.line_first: Lexeme | None = None
        self.comments: list[str] = []
        self.blank = True  # nothing, not even a comment, stands on the line so far
        self.unclosed = unclosed_quotes(fragment.text)

    def items(self) -> list[Item]:
        handlers = {
            "name": self._name, "number": self._number, "string": self._string,
            "symbol": self._symbol, "bracket": self._bracket, "newline": self._newline,
            "comment": self._comment, "other": self._other, "end": self._end,
        }  # fmt: skip
        at = 0
        while at < len(self.text):
            found = _TOKEN.match(self.text, at)
            assert found and found.lastgroup, "the last alternative takes any character"
            start, end = found.span(found.lastgroup)
            at = handlers[found.lastgroup](start, end) or end
        return self._finished()

    def _add(self, type: str, start: int, end: int) -> None:
        self._append(Lexeme(type, self.text[start:end], self.fragment, start, end))

    def _append(self, lexeme: Lexeme) -> None:
        if self.comments:
            lexeme.comments = tuple(self.comments)
            self.comments.clear()
        if self.line_first is None:
            self.line_first = lexeme
        self.body.lexemes.append(lexeme)
        self.previous = self.last = lexeme
        self.blank = False

    # Words

    def _name(self, start: int, end: int) -> None:
        word = self.text[start:end]
        if word in _HARD_STARTS and self._is_left_open():
            self._report_unclosed(word, start, end)
            self._drop_brackets()
            self._end_item()
        if word == "else":
            self._go_on_after_body()
        self._add(self._name_type(word), start, end)

    def _name_type(self, word: str) -> str:
        previous = self.previous.type if self.previous else ""
        if previous in ("LBRACE", "COMMA") and self._innermost() == "{":
            return "KEY"
        if word in _SOFT_STARTS:
            return "NAME"
        if word in _SOFT_WITHIN and not self._is_keyword_here(word, previous):
            return "NAME"
        return self.words.get(word, "NAME")

    def _is_keyword_here(self, word: str, previous: str) -> bool:
        lexemes = self.body.lexemes
        within = bool(lexemes) and lexemes[0].type == _SOFT_WITHIN[word]
        return within and (previous in _OPERAND_ENDS or previous == "WHEN")

    def _is_left_open(self) -> bool:
        """An item begins on this line though a bracket is open: it was never closed."""
        return self.line_first is None and self._innermost() in ("(", "[")

    def _go_on_after_body(self) -> None:
        """`else` on the line after a brace belongs to the item before."""
        body = self.body
        if not self.inside and not body.lexemes and body.items:
            if body.items[-1].lexemes[-1].type == "BODY":
                before = body.items.pop()
                body.lexemes, body.broken = before.lexemes, before.broken
                self.previous = body.lexemes[-1]

    def _number(self, start: int, end: int) -> None:
        self._add("NUMBER", start, end)

    def _string(self, start: int, end: int) -> int | None:
        if start in self.unclosed:
            return self._unclosed_string(start)
        self._add("STRING", start, end)
        return None

    def _other(self, start: int, end: int) -> int | None:
        if self.text[start] == '"':
            return self._unclosed_string(start)
        self._add("UNKNOWN", start, end)
        return None

    def _unclosed_string(self, start: int) -> int:
        """Report it, and go on at the line end with the brackets of this line closed."""
        line_start = self.text.rfind("\n", 0, start) + 1
        end = self.text.find("\n", start)
        end = len(self.text) if end < 0 else end
        self.collector.add(codes.TEXT_SYNTAX.at(
            self.fragment.span(start, end), found="end of line", expected="a closing '\"'",
            hint="close the string",
        ))  # fmt: skip
        self._add("UNKNOWN", start, end)
        self.body.broken = True
        while self._innermost() and self.levels[-1].start >= line_start:
            self._pop()
        return end

    # Symbols and brackets

    def _symbol(self, start: int, end: int) -> None:
        symbol = self.text[start:end]
        if not self.inside and (symbol == ";" or (symbol == "," and self.body.commas)):
            self._end_item()
        else:
            self._add(self.words.get(symbol, "UNKNOWN"), start, end)

    def _bracket(self, start: int, end: int) -> None:
        bracket = self.text[start]
        if bracket in _OPENING:
            self._close(bracket, start, end)
            return
        opens_body = bracket == "{" and not self.inside and self._is_header_complete()
        self._check_depth(start, end)
        if opens_body:
            self._open_body(start)
        else:
            self._add(self.words[bracket], start, end)
            self._push(_Level(bracket, start, None, self._depth() + 1))

    def _is_header_complete(self) -> bool:
        previous = self.previous
        if previous is None or previous.type in _BODY_COMES:
            return True
        lexemes = self.body.lexemes
        return previous.type == "ELSE" and len(lexemes) > 1 and lexemes[-2].type == "BODY"

    def _open_body(self, start: int) -> None:
        lexemes = self.body.lexemes
        chain = sum(lexeme.type == "ELSE" for lexeme in lexemes if lexemes[0] == "if")
        self._push(_Level("{", start, self.body, self._depth() + 1 + chain))
        self.body = _Body(commas=[*lexemes[:1]] == ["variant"])
        self.previous = None

    def _close(self, bracket: str, start: int, end: int) -> None:
        if not self._unwind_to(_OPENING[bracket], bracket, start, end):
            return
        outer = self.levels[-1].outer
        if outer is None:
            self._add(self.words[bracket], start, end)
            self._pop()
        else:
            self._close_body(outer, end)

    def _unwind_to(self, opening: str, found: str, start: int, end: int) -> bool:
        """Drop the brackets that `found` leaves unclosed; false where it closes nothing."""
        reach = next(
            (level for level in reversed(self.levels)
             if level.bracket == opening or level.outer is not None), None,
        )  # fmt: skip
        if reach is None or reach.bracket != opening:
            self._report_stray(found, start, end)
            return False
        if reach is not self.levels[-1]:
            self._report_unclosed(found, start, end)
            while self.levels[-1] is not reach:
                self._pop()
        return True

    def _close_body(self, outer: _Body, end: int) -> None:
        level = self.levels[-1]
        self._end_item()
        lexeme = Lexeme.body("{", self.fragment, level.start, min(level.start + 1, end))
        lexeme.items = self.body.items
        dangling = self._taken_comments()
        if dangling and lexeme.items:
            _add_comments(lexeme.items[-1], dangling)
        else:
            lexeme.comments = dangling
        self.body = outer
        self._pop()
        self._append(lexeme)

    def _push(self, level: _Level) -> None:
        self.levels.append(level)
        self.inside = self.part or level.outer is None

    def _pop(self) -> None:
        self.levels.pop()
        self.inside = self.part or bool(self._innermost())

    def _innermost(self) -> str:
        """Return the innermost open bracket; nothing directly in a body."""
        return self.levels[-1].bracket if self.levels and self.levels[-1].outer is None else ""

    def _depth(self) -> int:
        return self.levels[-1].depth if self.levels else 0

    def _check_depth(self, start: int, end: int) -> None:
        if self._depth() >= DEEPEST:
            self.collector.add(codes.TOO_DEEP.at(self.fragment.span(start, end), limit=DEEPEST))
            raise TooDeep

    # Lines and comments

    def _newline(self, start: int, end: int) -> None:
        if not self.inside:
            self._end_item()
        if self.blank and self.comments[-1:] != [""]:
            self.comments.append("")
        self.line_first = None
        self.blank = True

    def _comment(self, start: int, end: int) -> None:
        text = comment_text(self.text[start + 1 : end])
        if self.line_first is None:
            self.comments.append(text)
        elif self.inside:
            self.line_first.comments += (text,)
        elif self.last is not None:
            self.last.trailing = text
        self.blank = False

    def _end(self, start: int, end: int) -> None:
        """Blanks at the end of the text."""

    def _end_item(self) -> None:
        body = self.body
        if body.lexemes:
            first = body.lexemes[0]
            if first in _SOFT_STARTS and len(body.lexemes) > 1 and _is_word(body.lexemes[1]):
                first.type = self.words[first]
            body.items.append(Item(body.lexemes, body.broken))
        body.lexemes, body.broken = [], False
        self.previous = None

    def _taken_comments(self) -> tuple[str, ...]:
        while self.comments[-1:] == [""]:
            self.comments.pop()
        taken = tuple(self.comments)
        self.comments.clear()
        return taken

    def _finished(self) -> list[Item]:
        if self.levels:
            self._report_unclosed("", len(self.text), len(self.text))
        while self.levels:
            outer = self.levels[-1].outer
            if outer is None:
                self._pop()
            else:
                self._close_body(outer, len(self.text))
        self._end_item()
        dangling = self._taken_comments()
        if dangling and self.body.items:
            _add_comments(self.body.items[-1], dangling)
        return self.body.items

    # Errors

    def _drop_brackets(self) -> None:
        while self._innermost():
            self._pop()

    def _report_unclosed(self, found: str, start: int, end: int) -> None:
        level = self.levels[-1]
        note = Note("this one is never closed", self.fragment.span(level.start, level.start + 1))
        self.body.broken |= level.outer is None
        whole = len(self.text) == len(self.fragment.source.text)
        ending = "end of file" if whole else "end of text"
        self.collector.add(codes.TEXT_SYNTAX.at(
            self.fragment.span(start, end), found=f"'{found}'" if found else ending,
            expected=f"'{_CLOSING[level.bracket]}'", notes=[note],
        ))  # fmt: skip

    def _report_stray(self, found: str, start: int, end: int) -> None:
        innermost = self._innermost()
        closing = f"'{_CLOSING[innermost]}'" if innermost else "end of line"
        self.body.broken = True
        self.collector.add(codes.TEXT_SYNTAX.at(
            self.fragment.span(start, end), found=f"'{found}'", expected=closing,
            hint="no bracket is open that it could close",
        ))  # fmt: skip


def _is_word(lexeme: Lexeme) -> bool:
    return lexeme[0].isalnum() or lexeme[0] in '_"'


def _add_comments(item: Item, comments: tuple[str, ...]) -> None:
    item.lexemes[0].comments += comments

"""From characters to items: words, brackets, line ends, braces, comments.

Line ends count where no bracket is open. A brace behind a complete header opens a body; any other
opens a map. What goes wrong here is reported, and the item it is in is marked as broken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attnc.dsl import codes
from attnc.dsl.brackets import OPENING, Body, Brackets
from attnc.dsl.diagnostics import Collector
from attnc.dsl.lexemes import Fragment, Item, Lexeme, comment_text
from attnc.dsl.quotes import unclosed_quotes

_TOKEN = re.compile(
    r"""[ \t\r]*+ (?:
      (?P<name>    [A-Za-z_][A-Za-z0-9_]* )
    | (?P<number>  (?: [0-9]+ \.? [0-9]* | \.[0-9]+ ) (?: [eE][+-]?[0-9]+ )? )
    | (?P<string>  "[^"\\]*+ (?: \\.[^"\\]*+ )*+ " )
    | (?P<symbol>  -> | [-+*/=!<>]= | // | \*\* | \.\.\. | && | \|\| | [-+*/%<>=.,:;@] )
    | (?P<bracket> [()\[\]{}] )
    | (?P<newline> \n (?: [ \t\r]*+ \n )*+ )
    | (?P<comment> \#[^\n]* )
    | (?P<end>     \Z )
    | (?P<other>   . )
    )""",
    re.VERBOSE | re.DOTALL,
)

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SOFT_STARTS = frozenset({"attnc", "doc", "input", "output", "variant"})
"""Keywords at the start of an item where a word, number or string follows; else names."""

_WORD_OPERATORS = frozenset({"if", "and", "or"})
"""Operators that are words: what stands before them is a name."""

_HARD_STARTS = frozenset({"repeat", "for", "when", "exit", "return", "model", "block"})
"""Words that begin an item and stand in no expression."""

_OPERAND_ENDS = frozenset({"NAME", "NUMBER", "STRING", "LITERAL", "RPAR", "RSQB", "RBRACE"})

_SOFT_WITHIN = {"share": "REPEAT", "train": "WHEN"}
"""Keywords within an item that begins so; else names."""

_BODY_COMES = _OPERAND_ENDS | {"SHARE", "TRAIN", "WHEN", "BODY"}
"""A brace behind one of these opens a body."""


def lex(
    fragment: Fragment,
    words: Mapping[str, str],
    collector: Collector,
    part: bool = False,
    depth: int = 0,
) -> list[Item]:
    """Split a text into items.

    Args:
        words: the terminal of each keyword and symbol.
        part: the text is an expression or another part of one item: as within brackets, line
            ends do not count, and braces are maps.
        depth: levels that the text is nested in already.

    Raises:
        TooDeep: brackets nest too deeply.
    """
    return _Lexer(fragment, words, collector, part, depth).items()


def is_name(text: str, words: Mapping[str, str]) -> bool:
    """Whether a text is a name, and no keyword."""
    soft = text in _SOFT_STARTS or text in _SOFT_WITHIN
    return bool(_WORD.fullmatch(text)) and (soft or text not in words)


class _Lexer:
    def __init__(
        self,
        fragment: Fragment,
        words: Mapping[str, str],
        collector: Collector,
        part: bool,
        depth: int,
    ) -> None:
        self.fragment = fragment
        self.text = fragment.text
        self.words = words
        self.collector = collector
        self.brackets = Brackets(fragment, collector, part, depth)
        self.body = Body()
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

    def _finished(self) -> list[Item]:
        end = len(self.text)
        if self.brackets.levels:
            whole = end == len(self.fragment.source.text)
            self.body.broken |= self.brackets.inside
            self.brackets.report_unclosed("end of file" if whole else "end of text", end, end)
        while self.brackets.levels:
            self.brackets.drop()
            if self.brackets.levels:
                self._close_body(end)
        self._end_item()
        _add_comments(self.body, self._taken_comments())
        return self.body.items

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

    def _end_item(self) -> None:
        body = self.body
        if body.lexemes:
            first = body.lexemes[0]
            if first in _SOFT_STARTS and len(body.lexemes) > 1 and _is_word(body.lexemes[1]):
                first.type = self.words[first]
            body.items.append(Item(body.lexemes, body.broken))
        body.lexemes, body.broken = [], False
        self.previous = None

    # Words, numbers, strings

    def _name(self, start: int, end: int) -> None:
        word = self.text[start:end]
        if word in _HARD_STARTS and self.line_first is None:
            self._check_closed(word, start, end)
        if word == "else":
            self._go_on_after_body()
        self._add(self._name_type(word), start, end)

    def _name_type(self, word: str) -> str:
        previous = self.previous.type if self.previous else ""
        if previous in ("LBRACE", "COMMA") and self.brackets.innermost() == "{":
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

    def _check_closed(self, word: str, start: int, end: int) -> None:
        """An item begins on this line: brackets open before it were never closed."""
        if self.brackets.innermost() in ("(", "["):
            self.brackets.report_unclosed(f"'{word}'", start, end)
            self.brackets.drop()
            self.body.broken = True
            self._end_item()

    def _go_on_after_body(self) -> None:
        """`else` on the line after a brace belongs to the item before."""
        body = self.body
        begins = not body.lexemes and not self.brackets.inside and bool(body.items)
        if begins and body.items[-1].lexemes[-1].type == "BODY":
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
        end = self.text.find("\n", start)
        end = len(self.text) if end < 0 else end
        self.collector.add(codes.TEXT_SYNTAX.at(
            self.fragment.span(start, end), found="end of line", expected="a closing '\"'",
            hint="close the string",
        ))  # fmt: skip
        self._add("UNKNOWN", start, end)
        self.body.broken = True
        self.brackets.drop(self.text.rfind("\n", 0, start) + 1)
        return end

    # Symbols and brackets

    def _symbol(self, start: int, end: int) -> None:
        symbol = self.text[start:end]
        ends = symbol == ";" or (symbol == "," and self.body.commas)
        if ends and not self.brackets.inside:
            self._end_item()
        else:
            self._add(self.words.get(symbol, "UNKNOWN"), start, end)

    def _bracket(self, start: int, end: int) -> None:
        bracket = self.text[start]
        if bracket in OPENING:
            self._close(bracket, start, end)
        elif bracket == "{" and not self.brackets.inside and self._is_header_complete():
            self._open_body(start)
        else:
            self._add(self.words[bracket], start, end)
            self.brackets.push(bracket, start)

    def _is_header_complete(self) -> bool:
        previous = self.previous
        if previous is None or previous == "->" or previous.type in _BODY_COMES:
            return True
        lexemes = self.body.lexemes
        return previous.type == "ELSE" and len(lexemes) > 1 and lexemes[-2].type == "BODY"

    def _open_body(self, start: int) -> None:
        lexemes = self.body.lexemes
        is_chain = bool(lexemes) and lexemes[0].type == "IF"
        chained = sum(lexeme.type == "ELSE" for lexeme in lexemes) if is_chain else 0
        self.brackets.push("{", start, self.body, chained)
        self.body = Body(commas=[*lexemes[:1]] == ["variant"])
        self.previous = None

    def _close(self, bracket: str, start: int, end: int) -> None:
        self.body.broken |= not self.brackets.reach(bracket, start, end)
        if not self.brackets.fits(bracket):
            return
        if self.brackets.innermost():
            self._add(self.words[bracket], start, end)
            self.brackets.pop()
        else:
            self._close_body(end)

    def _close_body(self, end: int) -> None:
        self._end_item()
        level = self.brackets.levels[-1]
        assert level.outer is not None, "a body stands in something"
        lexeme = Lexeme.body("{", self.fragment, level.start, min(level.start + 1, end))
        lexeme.items = self.body.items
        dangling = self._taken_comments()
        if lexeme.items:
            _add_comments(self.body, dangling)
        else:
            lexeme.comments = dangling
        self.body = level.outer
        self.brackets.pop()
        self._append(lexeme)

    # Lines and comments

    def _newline(self, start: int, end: int) -> None:
        if not self.brackets.inside:
            self._end_item()
        several = self.text.count("\n", start, end) > 1
        if (self.blank or several) and self.comments[-1:] != [""]:
            self.comments.append("")
        self.line_first = None
        self.blank = True

    def _comment(self, start: int, end: int) -> None:
        text = comment_text(self.text[start + 1 : end])
        if self.line_first is None:
            self.comments.append(text)
        elif self.brackets.inside:
            self.line_first.comments += (text,)
        elif self.last is not None:
            self.last.trailing = text
        self.blank = False

    def _end(self, start: int, end: int) -> None:
        """Blanks at the end of the text."""

    def _taken_comments(self) -> tuple[str, ...]:
        while self.comments[-1:] == [""]:
            self.comments.pop()
        taken = tuple(self.comments)
        self.comments.clear()
        return taken


def _is_word(lexeme: Lexeme) -> bool:
    """Whether a keyword may stand before a lexeme: a word, number or string, but no operator."""
    return lexeme not in _WORD_OPERATORS and (lexeme[0].isalnum() or lexeme[0] in '_"')


def _add_comments(body: Body, comments: tuple[str, ...]) -> None:
    """Give comments at the end of a body to its last item; it has no other place for them."""
    if body.items:
        body.items[-1].lexemes[0].comments += comments

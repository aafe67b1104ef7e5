"""Syntax errors in words: what was found, what could have stood there, what was meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from functools import cache

from attnc.dsl import codes
from attnc.dsl.diagnostics import Diagnostic
from attnc.dsl.grammar import words
from attnc.dsl.lexemes import Lexeme
from attnc.dsl.suggest import did_you_mean

TERMINALS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a string",
    "LITERAL": "'none'",
    "KEY": "a key",
    "BODY": "'{'",
}
"""Terminals that are not spelt one way; all others are shown as they are spelt."""

END = {"$END": "end of line"}

STARTS = frozenset({
    "ATTNC", "DOC", "MODEL", "BLOCK", "VARIANT", "INPUT", "OUTPUT",
    "REPEAT", "FOR", "IF", "WHEN", "EXIT", "RETURN",
})  # fmt: skip
"""Keywords that begin an item."""

_OPERANDS = frozenset({
    "NAME", "NUMBER", "STRING", "LITERAL", "USE", "LPAR", "LSQB", "LBRACE", "MINUS", "PLUS", "NOT",
})  # fmt: skip

_CONTINUATIONS = frozenset({
    "OPERATOR", "MINUS", "PLUS", "STAR", "LPAR", "LSQB", "DOT", "AT", "IF",
})  # fmt: skip
"""What may follow any operand; not worth saying where something else may, too."""

_WITHIN = frozenset({"SHARE", "AS", "IN", "ELSE", "TRAIN"})
"""Keywords within an item."""

_WORDS = frozenset({"NAME", "NUMBER", "STRING"})

_REMEDIES = {
    "&&": "write `and`",
    "||": "write `or`",
    "!": "write `not`",
    "'": "strings stand in double quotes",
    "...": "write one `:` for each axis",
    "-=": "only `=` and `+=` assign",
    "*=": "only `=` and `+=` assign",
    "/=": "only `=` and `+=` assign",
    "==": "`==` compares; `=` assigns",
}

_LONGEST = 30
"""Characters of what was found that are shown."""


def unexpected(lexemes: Sequence[Lexeme], at: int, accepted: Set[str]) -> Diagnostic:
    """Say that lexeme `at` does not fit.

    Args:
        lexemes: those of the item, and its end.
        accepted: the terminals that would fit.
    """
    first, lexeme = lexemes[0], lexemes[at]
    if at == 1 and first.type == "NAME" and lexeme.type in _WORDS:
        meant = did_you_mean(first, _spelt(STARTS))
        if meant:
            return _error(first, STARTS, meant)
    if at and _is_bad_number(lexemes[at - 1], lexeme):
        return _bad_number(lexemes[at - 1], lexeme)
    hint = _REMEDIES.get(lexeme)
    if not lexeme.isascii() and lexeme.isalnum():
        hint = "names are made of the letters a to z and A to Z, digits and _"
    if lexeme.type == "NAME":
        hint = did_you_mean(lexeme, _spelt(accepted & (STARTS | _WITHIN)))
    return _error(lexeme, accepted, hint)


def _is_bad_number(before: Lexeme, lexeme: Lexeme) -> bool:
    """Whether a number runs on into what is no part of it: `08x`, `1.2.3`."""
    is_adjacent = before.fragment is lexeme.fragment and before.end == lexeme.start
    return before.type == "NUMBER" and lexeme.type in ("NAME", "NUMBER") and is_adjacent


def _bad_number(before: Lexeme, lexeme: Lexeme) -> Diagnostic:
    return codes.TEXT_SYNTAX.at(
        before.span.to(lexeme.span), found=f"bad number '{before}{lexeme}'",
        expected="digits as in 12, 0.5 or 1e-5",
    )  # fmt: skip


def expected(accepted: Set[str]) -> str:
    """Return a set of terminals in words: `an expression, ')' or ','`."""
    if accepted >= STARTS:
        return "a statement or declaration"
    found = []
    if accepted >= {"NAME", "NUMBER", "LPAR"}:
        found.append("an expression")
        accepted = accepted - _OPERANDS
    elif "OPERATOR" in accepted:
        accepted = accepted - _CONTINUATIONS or {"OPERATOR"}
    found += [words for terminal, words in _spelling().items() if terminal in accepted]
    *others, last = found
    return f"{', '.join(others)} or {last}" if others else last


@cache
def _spelling() -> Mapping[str, str]:
    symbols = {terminal: f"'{word}'" for word, terminal in words().items()}
    return {**TERMINALS, **symbols, "OPERATOR": "an operator", **END}


def _spelt(terminals: Set[str]) -> list[str]:
    return [word for word, terminal in words().items() if terminal in terminals]


def _error(lexeme: Lexeme, accepted: Set[str], hint: str | None) -> Diagnostic:
    return codes.TEXT_SYNTAX.at(
        lexeme.span, found=_found(lexeme), expected=expected(accepted), hint=hint
    )


def _found(lexeme: Lexeme) -> str:
    if lexeme.type in END:
        return END[lexeme.type]
    if lexeme.type == "UNKNOWN" and not lexeme.isprintable():
        return f"character U+{ord(lexeme[0]):04X}"
    shown = lexeme if len(lexeme) <= _LONGEST else f"{lexeme[:_LONGEST]}..."
    return f"'{shown}'"

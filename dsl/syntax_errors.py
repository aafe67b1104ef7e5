"""Syntax errors in words: what was found, what could have stood there, what was meant."""

from __future__ import annotations

from collections.abc import Sequence, Set

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
    "$END": "end of line",
}
"""Terminals that are not spelt one way; all others are shown as they are spelt."""

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
    lexeme = lexemes[at]
    starts = [word for word, terminal in words().items() if terminal in STARTS]
    if at == 1 and lexemes[0].type == "NAME" and _is_word(lexeme):
        meant = did_you_mean(lexemes[0], starts)
        if meant:
            return _error(lexemes[0], frozenset(STARTS), meant)
    spelt = [word for word, terminal in words().items() if terminal in accepted and word.isalpha()]
    remedy = _REMEDIES.get(lexeme) or (did_you_mean(lexeme, spelt) if _is_word(lexeme) else None)
    return _error(lexeme, accepted, remedy)


def _error(lexeme: Lexeme, accepted: Set[str], hint: str | None) -> Diagnostic:
    return codes.TEXT_SYNTAX.at(
        lexeme.span, found=_found(lexeme), expected=expected(accepted), hint=hint
    )


def expected(accepted: Set[str]) -> str:
    """Return a set of terminals in words: `'(', ',' or an expression`."""
    if accepted >= STARTS:
        return "a statement or declaration"
    found = []
    if accepted >= {"NAME", "NUMBER", "LPAR"}:
        found.append("an expression")
        accepted = accepted - _OPERANDS
    elif "OPERATOR" in accepted:
        accepted = accepted - _CONTINUATIONS or {"OPERATOR"}
    spelling = {terminal: f"'{word}'" for word, terminal in words().items()}
    spelling |= TERMINALS | {"OPERATOR": "an operator"}
    found += sorted((spelling[terminal] for terminal in accepted), key=lambda word: word[0] == "'")
    *others, last = found
    return f"{', '.join(others)} or {last}" if others else last


def _found(lexeme: Lexeme) -> str:
    if lexeme.type == "$END":
        return TERMINALS["$END"]
    if not lexeme.isprintable() and lexeme.type == "UNKNOWN":
        return f"character U+{ord(lexeme[0]):04X}"
    text = lexeme if len(lexeme) <= _LONGEST else f"{lexeme[:_LONGEST]}..."
    return f"'{text}'"


def _is_word(lexeme: Lexeme) -> bool:
    return lexeme[:1].isalnum() or lexeme[:1] in ("_", '"')

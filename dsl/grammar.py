"""grammar.lark, loaded: the parser and the words it knows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from lark import Lark, Token
from lark.common import LexerConf
from lark.lexer import Lexer, LexerState

from attnc.dsl.declaration_rules import DeclarationRules
from attnc.dsl.expression_rules import ExpressionRules
from attnc.dsl.operators import BINARY
from attnc.dsl.statement_rules import StatementRules

STARTS = ("item", "expression", "axis", "port")
"""What can be parsed on its own."""

LITERALS = ("true", "false", "none")


class _TreeBuilder(ExpressionRules, StatementRules, DeclarationRules): ...


class _NoLexer(Lexer):
    """Gives nothing: the parser is fed with lexemes one by one."""

    def __init__(self, conf: LexerConf) -> None:
        pass

    def lex(self, lexer_state: LexerState, parser_state: object) -> Iterator[Token]:
        return iter(())


@cache
def parser() -> Lark:
    """Build the parser, from tables kept in the user's cache if they are of this grammar.

    Without them this takes about 70 ms.
    """
    grammar = files("attnc.dsl").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar, parser="lalr", lexer=_NoLexer, start=list(STARTS), transformer=_TreeBuilder(),
        maybe_placeholders=True, cache=_tables(),
    )  # fmt: skip


def _tables() -> str | bool:
    """Return the file that keeps the parser's tables; false where there can be none.

    lark checks that it belongs to the grammar and to its own version, and builds it anew if not.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "attnc"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no such user, or a place that cannot be written
        return False
    return str(folder / "grammar.tables") if os.access(folder, os.W_OK) else False


@cache
def words() -> Mapping[str, str]:
    """Return the terminal of each keyword and symbol, in order of the alphabet."""
    spelt = {term.pattern.value: term.name for term in parser().terminals if term.pattern}
    known = dict.fromkeys(BINARY, "OPERATOR") | dict.fromkeys(LITERALS, "LITERAL") | spelt
    return dict(sorted(known.items()))

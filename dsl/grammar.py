"""grammar.lark, loaded: the parser and the words it knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

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
    """Build the parser; this takes about 70 ms, once."""
    grammar = files("attnc.dsl").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar, parser="lalr", lexer=_NoLexer, start=list(STARTS), transformer=_TreeBuilder(),
        maybe_placeholders=True,
    )  # fmt: skip


@cache
def words() -> Mapping[str, str]:
    """Return the terminal of each keyword and symbol, in order of the alphabet."""
    spelt = {term.pattern.value: term.name for term in parser().terminals if term.pattern}
    known = dict.fromkeys(BINARY, "OPERATOR") | dict.fromkeys(LITERALS, "LITERAL") | spelt
    return dict(sorted(known.items()))

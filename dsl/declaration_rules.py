"""The declarations of grammar.lark: one method for each rule, named as the rule."""

from __future__ import annotations

from lark import Token, Transformer, v_args

from attnc.dsl import codes, literals, tree
from attnc.dsl.lexemes import Lexeme
from attnc.dsl.pieces import (
    BlockHeader,
    DocLine,
    InputLine,
    ModelHeader,
    ParamHeader,
    VariantHeader,
    VersionLine,
)
from attnc.dsl.refusal import refuse
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.tree import Expr

DTYPES = ("float", "int", "bool")
"""What a tensor may hold; `float` is the model's own dtype."""


@v_args(inline=True)
class DeclarationRules(Transformer[Token, object]):
    """Called by the parser with the parts of a rule: lexemes, what other rules gave, or none."""

    def version(self, word: Lexeme, number: Lexeme) -> VersionLine:
        """`attnc 1`."""
        return VersionLine(literals.number(number, number.span), number.span)

    def doc(self, word: Lexeme, text: Lexeme) -> DocLine:
        """`doc "prose"`."""
        prose = literals.unquoted(literals.without_margin(text[1:-1]), text.span)
        return DocLine(prose.strip(), word.span.to(text.span))

    def model(
        self,
        word: Lexeme,
        name: Lexeme,
        opening: Lexeme | None,
        params: tuple[ParamHeader, ...] | None,
        closing: Lexeme | None,
        body: Lexeme,
    ) -> ModelHeader:
        """`model name(params) { ... }`."""
        return ModelHeader(str(name), params or (), body.pieces, name.span)

    def block(
        self,
        word: Lexeme,
        name: Lexeme,
        opening: Lexeme,
        ports: tuple[tree.Port, ...] | None,
        semicolon: Lexeme | None,
        params: tuple[ParamHeader, ...] | None,
        closing: Lexeme,
        arrow: Lexeme | None,
        results: tuple[tree.ListOf, ...] | None,
        body: Lexeme,
    ) -> BlockHeader:
        """`block name(ports; params) -> shapes { ... }`."""
        for port in ports or ():
            if port.condition is not None:
                refuse(codes.TEXT_SYNTAX.at(
                    port.condition.span, found="'if'", expected="',' or ')'",
                    hint="inputs of a model have conditions; a port may be left out with `= none`",
                ))  # fmt: skip
        return BlockHeader(
            str(name), ports or (), params or (), results or (), body.pieces, name.span
        )

    def variant(self, word: Lexeme, name: Lexeme, body: Lexeme) -> VariantHeader:
        """`variant name { ... }`."""
        return VariantHeader(str(name), body.pieces, name.span)

    def input(self, word: Lexeme, port: tree.Port) -> InputLine:
        """`input name: [b, n] int`."""
        return InputLine(port, port.span)

    def output(self, word: Lexeme, name: Lexeme, equals: Lexeme, value: Expr) -> tree.Output:
        """`output name = value`."""
        return tree.Output(str(name), value, name.span.to(value.span))

    def params(self, *params: ParamHeader) -> tuple[ParamHeader, ...]:
        """`a = 1, b: int`."""
        return params

    def param(
        self,
        name: Lexeme,
        colon: Lexeme | None,
        kind: Lexeme | None,
        equals: Lexeme | None,
        default: Expr | None,
        facts: tree.MapOf | None,
    ) -> ParamHeader:
        """`name: int = 8 {min: 1}`."""
        span = name.span.to((default or kind or name).span)
        type_ = tree.Name(str(kind), kind.span) if kind else None
        return ParamHeader(str(name), type_, default, facts, span, name.comments)

    def ports(self, *ports: tree.Port) -> tuple[tree.Port, ...]:
        """`x: [b, n], y`."""
        return ports

    def port(
        self,
        name: Lexeme,
        colon: Lexeme | None,
        shape: tree.ListOf | None,
        dtype: Lexeme | None,
        equals: Lexeme | None,
        default: Lexeme | None,
        if_: Lexeme | None,
        condition: Expr | None,
    ) -> tree.Port:
        """`x: [b, n] bool = none`, `x: [b, n] bool if masked`."""
        if dtype and dtype not in DTYPES:
            refuse(codes.TEXT_SYNTAX.at(
                dtype.span, found=f"'{dtype}'", expected="float, int or bool",
                hint=did_you_mean(dtype, DTYPES),
            ))  # fmt: skip
        if default and default != "none":
            refuse(codes.TEXT_SYNTAX.at(default.span, found=f"'{default}'", expected="'none'"))
        span = name.span.to((condition or default or dtype or shape or name).span)
        return tree.Port(
            str(name), shape, span, str(dtype or "float"), bool(default), condition, name.comments
        )

    def results(self, *shapes: tree.ListOf) -> tuple[tree.ListOf, ...]:
        """`[b, n], [b, d]`."""
        return shapes

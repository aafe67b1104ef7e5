"""The statements and declarations of grammar.lark: one method for each rule, named as the rule."""

from __future__ import annotations

from lark import Token, Transformer, v_args

from attnc.dsl import codes, literals, tree
from attnc.dsl.diagnostics import Diagnostic
from attnc.dsl.lexemes import Lexeme
from attnc.dsl.pieces import (
    DECLARATIONS,
    STATEMENTS,
    BlockHeader,
    DocLine,
    InputLine,
    ModelHeader,
    ParamHeader,
    Piece,
    VariantHeader,
    VersionLine,
)
from attnc.dsl.refusal import refuse
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.tree import Expr

DTYPES = ("float", "int", "bool")
"""What a tensor may hold; `float` is the model's own dtype."""


@v_args(inline=True)
class StatementRules(Transformer[Token, object]):
    """Called by the parser with the parts of a rule: lexemes, what other rules gave, or none."""

    def assign(
        self,
        targets: tuple[Expr, ...],
        colon: Lexeme | None,
        annotation: tree.ListOf | None,
        operator: Lexeme,
        value: Expr,
    ) -> tree.Assign:
        """`a, b = value`, `x += value`, `x: [b, n, d] = value`."""
        for target in targets:
            if not isinstance(target.base if isinstance(target, tree.Index) else target, tree.Name):
                refuse(codes.WRONG_KIND.at(
                    target.span, where=f"the left of {operator}", expected="a name or a slice",
                    found="an expression",
                ))  # fmt: skip
        span = targets[0].span.to(value.span)
        return tree.Assign(targets, str(operator), value, annotation, span)

    def repeat(
        self,
        word: Lexeme,
        count: Expr,
        share: Lexeme | None,
        as_: Lexeme | None,
        index: Lexeme | None,
        body: Lexeme,
    ) -> tree.Repeat:
        """`repeat count share as i { ... }`."""
        span = word.span.to((index or share or count).span)
        return tree.Repeat(
            count, str(index) if index else None, bool(share), statements(body), span
        )

    def for_each(
        self, word: Lexeme, names: tuple[str, ...], in_: Lexeme, iterable: Expr, body: Lexeme
    ) -> tree.For:
        """`for a, b in list { ... }`."""
        return tree.For(names, iterable, statements(body), word.span.to(iterable.span))

    def if_else(
        self,
        word: Lexeme,
        condition: Expr,
        then: Lexeme,
        else_: Lexeme | None,
        rest: Lexeme | tree.If | None,
    ) -> tree.If:
        """`if c { ... } else if d { ... } else { ... }`."""
        otherwise: tuple[tree.Statement, ...] = ()
        if rest is not None:
            otherwise = (rest,) if isinstance(rest, tree.If) else statements(rest)
        return tree.If(condition, statements(then), otherwise, word.span.to(condition.span))

    def when(self, word: Lexeme, train: Lexeme, body: Lexeme) -> tree.When:
        """`when train { ... }`."""
        return tree.When(statements(body), word.span.to(train.span))

    def exit(self, word: Lexeme, name: Lexeme, equals: Lexeme, value: Expr) -> tree.Exit:
        """`exit name = value`."""
        return tree.Exit(str(name), value, word.span.to(value.span))

    def return_(self, word: Lexeme, values: tuple[Expr, ...]) -> tree.Return:
        """`return a, b`."""
        return tree.Return(values, word.span.to(values[-1].span))

    def names(self, *names: Lexeme) -> tuple[str, ...]:
        """`a, b`."""
        return tuple(str(name) for name in names)

    def values(self, *values: Expr) -> tuple[Expr, ...]:
        """`x, f(y)`."""
        return values


@v_args(inline=True)
class DeclarationRules(Transformer[Token, object]):
    """Called by the parser with the parts of a rule: lexemes, what other rules gave, or none."""

    def version(self, word: Lexeme, number: Lexeme) -> VersionLine:
        """`attnc 1`."""
        return VersionLine(literals.number(number, number.span), number.span)

    def doc(self, word: Lexeme, text: Lexeme) -> DocLine:
        """`doc "prose"`."""
        prose = literals.unquoted(literals.without_margin(text), text.span)
        return DocLine(prose, word.span.to(text.span))

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
    ) -> tree.Port:
        """`x: [b, n] bool = none`."""
        if dtype and dtype not in DTYPES:
            refuse(codes.TEXT_SYNTAX.at(
                dtype.span, found=f"'{dtype}'", expected="float, int or bool",
                hint=did_you_mean(dtype, DTYPES),
            ))  # fmt: skip
        if default and default != "none":
            refuse(codes.TEXT_SYNTAX.at(default.span, found=f"'{default}'", expected="'none'"))
        span = name.span.to((default or dtype or shape or name).span)
        return tree.Port(
            str(name), shape, span, str(dtype or "float"), bool(default), name.comments
        )

    def results(self, *shapes: tree.ListOf) -> tuple[tree.ListOf, ...]:
        """`[b, n], [b, d]`."""
        return shapes


_WORDS: dict[type, str] = {
    VersionLine: "attnc", DocLine: "doc", ModelHeader: "model", BlockHeader: "block",
    VariantHeader: "variant", InputLine: "input", tree.Output: "output",
}  # fmt: skip


def statements(body: Lexeme) -> tuple[tree.Statement, ...]:
    """Return the pieces of a body, which must all be statements.

    Raises:
        Refused: one is a declaration.
    """
    for piece in body.pieces:
        if isinstance(piece, DECLARATIONS):
            refuse(misplaced(piece, "a statement"))
    return tuple(piece for piece in body.pieces if isinstance(piece, STATEMENTS))


def misplaced(piece: Piece, expected: str, hint: str | None = None) -> Diagnostic:
    """Say that a piece does not belong where it stands."""
    word = _WORDS.get(type(piece))
    found = f"'{word}'" if word else "a statement"
    return codes.TEXT_SYNTAX.at(piece.span, found=found, expected=expected, hint=hint)

"""The statements and declarations of grammar.lark: one method for each rule, named as the rule."""

from __future__ import annotations

from lark import Token, Transformer, v_args

from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import Diagnostic
from attnc.dsl.lexemes import Lexeme
from attnc.dsl.pieces import (
    DECLARATIONS,
    STATEMENTS,
    BlockHeader,
    DocLine,
    InputLine,
    ModelHeader,
    Piece,
    VariantHeader,
    VersionLine,
)
from attnc.dsl.refusal import refuse
from attnc.dsl.tree import Expr


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
    found = f"'{word}'" if word else "statement"
    return codes.TEXT_SYNTAX.at(piece.span, found=found, expected=expected, hint=hint)

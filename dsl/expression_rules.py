"""The expressions of grammar.lark: one method for each rule, named as the rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lark import Token, Transformer, v_args

from attnc.dsl import codes, literals, tree
from attnc.dsl.diagnostics import Note
from attnc.dsl.grouping import grouped
from attnc.dsl.lexemes import Lexeme
from attnc.dsl.refusal import refuse
from attnc.dsl.spans import Span
from attnc.dsl.tree import Expr

_PATH = re.compile(r"[A-Za-z_]\w*(\.([A-Za-z_]\w*|0|[1-9][0-9]*))*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """`key: value` of a map."""

    key: str
    value: Expr
    span: Span
    comments: tree.Comments


@v_args(inline=True)
class ExpressionRules(Transformer[Token, object]):
    """Called by the parser with the parts of a rule: lexemes, what other rules gave, or none."""

    def conditional(
        self, then: Expr, if_: Lexeme, condition: Expr, else_: Lexeme, otherwise: Expr
    ) -> tree.Conditional:
        """`a if c else b`."""
        return tree.Conditional(condition, then, otherwise, then.span.to(otherwise.span))

    def operation(self, *parts: Expr | Lexeme) -> Expr:
        """`a + b * -c`."""
        return grouped(parts)

    def call(self, function: Expr, opening: Lexeme, *rest: _Part) -> tree.Call:
        """`f(a, k=v)`."""
        return tree.Call(function, _arguments(rest), function.span.to(_end(rest)))

    def use(self, word: Lexeme, *rest: _Part) -> tree.Use:
        """`use f(k=v)`."""
        opening = rest.index("(")
        names = [part for part in rest[:opening] if isinstance(part, Lexeme) and part != "."]
        function: Expr = self.name(names[0])
        for name in names[1:]:
            function = tree.Attribute(function, str(name), function.span.to(name.span))
        call = self.call(function, names[-1], *rest[opening:])
        return tree.Use(call, word.span.to(call.span))

    def argument(self, name: Lexeme, equals: Lexeme, value: Expr) -> tree.Argument:
        """`k=v`."""
        return tree.Argument(str(name), value, name.span.to(value.span))

    def index(self, base: Expr, opening: Lexeme, *rest: _Part) -> tree.Index:
        """`x[0, 1:]`."""
        return tree.Index(base, _expressions(rest), base.span.to(_end(rest)))

    def slice(
        self,
        start: Expr | None,
        colon: Lexeme,
        stop: Expr | None,
        second_colon: Lexeme | None,
        step: Expr | None,
    ) -> tree.Slice:
        """`a:b:c`."""
        last = step or second_colon or stop or colon
        return tree.Slice(start, stop, step, (start or colon).span.to(last.span))

    def attribute(self, base: Expr, dot: Lexeme, name: Lexeme) -> tree.Attribute:
        """`a.b`."""
        return tree.Attribute(base, str(name), base.span.to(name.span))

    def labelled(self, value: Expr, at: Lexeme, label: Lexeme) -> tree.Labelled:
        """`f(x) @label`, `f(x) @"blocks.0"`."""
        path = str(label)
        if label.type == "STRING":
            path = literals.unquoted(label[1:-1], label.span)
            if not _PATH.fullmatch(path):
                refuse(codes.TEXT_SYNTAX.at(
                    label.span, found=f"label {label}", expected='a path such as "blocks.0"',
                    hint="a path is made of names and whole numbers with dots between them",
                ))  # fmt: skip
        return tree.Labelled(value, path, value.span.to(label.span))

    def group(self, opening: Lexeme, inner: Expr, closing: Lexeme) -> Expr:
        """`(a + b)`: the span of an operation takes its parentheses in."""
        if isinstance(inner, (tree.Unary, tree.Binary, tree.Conditional)):
            return replace(inner, span=opening.span.to(closing.span))
        return inner

    def number(self, word: Lexeme) -> tree.Number:
        """`1e-5`."""
        return tree.Number(literals.number(word, word.span), word.span)

    def text(self, word: Lexeme) -> tree.Text:
        """`"b n d"`."""
        return tree.Text(literals.unquoted(word[1:-1], word.span), word.span)

    def literal(self, word: Lexeme) -> tree.Flag | tree.Nothing:
        """`true`, `false` or `none`."""
        return tree.Nothing(word.span) if word == "none" else tree.Flag(word == "true", word.span)

    def name(self, word: Lexeme) -> tree.Name:
        """`x`."""
        return tree.Name(str(word), word.span)

    def list(self, opening: Lexeme, *rest: _Part) -> tree.ListOf:
        """`[a, b]`."""
        return tree.ListOf(_expressions(rest), opening.span.to(_end(rest)))

    def star(self, word: Lexeme, name: Lexeme | None) -> tree.Star:
        """`*` or `*s`."""
        return tree.Star(str(name or ""), word.span.to((name or word).span))

    def map(self, opening: Lexeme, *rest: Entry | Lexeme | None) -> tree.MapOf:
        """`{a: 1, "b c": 2}`."""
        entries = [part for part in rest if isinstance(part, Entry)]
        first: dict[str, Span] = {}
        for entry in entries:
            if entry.key in first:
                note = Note("the first stands here", first[entry.key])
                refuse(codes.DUPLICATE_KEY.at(entry.span, key=entry.key, notes=[note]))
            first[entry.key] = entry.span
        comments = [entry.comments for entry in entries]
        if comments:
            comments[0] = (*opening.comments, *comments[0])
        return tree.MapOf(
            tuple((entry.key, entry.value) for entry in entries),
            opening.span.to(_end(rest)),
            tuple(entry.span for entry in entries),
            tuple(comments),
        )

    def entry(self, key: Lexeme, colon: Lexeme, value: Expr) -> Entry:
        """`key: value`."""
        text = literals.unquoted(key[1:-1], key.span) if key.type == "STRING" else str(key)
        return Entry(text, value, key.span, key.comments)


_Part = Expr | tree.Argument | Lexeme | None


def _end(parts: Sequence[object]) -> Span:
    closing = parts[-1]
    assert isinstance(closing, Lexeme), "rules with brackets end with one"
    return closing.span


def _arguments(parts: Sequence[_Part]) -> tuple[tree.Argument, ...]:
    given = (part for part in parts if part is not None and not isinstance(part, Lexeme))
    return tuple(
        part if isinstance(part, tree.Argument) else tree.Argument(None, part, part.span)
        for part in given
    )


def _expressions(parts: Sequence[_Part]) -> tuple[Expr, ...]:
    return tuple(
        part for part in parts if not (part is None or isinstance(part, (Lexeme, tree.Argument)))
    )

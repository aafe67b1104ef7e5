"""From headers to declarations, for both notations: what params, variants and data may say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import Collector, Note
from attnc.dsl.pieces import (
    BlockHeader,
    DocLine,
    InputLine,
    ModelHeader,
    ParamHeader,
    Piece,
    VariantHeader,
    VersionLine,
)
from attnc.dsl.spans import Span
from attnc.dsl.suggest import did_you_mean

PARAM_TYPES = ("int", "float", "bool", "string", "list", "map", "op", "score")

PARAM_FACTS = ("type", "min", "max", "choices", "doc")
"""What may stand in the braces behind a param."""

KNOWN_VERSION = 1

_KINDS: Mapping[type, str] = {
    tree.Number: "a number", tree.Text: "a text", tree.Flag: "true or false",
    tree.Nothing: "none", tree.ListOf: "a list", tree.MapOf: "a map", tree.Name: "a name",
}  # fmt: skip


def kind_of(expr: tree.Expr) -> str:
    """Return what an expression is, with its article."""
    return _KINDS.get(type(expr), "an expression")


class Declarations:
    """Makes declarations of the tree; what is wrong in them is reported and left out."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector

    def wrong(self, span: Span, where: str, expected: str, found: str) -> None:
        """Report a value of the wrong kind."""
        self.collector.add(codes.WRONG_KIND.at(span, where=where, expected=expected, found=found))

    def version(self, number: object, span: Span) -> int:
        """Check the language version."""
        if number != KNOWN_VERSION or not isinstance(number, int):
            self.collector.add(codes.VERSION.at(span, version=number))
        return KNOWN_VERSION

    def plain(self, expr: tree.Expr, where: str) -> tree.Expr | None:
        """Return data without names and operations; `-1` becomes a number."""
        match expr:
            case tree.Number() | tree.Text() | tree.Flag() | tree.Nothing():
                return expr
            case tree.Unary("-", tree.Number(value)):
                return tree.Number(-value, expr.span)
            case tree.ListOf(items):
                kept = [self.plain(item, where) for item in items]
                return replace(expr, items=tuple(item for item in kept if item is not None))
            case tree.MapOf():
                return self.plain_map(expr, where)
        self.collector.add(codes.WRONG_KIND.at(
            expr.span, where=where, expected="plain data", found=kind_of(expr),
            hint="put it in double quotes if it is a text",
        ))  # fmt: skip
        return None

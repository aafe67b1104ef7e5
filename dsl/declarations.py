"""From headers to declarations, for both notations; what is wrong is reported and left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import Collector, Note
from attnc.dsl.pieces import STATEMENTS, BlockHeader, DocLine, ParamHeader, Piece
from attnc.dsl.spans import Span
from attnc.dsl.statement_rules import misplaced
from attnc.dsl.suggest import did_you_mean

VERSION = 1
"""The language version that is read."""

PARAM_TYPES = ("int", "float", "bool", "string", "list", "map", "op", "score")

DATA = ("paper", "weights", "parity")
"""Parts of a spec that are plain data."""

_KINDS: Mapping[type, str] = {
    tree.Number: "a number", tree.Text: "a text", tree.Flag: "true or false",
    tree.Nothing: "none", tree.ListOf: "a list", tree.MapOf: "a map", tree.Name: "a name",
}  # fmt: skip


def wrong_kind(expr: tree.Expr, where: str, expected: str, collector: Collector) -> None:
    """Report an expression of the wrong kind."""
    found = _KINDS.get(type(expr), "an expression")
    collector.add(codes.WRONG_KIND.at(expr.span, where=where, expected=expected, found=found))


def check_version(number: object, span: Span, line: str, collector: Collector) -> None:
    """Report a language version that is not known.

    Args:
        line: how the notation at hand writes the known one.
    """
    if type(number) is not int or number != VERSION:
        hint = f"begin the spec with `{line}`"
        collector.add(codes.VERSION.at(span, version=number, hint=hint))


def duplicate(key: str, span: Span, first: Span, collector: Collector) -> None:
    """Report a key that stands twice."""
    note = Note("the first stands here", first)
    collector.add(codes.DUPLICATE_KEY.at(span, key=key, notes=[note]))


# Plain data -------------------------------------------------------------------------------


def plain(expr: tree.Expr, where: str, collector: Collector) -> tree.Expr | None:
    """Return data without names and operations, `-1` as a number; none where it is not plain."""
    match expr:
        case tree.Number() | tree.Text() | tree.Flag() | tree.Nothing():
            return expr
        case tree.Unary("-", tree.Number(value)):
            return tree.Number(-value, expr.span)
        case tree.ListOf(items):
            kept = [plain(item, where, collector) for item in items]
            return replace(expr, items=tuple(item for item in kept if item is not None))
        case tree.MapOf():
            return plain_map(expr, where, collector)
    wrong_kind(expr, where, "plain data (quote what is a text)", collector)
    return None


def plain_map(expr: tree.Expr, where: str, collector: Collector) -> tree.MapOf | None:
    """Return a map of plain data; none where it is no map."""
    if not isinstance(expr, tree.MapOf):
        wrong_kind(expr, where, "a map", collector)
        return None
    kept = [(key, plain(value, where, collector)) for key, value in expr.items]
    return replace(expr, items=tuple((key, value) for key, value in kept if value is not None))


# Params -----------------------------------------------------------------------------------


PARAM_FACTS = ("type", "min", "max", "choices", "fixed", "doc")
"""What may stand in the braces behind a param."""


def param(header: ParamHeader, collector: Collector) -> tree.Param:
    """Read what is said about a param."""
    where = f"param {header.name!r}"
    facts = header.facts or tree.MapOf((), header.span)
    for (key, _), span in zip(facts.items, facts.key_spans, strict=True):
        if key not in PARAM_FACTS:
            hint = did_you_mean(key, PARAM_FACTS)
            collector.add(codes.UNKNOWN_KEY.at(span, key=key, where=where, hint=hint))
        if key == "type" and header.type is not None:
            duplicate(key, span, header.type.span, collector)
    given = dict(facts.items)
    return tree.Param(
        header.name,
        header.default,
        header.span,
        _type(header.type or given.get("type"), f"type of {where}", collector),
        _bound(given.get("min"), f"min of {where}", collector),
        _bound(given.get("max"), f"max of {where}", collector),
        _choices(given.get("choices"), f"choices of {where}", collector),
        _doc(given.get("doc"), f"doc of {where}", collector),
        header.comments,
        _flag(given.get("fixed"), f"fixed of {where}", collector),
    )


def _type(expr: tree.Expr | None, where: str, collector: Collector) -> str | None:
    if expr is None:
        return None
    word = expr.id if isinstance(expr, tree.Name) else ""
    word = expr.value if isinstance(expr, tree.Text) else word
    if word in PARAM_TYPES:
        return word
    collector.add(codes.WRONG_KIND.at(
        expr.span, where=where, expected=" or ".join(PARAM_TYPES), found=f"'{expr.span.text}'",
        hint=did_you_mean(word, PARAM_TYPES),
    ))  # fmt: skip
    return None


def _bound(expr: tree.Expr | None, where: str, collector: Collector) -> int | float | None:
    value = None if expr is None else plain(expr, where, collector)
    if isinstance(value, tree.Number):
        return value.value
    if value is not None:
        wrong_kind(value, where, "a number", collector)
    return None


def _flag(expr: tree.Expr | None, where: str, collector: Collector) -> bool:
    if expr is not None and not isinstance(expr, tree.Flag):
        wrong_kind(expr, where, "true or false", collector)
    return isinstance(expr, tree.Flag) and expr.value


def _choices(
    expr: tree.Expr | None, where: str, collector: Collector
) -> tuple[str | int | float, ...]:
    value = None if expr is None else plain(expr, where, collector)
    if value is not None and not isinstance(value, tree.ListOf):
        wrong_kind(value, where, "a list of texts or numbers", collector)
    found: list[str | int | float] = []
    for item in value.items if isinstance(value, tree.ListOf) else ():
        if isinstance(item, (tree.Text, tree.Number)):
            found.append(item.value)
        else:
            wrong_kind(item, where, "texts or numbers", collector)
    return tuple(found)


def _doc(expr: tree.Expr | None, where: str, collector: Collector) -> str | None:
    if isinstance(expr, tree.Text):
        return expr.value.strip()
    if expr is not None:
        wrong_kind(expr, where, "a text", collector)
    return None


# Blocks -----------------------------------------------------------------------------------


def block(header: BlockHeader, collector: Collector) -> tree.Block:
    """Make a block: a doc may stand first, then statements."""
    doc, body = _doc_and_statements(header.body, collector)
    return tree.Block(
        header.name, header.ports, tuple(param(each, collector) for each in header.params),
        header.results, body, header.span, doc.text if doc else None,
        (*header.comments, *(doc.comments if doc else ())),
    )  # fmt: skip


def _doc_and_statements(
    pieces: Iterable[Piece], collector: Collector
) -> tuple[DocLine | None, tuple[tree.Statement, ...]]:
    doc: DocLine | None = None
    body = []
    for piece in pieces:
        if isinstance(piece, STATEMENTS):
            body.append(piece)
        elif isinstance(piece, DocLine) and doc is None and not body:
            doc = piece
        else:
            collector.add(misplaced(piece, "a statement"))
    return doc, tuple(body)

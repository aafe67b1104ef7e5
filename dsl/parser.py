"""From items to pieces of the tree: each item is parsed on its own, and its errors reported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass, replace

from lark.exceptions import UnexpectedToken

from attnc.dsl import codes, tree
from attnc.dsl.brackets import DEEPEST, TooDeep
from attnc.dsl.diagnostics import Collector
from attnc.dsl.grammar import parser, words
from attnc.dsl.lexemes import Fragment, Item, Lexeme
from attnc.dsl.lexer import lex
from attnc.dsl.pieces import (
    DECLARATIONS,
    STATEMENTS,
    BlockHeader,
    ModelHeader,
    ParamHeader,
    Piece,
)
from attnc.dsl.refusal import Refused
from attnc.dsl.spans import Span
from attnc.dsl.syntax_errors import unexpected

EXPRESSIONS = (
    tree.Number, tree.Text, tree.Flag, tree.Nothing, tree.Name, tree.Star, tree.ListOf, tree.MapOf,
    tree.Call, tree.Use, tree.Slice, tree.Index, tree.Attribute, tree.Unary, tree.Binary,
    tree.Conditional, tree.Labelled,
)  # fmt: skip
"""The classes of `tree.Expr`, to ask for at run time."""


def parse_items(fragment: Fragment, collector: Collector, depth: int = 0) -> tuple[Piece, ...]:
    """Parse a text of any number of items; those with errors are reported and left out.

    Args:
        depth: levels that the text is nested in already.
    """
    try:
        items = lex(fragment, words(), collector, depth=depth)
    except TooDeep:
        return ()
    return _pieces(items, collector)


def parse_expression(fragment: Fragment, collector: Collector) -> tree.Expr | None:
    """Parse a text that is one expression; none where it is not, which is reported."""
    lexemes = lex_part(fragment, collector)
    if lexemes is None:
        return None
    parsed = parse([*lexemes, end_of(fragment)], "expression", collector)
    return parsed if isinstance(parsed, EXPRESSIONS) else None


def lex_part(fragment: Fragment, collector: Collector) -> list[Lexeme] | None:
    """Split a text that is part of an item, such as an expression; none where that fails."""
    try:
        items = lex(fragment, words(), collector, part=True)
    except TooDeep:
        return None
    if any(item.broken for item in items):
        return None
    return [lexeme for item in items for lexeme in item.lexemes]


def end_of(fragment: Fragment) -> Lexeme:
    """Return the lexeme that ends what is parsed."""
    return Lexeme("$END", "", fragment, len(fragment.text), len(fragment.text))


def parse(lexemes: Sequence[Lexeme], start: str, collector: Collector) -> object:
    """Parse lexemes up to and with an end; none where they do not fit, which is reported.

    Args:
        start: the rule: `item`, `expression`, `axis` or `port`.
    """
    state = parser().parse_interactive(start=start)
    parsed: object = None
    for at, lexeme in enumerate(lexemes):
        try:
            parsed = state.feed_token(lexeme)
        except UnexpectedToken:
            collector.add(unexpected(lexemes, at, _accepted(lexemes[:at], start)))
            return None
        except Refused as refused:
            collector.add(refused.diagnostic)
            return None
    if len(lexemes) > DEEPEST and _is_too_deep(parsed):
        span = lexemes[0].span.to(lexemes[-2].span)
        collector.add(codes.TOO_DEEP.at(span, limit=DEEPEST))
        return None
    return parsed


def _accepted(lexemes: Sequence[Lexeme], start: str) -> set[str]:
    """Return the terminals that may follow.

    Parsed anew: by the time of an error the parser has completed rules on the strength of the
    lexeme that does not fit.
    """
    state = parser().parse_interactive(start=start)
    for lexeme in lexemes:
        state.feed_token(lexeme)
    accepted: set[str] = state.accepts()  # type: ignore[no-untyped-call]  # lark leaves it bare
    return accepted


def _pieces(items: Iterable[Item], collector: Collector) -> tuple[Piece, ...]:
    found = []
    for item in items:
        _parse_bodies(item, collector)
        if item.broken:
            continue
        last = item.lexemes[-1]
        end = Lexeme("$END", "", last.fragment, last.end, last.end)
        piece = parse([*item.lexemes, end], "item", collector)
        if isinstance(piece, (*STATEMENTS, *DECLARATIONS)):
            found.append(with_comments(piece, item.lexemes))
    return tuple(found)


def _parse_bodies(item: Item, collector: Collector) -> None:
    for lexeme in item.lexemes:
        if lexeme.type == "BODY":
            lexeme.pieces = _pieces(lexeme.items, collector)


def with_comments(piece: Piece, lexemes: Sequence[Lexeme]) -> Piece:
    """Return the piece with the comments before, in and behind its lexemes."""
    within = [comment for lexeme in lexemes[1:] for comment in lexeme.comments if comment]
    behind = [lexeme.trailing for lexeme in lexemes if lexeme.trailing is not None]
    above = lexemes[0].comments
    if not (above or within or behind):
        return piece
    if isinstance(piece, STATEMENTS):
        trailing = next(iter(behind), None)
        return replace(piece, comments=(*above, *within, *behind[1:]), trailing=trailing)
    claimed = _claimed(piece)
    loose = [comment for comment in within if comment not in claimed]
    return replace(piece, comments=(*above, *loose, *behind))


def _claimed(piece: Piece) -> set[str]:
    """Return the comments that params and ports of a header have taken."""
    parts: list[tree.Port | ParamHeader] = []
    if isinstance(piece, (ModelHeader, BlockHeader)):
        parts += piece.params
    if isinstance(piece, BlockHeader):
        parts += piece.ports
    return {comment for part in parts for comment in part.comments}


def _is_too_deep(root: object) -> bool:
    """Whether expressions nest deeper than the bound; bodies have been checked by themselves."""
    level: list[object] = [root]
    for _ in range(DEEPEST + 1):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: object) -> list[object]:
    found: list[object] = []
    waiting = [getattr(node, field.name) for field in fields(node)]  # type: ignore[arg-type]
    while waiting:
        value = waiting.pop()
        if isinstance(value, tuple):
            waiting.extend(value)
        elif isinstance(value, tree.Argument):
            waiting.append(value.value)
        elif is_dataclass(value) and not isinstance(value, _APART):
            found.append(value)
    return found


_APART = (Span, *STATEMENTS, *DECLARATIONS)
"""What counts no depth, or its own."""

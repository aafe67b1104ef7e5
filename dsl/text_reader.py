"""The text notation, `.attn`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from attnc.dsl import codes, declarations, tree
from attnc.dsl.diagnostics import Collector
from attnc.dsl.lexemes import Fragment
from attnc.dsl.parser import parse_expression, parse_items
from attnc.dsl.pieces import (
    BlockHeader,
    DocLine,
    InputLine,
    ModelHeader,
    Piece,
    VariantHeader,
    VersionLine,
)
from attnc.dsl.spans import Source, Span
from attnc.dsl.statement_rules import misplaced


def read_text(source: Source, collector: Collector) -> tree.Spec | None:
    """Read a spec, or a library file, in the text notation.

    Returns none where anything is wrong; all of it is reported.
    """
    heard = Collector(limit=collector.limit)
    pieces = parse_items(Fragment.of(source, 0, len(source.text)), heard)
    spec = _file(pieces, Span(source, 0, 0), heard)
    collector.absorb(heard)
    return None if heard.found else spec


def read_expression(source: Source, start: int, end: int, collector: Collector) -> tree.Expr | None:
    """Read characters `start` up to, not including, `end` as one expression.

    Returns none where it is not one, which is reported.
    """
    return parse_expression(Fragment.of(source, start, end), collector)


@dataclass(slots=True)
class _Parts:
    """What has been found in a file or a model so far."""

    collector: Collector
    doc: DocLine | None = None
    data: dict[str, tree.Assign] = field(default_factory=dict)
    variants: list[tree.Variant] = field(default_factory=list)
    inputs: list[tree.Port] = field(default_factory=list)
    blocks: list[tree.Block] = field(default_factory=list)
    graph: list[tree.Statement] = field(default_factory=list)
    outputs: list[tree.Output] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        match piece:
            case DocLine():
                self._add_doc(piece)
            case VariantHeader():
                self.variants.append(_variant(piece, self.collector))
            case InputLine(port):
                self.inputs.append(replace(port, comments=(*piece.comments, *port.comments)))
            case BlockHeader():
                self.blocks.append(declarations.block(piece, self.collector))
            case tree.Output():
                self.outputs.append(piece)
            case VersionLine() | ModelHeader():
                self.collector.add(misplaced(piece, "a statement or declaration"))
            case tree.Assign((tree.Name(name),), "=", tree.MapOf()) if name in declarations.DATA:
                self._add_data(name, piece)
            case _:
                self._add_statement(piece)

    def _add_doc(self, doc: DocLine) -> None:
        if self.doc is not None:
            declarations.duplicate("doc", doc.span, self.doc.span, self.collector)
        self.doc = doc

    def _add_data(self, name: str, line: tree.Assign) -> None:
        if name in self.data:
            span, first = line.targets[0].span, self.data[name].targets[0].span
            declarations.duplicate(name, span, first, self.collector)
        self.data[name] = line

    def _add_statement(self, statement: tree.Statement) -> None:
        if self.outputs:
            self.collector.add(misplaced(
                statement, "another output", "outputs come last: give the value a name before"
            ))  # fmt: skip
        self.graph.append(statement)

    def plain(self, name: str) -> tree.MapOf | None:
        """Return a part that is plain data; the comments above it go to its first entry."""
        line = self.data.get(name)
        return None if line is None else _data(line, f"`{name}`", self.collector)


def _file(pieces: Sequence[Piece], start: Span, collector: Collector) -> tree.Spec:
    comments: tuple[str, ...] = ()
    if pieces and isinstance(pieces[0], VersionLine):
        line = pieces[0]
        declarations.check_version(line.number, line.span, "attnc 1", collector)
        comments = line.comments
        pieces = pieces[1:]
    if pieces and isinstance(pieces[0], ModelHeader):
        for piece in pieces[1:]:
            collector.add(misplaced(piece, "end of file", "blocks stand inside the model"))
        return _model(pieces[0], comments, collector)
    return _library(pieces, start, comments, collector)


def _library(
    pieces: Iterable[Piece], start: Span, comments: tuple[str, ...], collector: Collector
) -> tree.Spec:
    parts = _Parts(collector)
    for piece in pieces:
        if isinstance(piece, (DocLine, BlockHeader)):
            parts.add(piece)
        else:
            collector.add(misplaced(piece, "a model or a block"))
    if not parts.blocks and not collector.found:
        collector.add(codes.MISSING_KEY.at(start, where="the spec", key="model"))
    doc = parts.doc
    return tree.Spec(
        "", start, doc=doc.text if doc else None, blocks=tuple(parts.blocks), library=True,
        comments=(*comments, *(doc.comments if doc else ())),
    )  # fmt: skip


def _model(header: ModelHeader, comments: tuple[str, ...], collector: Collector) -> tree.Spec:
    parts = _Parts(collector)
    for piece in header.body:
        parts.add(piece)
    doc = parts.doc
    return tree.Spec(
        header.name,
        header.span,
        doc=doc.text if doc else None,
        paper=parts.plain("paper"),
        params=tuple(declarations.param(each, collector) for each in header.params),
        variants=tuple(parts.variants),
        inputs=tuple(parts.inputs),
        blocks=tuple(parts.blocks),
        graph=tuple(parts.graph),
        outputs=tuple(parts.outputs),
        weights=parts.plain("weights"),
        parity=parts.plain("parity"),
        comments=(*comments, *header.comments, *(doc.comments if doc else ())),
    )


def _variant(header: VariantHeader, collector: Collector) -> tree.Variant:
    doc: DocLine | None = None
    claims: tree.MapOf | None = None
    overrides: dict[str, tuple[tree.Expr, Span]] = {}
    comments = list(header.comments)
    for piece in header.body:
        match piece:
            case DocLine() if doc is None:
                doc = piece
                comments += piece.comments
            case tree.Assign((tree.Name("claims"),), "=") if claims is None:
                claims = _data(piece, "`claims`", collector)
            case tree.Assign((tree.Name(name) as target,), "=", value, None) if name != "doc":
                if name in overrides:
                    declarations.duplicate(name, target.span, overrides[name][1], collector)
                overrides[name] = value, target.span
                comments += (*piece.comments, *filter(None, [piece.trailing]))
            case _:
                collector.add(misplaced(piece, "`param = value` or `claims = {...}`"))
    return tree.Variant(
        header.name, tuple((name, value) for name, (value, _) in overrides.items()), claims,
        header.span, doc.text if doc else None, tuple(comments),
        tuple(span for _, span in overrides.values()),
    )  # fmt: skip


def _data(line: tree.Assign, where: str, collector: Collector) -> tree.MapOf | None:
    """Return the plain map of an assignment with the comments above it on its first entry."""
    found = declarations.plain_map(line.value, where, collector)
    if found is None or not found.items:
        return found
    claimed = _comments_in(found)
    above = [comment for comment in line.comments if comment not in claimed]
    above += filter(None, [line.trailing])
    first, *others = found.comments
    return replace(found, comments=((*above, *first), *others))


def _comments_in(expr: tree.Expr) -> set[str]:
    match expr:
        case tree.ListOf(items):
            return {comment for item in items for comment in _comments_in(item)}
        case tree.MapOf(items):
            own = {comment for comments in expr.comments for comment in comments}
            return own.union(*(_comments_in(value) for _, value in items))
    return set()

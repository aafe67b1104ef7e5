"""Specs in the text notation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from attnc.dsl import header_printer, tree
from attnc.dsl.expression_printer import data, expression
from attnc.dsl.layout import STEP, Brackets, Item, Layout, comment_lines, laid_out
from attnc.dsl.literals import quoted, without_margin

_Node = TypeVar("_Node", tree.Statement, tree.Variant, tree.Port, tree.Output)


def to_text(spec: tree.Spec) -> str:
    """Return the canonical text of a spec, or of a library file."""
    lines = [*comment_lines(trimmed(spec.comments), 0, first=True), f"attnc {spec.version}"]
    if spec.library:
        blocks = [_block(block, 0) for block in spec.blocks]
        lines += _joined([_doc(spec.doc, 0), *blocks], first=False)
    else:
        lines += _model(spec)
    return "\n".join(lines) + "\n"


def statements_text(statements: Sequence[tree.Statement], margin: int = 0) -> str:
    """Return statements one below the other, indented by `margin` columns."""
    return "\n".join(_statements(statements, margin))


def trimmed(comments: Sequence[str]) -> Sequence[str]:
    """Leave blank lines at the end out."""
    kept = list(comments)
    while kept and not kept[-1]:
        kept.pop()
    return kept


def _model(spec: tree.Spec) -> Iterator[str]:
    params = tuple(Item(header_printer.param(each), each.comments) for each in spec.params)
    brackets = (Brackets("(", params, ")"),) if params else ()
    yield laid_out((f"model {spec.model}", *brackets, " {"))
    sections: list[list[str]] = [
        _doc(spec.doc, STEP),
        _data("paper", spec.paper, STEP),
        [*_below_each_other(spec.variants, _variant, STEP)],
        [*_below_each_other(spec.inputs, _input, STEP)],
        *(_block(block, STEP) for block in spec.blocks),
        [*_statements(spec.graph, STEP)],
        [*_below_each_other(spec.outputs, _output, STEP)],
        _data("weights", spec.weights, STEP),
        _data("parity", spec.parity, STEP),
    ]
    yield from _joined(sections, first=True)
    yield "}"


def _joined(sections: Sequence[list[str]], first: bool) -> Iterator[str]:
    """Put a blank line before each section, but not before the first of all."""
    for section in sections:
        if section:
            if not first:
                yield ""
            first = False
            yield from section


def _below_each_other(
    nodes: Sequence[_Node], lines: Callable[[_Node, int], Iterator[str]], margin: int
) -> Iterator[str]:
    for at, node in enumerate(nodes):
        yield from comment_lines(node.comments, margin, first=at == 0)
        yield from lines(node, margin)


def _line(layout: Layout, margin: int, trailing: str | None = None) -> str:
    comment = "" if trailing is None else f"  # {trailing}".rstrip()
    return f"{' ' * margin}{laid_out(layout, margin)}{comment}"


# Declarations -----------------------------------------------------------------------------


def _doc(doc: str | None, margin: int) -> list[str]:
    if doc is None:
        return []
    lines = [quoted(line)[1:-1] for line in doc.split("\n")]
    pad = " " * (margin + len('doc "'))
    indented = "\n".join([lines[0], *(f"{pad}{line}" if line else "" for line in lines[1:])])
    if without_margin(indented) != "\n".join(lines):
        indented = quoted(doc)[1:-1]
    return [f'{" " * margin}doc "{indented}"']


def _data(name: str, value: tree.MapOf | None, margin: int) -> list[str]:
    return [] if value is None else [_line((f"{name} = ", *data(value)), margin)]


def _variant(variant: tree.Variant, margin: int) -> Iterator[str]:
    yield _line((f"variant {variant.name} {{",), margin)
    yield from _doc(variant.doc, margin + STEP)
    for name, value in variant.overrides:
        yield _line((f"{name} = ", *expression(value)), margin + STEP)
    yield from _data("claims", variant.claims, margin + STEP)
    yield _line(("}",), margin)


def _input(port: tree.Port, margin: int) -> Iterator[str]:
    yield _line(("input ", *header_printer.port(port)), margin)


def _output(output: tree.Output, margin: int) -> Iterator[str]:
    yield _line((f"output {output.name} = ", *expression(output.value)), margin)


def _block(block: tree.Block, margin: int) -> list[str]:
    return [
        *comment_lines(block.comments, margin, first=True),
        _line(("block ", *header_printer.signature(block), " {"), margin),
        *_doc(block.doc, margin + STEP),
        *_statements(block.body, margin + STEP),
        _line(("}",), margin),
    ]


# Statements -------------------------------------------------------------------------------


def _statements(statements: Sequence[tree.Statement], margin: int) -> Iterator[str]:
    return _below_each_other(statements, _statement, margin)


def _statement(statement: tree.Statement, margin: int) -> Iterator[str]:
    head, body = header_printer.statement(statement), header_printer.body(statement)
    if body is None:
        yield _line(head, margin, statement.trailing)
        return
    yield _line((*head, " {"), margin, statement.trailing)
    yield from _statements(body, margin + STEP)
    if isinstance(statement, tree.If):
        yield from _else(statement, margin)
    yield _line(("}",), margin)


def _else(statement: tree.If, margin: int) -> Iterator[str]:
    chained = header_printer.chained(statement)
    if chained is not None:
        yield _line(("} else ", *header_printer.statement(chained), " {"), margin)
        yield from _statements(chained.then, margin + STEP)
        yield from _else(chained, margin)
    elif statement.otherwise:
        yield _line(("} else {",), margin)
        yield from _statements(statement.otherwise, margin + STEP)

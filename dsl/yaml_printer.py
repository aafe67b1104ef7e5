"""Specs in the YAML notation."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import dropwhile

from attnc.dsl import header_printer, tree
from attnc.dsl.expression_printer import expression_text
from attnc.dsl.layout import Layout, comment_lines, flat, laid_out
from attnc.dsl.literals import number_text
from attnc.dsl.text_printer import trimmed
from attnc.dsl.yaml_writer import (
    Element,
    Entry,
    List,
    Literal,
    Map,
    String,
    Value,
    entries,
    literal_lines,
)


def to_yaml(spec: tree.Spec) -> str:
    """Return the canonical YAML of a spec, or of a library file."""
    model = [] if spec.library else [Entry("model", String(spec.model))]
    sections = [
        Entry("attnc", Literal(str(spec.version))),
        *model,
        *_doc(spec.doc),
        *_data("paper", spec.paper),
        *_section("params", [_param(param) for param in spec.params]),
        *_section("variants", [_variant(variant, _text_params(spec)) for variant in spec.variants]),
        *_section("inputs", [_input(port) for port in spec.inputs]),
        *_section("blocks", [_block(block) for block in spec.blocks]),
        *([Entry("graph", _statements(spec.graph))] if spec.graph else []),
        *_section("outputs", [_output(output) for output in spec.outputs]),
        *_data("weights", spec.weights),
        *_data("parity", spec.parity),
    ]
    lines = [*comment_lines(trimmed(spec.comments), 0, first=True), *entries(sections)]
    return "\n".join(lines) + "\n"


def _section(name: str, pairs: Sequence[Entry]) -> list[Entry]:
    return [Entry(name, Map(tuple(pairs), flow=False))] if pairs else []


def _doc(doc: str | None) -> list[Entry]:
    if doc is None:
        return []
    lines = literal_lines(doc)
    return [Entry("doc", String(doc, lines if len(lines) > 1 else ()))]


# Params and values ------------------------------------------------------------------------


def _param(param: tree.Param) -> Entry:
    texts = _holds_texts(param)
    default = _default(param.default, texts)
    facts = _facts(param)
    if not facts:
        return Entry(param.name, default[0].value if default else Literal(""), param.comments)
    return Entry(param.name, Map((*default, *facts)), param.comments)


def _default(default: tree.Expr | None, texts: bool) -> list[Entry]:
    if default is None:
        return []
    if not texts:
        return [Entry("default", _value(default))]
    text = _text_value(default)
    if text is not None:
        return [Entry("default", text)]
    return [Entry("expression", String(expression_text(default)))]


def _facts(param: tree.Param) -> list[Entry]:
    bounds = {"min": param.minimum, "max": param.maximum}
    facts = [Entry("type", String(param.type))] if param.type else []
    facts += [
        Entry(key, Literal(number_text(bound)))
        for key, bound in bounds.items()
        if bound is not None
    ]
    if param.choices:
        facts.append(
            Entry("choices", List(tuple(Element(_choice(each)) for each in param.choices)))
        )
    if param.fixed:
        facts.append(Entry("fixed", Literal("true")))
    return [*facts, *_doc(param.doc)]


def _choice(choice: str | int | float) -> Value:
    return String(choice) if isinstance(choice, str) else Literal(number_text(choice))


def _holds_texts(param: tree.Param) -> bool:
    """Whether the strings of a param are texts in YAML, and not parsed."""
    return param.type == "string" or bool(param.choices)


def _text_params(spec: tree.Spec) -> frozenset[str]:
    return frozenset(param.name for param in spec.params if _holds_texts(param))


def _variant(variant: tree.Variant, text_params: frozenset[str]) -> Entry:
    overrides = [
        Entry(name, _override(value, name in text_params)) for name, value in variant.overrides
    ]
    pairs = (*_doc(variant.doc), *overrides, *_data("claims", variant.claims))
    return Entry(variant.name, Map(pairs, flow=False), variant.comments)


def _override(value: tree.Expr, texts: bool) -> Value:
    (entry,) = _default(value, texts)
    return entry.value if entry.key == "default" else Map((entry,))


def _value(expr: tree.Expr) -> Value:
    """Return an expression: a number or the like as such, all else as a string."""
    return _native(expr) or String(expression_text(expr))


def _native(expr: tree.Expr) -> Value | None:
    match expr:
        case tree.Number() | tree.Flag() | tree.Unary("-", tree.Number()):
            return Literal(expression_text(expr))
        case tree.Name(name):
            return String(name)
        case tree.ListOf(items):
            found = [_native(item) for item in items]
            kept = tuple(Element(item) for item in found if item is not None)
            return List(kept) if len(kept) == len(found) else None
    return None


def _text_value(expr: tree.Expr) -> Value | None:
    """Return a value in which strings are texts; none where it holds an expression."""
    match expr:
        case tree.Number() | tree.Flag() | tree.Unary("-", tree.Number()):
            return Literal(expression_text(expr))
        case tree.Nothing():
            return Literal("null")
        case tree.Text(text):
            return String(text)
        case tree.ListOf(items):
            found = [_text_value(item) for item in items]
            kept = tuple(Element(item) for item in found if item is not None)
            return List(kept) if len(kept) == len(found) else None
    return None


# Plain data -------------------------------------------------------------------------------


def _data(name: str, value: tree.MapOf | None) -> list[Entry]:
    return [] if value is None else [Entry(name, _plain_map(value, name == "claims"))]


def _plain_map(value: tree.MapOf, flow: bool) -> Map:
    comments = value.comments or ((),) * len(value.items)
    pairs = (
        Entry(key, _plain(item), above)
        for (key, item), above in zip(value.items, comments, strict=True)
    )
    return Map(tuple(pairs), flow)


def _plain(expr: tree.Expr) -> Value:
    match expr:
        case tree.Text(text):
            return String(text)
        case tree.Nothing():
            return Literal("null")
        case tree.ListOf(items):
            return List(tuple(Element(_plain(item)) for item in items))
        case tree.MapOf():
            return _plain_map(expr, flow=True)
    return Literal(expression_text(expr))


# Inputs, outputs, blocks ------------------------------------------------------------------


def _input(port: tree.Port) -> Entry:
    shape = port.shape
    is_plain = port.dtype == "float" and not port.optional and port.condition is None
    if shape is None and is_plain:
        return Entry(port.name, Literal(""), port.comments)
    if shape is None or not is_plain:
        return Entry(
            port.name, String(_line(header_printer.port_type(port)).strip()), port.comments
        )
    axes = (
        Literal(text) if text.isdigit() else String(text)
        for text in (expression_text(item) for item in shape.items)
    )
    return Entry(port.name, List(tuple(Element(axis) for axis in axes)), port.comments)


def _output(output: tree.Output) -> Entry:
    return Entry(output.name, _value(output.value), output.comments)


def _block(block: tree.Block) -> Entry:
    """The key is the header; the comments within it have no place there and stand above.

    A blank line parts blocks.
    """
    parts: list[tree.Port | tree.Param] = [*block.ports, *block.params]
    within = [comment for part in parts for comment in part.comments]
    bare = replace(
        block,
        ports=tuple(replace(port, comments=()) for port in block.ports),
        params=tuple(replace(param, comments=()) for param in block.params),
    )
    body = _statements(block.body)
    value = body if block.doc is None else Map((*_doc(block.doc), Entry("body", body)), flow=False)
    comments = ("", *dropwhile(operator.not_, block.comments), *within)
    return Entry(_line(header_printer.signature(bare)), value, comments)


# Statements -------------------------------------------------------------------------------


def _statements(statements: Iterable[tree.Statement]) -> List:
    elements = [element for statement in statements for element in _statement(statement)]
    return List(tuple(elements), flow=False)


def _statement(statement: tree.Statement) -> list[Element]:
    head, body = header_printer.statement(statement), header_printer.body(statement)
    if body is None:
        lines = literal_lines(laid_out(head))
        text = String(_line(head), lines if len(lines) > 1 else ())
        return [Element(text, statement.comments, statement.trailing)]
    first = _headed(_line(head), body, statement.comments, statement.trailing)
    return [first, *_else(statement)] if isinstance(statement, tree.If) else [first]


def _else(statement: tree.If) -> list[Element]:
    chained = header_printer.chained(statement)
    if chained is not None:
        head = f"else {_line(header_printer.statement(chained))}"
        return [_headed(head, chained.then), *_else(chained)]
    return [_headed("else", statement.otherwise)] if statement.otherwise else []


def _headed(
    head: str,
    body: Iterable[tree.Statement],
    comments: tuple[str, ...] = (),
    trailing: str | None = None,
) -> Element:
    entry = Entry(head, _statements(body), trailing=trailing)
    return Element(Map((entry,), flow=False), comments)


def _line(layout: Layout) -> str:
    return flat(layout) or ""

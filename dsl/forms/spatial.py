"""Domains on a grid of tokens: windows, stripes, neighbourhoods, overlapping windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from attnc.dsl import codes, tree
from attnc.dsl.attention import Grid, Neighborhood, Overlapping, Stripes, Windows
from attnc.dsl.builder import Builder
from attnc.dsl.dims import Shape, Size
from attnc.dsl.expressions import fail
from attnc.dsl.forms.form import Form, arguments, sizes
from attnc.dsl.values import DomainValue, noun


@dataclass(slots=True)
class Given:
    """The arguments of a domain, by name."""

    builder: Builder
    name: str
    call: tree.Call
    named: Mapping[str, tree.Expr]

    def sizes(self, parameter: str, least: int = 1, default: Size | None = None) -> Shape:
        """Return a size, or one for each axis."""
        if default is not None and parameter not in self.named:
            return (default,)
        return sizes(self.builder, self.expr(parameter), self.name, parameter, least)

    def flag(self, parameter: str, default: bool) -> bool:
        """Return a truth value."""
        expr = self.named.get(parameter)
        value = default if expr is None else self.builder.evaluate(expr)
        if not isinstance(value, bool):
            self.fail(expr, f"{parameter} is true or false, not {noun(value)}")
        return value

    def word(self, parameter: str, known: tuple[str, ...]) -> str:
        """Return one of some words; the first unless it is given."""
        expr = self.named.get(parameter)
        if expr is None:
            return known[0]
        word: object = expr.span.text
        if isinstance(expr, tree.Text) or (
            isinstance(expr, tree.Name) and expr.id in self.builder.scope
        ):
            word = self.builder.evaluate(expr)
        if not isinstance(word, str) or word not in known:
            self.fail(expr, f"{parameter} is {' or '.join(known)}")
        return word

    def grid(self) -> Grid | None:
        """Return the grid; none where it is left to the source."""
        if "grid" not in self.named:
            if "key_grid" in self.named:
                self.fail(self.named["key_grid"], "key_grid goes with grid")
            return None
        queries = self.sizes("grid")
        return Grid(queries, self.sizes("key_grid") if "key_grid" in self.named else queries)

    def expr(self, parameter: str) -> tree.Expr:
        """Return an argument that must be given, as written."""
        if parameter not in self.named:
            self.fail(None, f"argument {parameter!r} is missing")
        return self.named[parameter]

    def fail(self, expr: tree.Expr | None, detail: str) -> NoReturn:
        """Report what is wrong with an argument, or with the call."""
        fail(codes.ARGUMENT.at((expr or self.call).span, op=self.name, detail=detail))


def given(builder: Builder, call: tree.Call, name: str, parameters: tuple[str, ...]) -> Given:
    """Match the arguments of a domain with its parameters."""
    positional, named = arguments(call, name, parameters)
    if len(positional) > len(parameters):
        fail(codes.ARGUMENT.at(
            positional[len(parameters)].span, op=name, detail=f"takes {', '.join(parameters)}"
        ))  # fmt: skip
    matched = dict(zip(parameters, positional, strict=False))
    twice = next((key for key in matched if key in named), None)
    if twice is not None:
        fail(codes.ARGUMENT.at(
            named[twice].span, op=name, detail=f"argument {twice!r} is given twice"
        ))  # fmt: skip
    return Given(builder, name, call, {**matched, **named})


def _windows(builder: Builder, call: tree.Call, label: str | None) -> object:
    at = given(builder, call, "windows", ("size", "shift", "dilation", "wrap", "grid"))
    return DomainValue(Windows(
        at.sizes("size"), at.sizes("shift", 0, 0), at.sizes("dilation", 1, 1),
        at.flag("wrap", False), at.grid(),
    ))  # fmt: skip


def _stripes(builder: Builder, call: tree.Call, label: str | None) -> object:
    at = given(builder, call, "stripes", ("axis", "width", "grid"))
    axis = builder.evaluate(at.expr("axis"))
    if not isinstance(axis, int) or isinstance(axis, bool):
        at.fail(at.expr("axis"), f"axis is the number of an axis of the grid, not {noun(axis)}")
    width = at.sizes("width")
    if len(width) > 1:
        at.fail(at.expr("width"), "width is one size")
    return DomainValue(Stripes(axis, width[0], at.grid()))


def _neighborhood(builder: Builder, call: tree.Call, label: str | None) -> object:
    at = given(builder, call, "neighborhood", ("kernel", "edge", "dilation", "grid", "key_grid"))
    edge = at.word("edge", ("truncate", "clamp"))
    return DomainValue(
        Neighborhood(at.sizes("kernel"), edge, at.sizes("dilation", 1, 1), at.grid())
    )


def _overlapping(builder: Builder, call: tree.Call, label: str | None) -> object:
    at = given(builder, call, "overlapping", ("size", "key_size", "grid", "key_grid"))
    size, key_size = at.sizes("size"), at.sizes("key_size")
    if any(
        isinstance(keys, int) and isinstance(inner, int) and keys < inner
        for inner, keys in zip(size, key_size, strict=False)
    ):
        at.fail(at.expr("key_size"), "key_size is at least size")
    return DomainValue(Overlapping(size, key_size, at.grid()))


SPATIAL: Mapping[str, Form] = {
    "windows": Form(_windows),
    "stripes": Form(_stripes),
    "neighborhood": Form(_neighborhood),
    "overlapping": Form(_overlapping),
}

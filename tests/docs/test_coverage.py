"""The page that says how systems are written: its pieces are expressions of the language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from attnc.dsl import scorelang, tree
from attnc.dsl.attention import Weight
from attnc.dsl.diagnostics import Collector
from attnc.dsl.dims import symbol
from attnc.dsl.forms import FORMS
from attnc.dsl.forms.domains import DOMAINS
from attnc.dsl.forms.normalisers import NORMALISERS
from attnc.dsl.forms.sources import PIECES
from attnc.dsl.graph import TensorType
from attnc.dsl.lexemes import Fragment
from attnc.dsl.parser import parse_expression
from attnc.dsl.spans import Source

PAGE = (Path(__file__).parents[2] / "docs" / "coverage.md").read_text()
TRUTH = {"valid", "keep", "route", "empty"}
"""Tensors of truth values on the page; all others that are read by element hold numbers."""


def rows() -> list[str]:
    return [line for line in PAGE.splitlines() if re.match(r"\| (?!system)\w", line)]


def pieces() -> list[str]:
    """The arguments of `attend` on the page."""
    names = "|".join((*PIECES, "normalize", "renormalize", "outputs", "join"))
    written = (piece for row in rows() for piece in re.findall(r"`([^`]+)`", row))
    return sorted({piece for piece in written if re.match(rf"({names}) = ", piece)})


def arguments(piece: str) -> Iterator[tuple[str, tree.Expr]]:
    text = f"attend(q, k, v, {piece})"
    collector = Collector()
    call = parse_expression(Fragment.of(Source("page", text), 0, len(text)), collector)
    assert isinstance(call, tree.Call), collector.found
    for argument in call.arguments[3:]:
        assert argument.name is not None, piece
        yield argument.name, argument.value


class Scope:
    """Names with indices are tensors of as many axes, all others sizes."""

    def __init__(self, expr: tree.Expr) -> None:
        indexed = re.findall(r"(\w+)\[", expr.span.text)
        self.tensors = {
            name: re.search(rf"\b{name}\[([^\[\]]*)\]", expr.span.text) for name in indexed
        }

    def lookup(self, name: str) -> scorelang.Known | None:
        if name == "w":
            return Weight()
        if name not in self.tensors:
            return 0.5 if name in ("scale", "beta") else symbol(name)
        found = self.tensors[name]
        assert found is not None, f"{name} is indexed by an element"
        depth = re.sub(r"\([^()]*\)", "", found[1]).count(",") + 1
        return TensorType((symbol("size"),) * depth, "bool" if name in TRUTH else "float")


def check_domain(expr: tree.Expr) -> None:
    if isinstance(expr, tree.Name):
        assert expr.id in ("all", "causal")
        return
    assert isinstance(expr, tree.Call) and isinstance(expr.function, tree.Name)
    assert expr.function.id in DOMAINS
    if expr.function.id == "where":
        (condition,) = expr.arguments
        assert scorelang.build(condition.value, Scope(condition.value)).type == "bool"


@pytest.mark.parametrize("piece", pieces())
def test_a_piece_is_what_the_language_has(piece: str) -> None:
    for name, value in arguments(piece):
        if name in ("score", "mask", "post"):
            kind = scorelang.build(value, Scope(value)).type
            assert (kind == "bool") == (name == "mask")
        elif name == "domain":
            check_domain(value)
        elif name == "normalize":
            assert value.span.text.partition("(eps")[0].partition("(floor")[0] in NORMALISERS


def test_every_system_has_a_row() -> None:
    assert len(rows()) == 42
    assert len({row.split("|")[1] for row in rows()}) == 42
    assert {"attend", "source"} <= FORMS.keys()

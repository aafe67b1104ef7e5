"""Emitted text is spaced and broken as `ruff format` does it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from attnc.compiler.emit.code import (
    Assign,
    Attribute,
    Binary,
    Call,
    DictOf,
    Each,
    Expr,
    Index,
    ListOf,
    Literal,
    Name,
    Return,
    Slice,
    Statement,
    TupleOf,
    Unary,
    dotted,
)
from attnc.compiler.emit.imports import import_lines
from attnc.compiler.emit.layout import WIDTH, lines_of, signature
from attnc.compiler.emit.reader import read_expression, read_spec
from attnc.compiler.emit.text import flat

WORDS = ("x", "features", "self", "query_states", "attention", "embedding_table", "n")
OPERATORS = ("+", "-", "*", "/", "//", "%", "@", "**", "&", "|", "==", "<")
VALUES = (0, 384, -1, 1e-6, 0.125, True, None, "nearest", "it's", 'a "b"')


class Writer:
    """Draws expressions that emitted code may hold."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def atom(self) -> Expr:
        if self.draw.random() < 0.6:
            return Name(self.draw.choice(WORDS))
        return Literal(self.draw.choice(VALUES))

    def base(self) -> Expr:
        return Name(self.draw.choice(WORDS))

    def some(
        self, make: Callable[[int], Expr], depth: int, low: int, high: int
    ) -> tuple[Expr, ...]:
        return tuple(make(depth) for _ in range(self.draw.randint(low, high)))

    def expression(self, depth: int) -> Expr:
        if depth == 0:
            return self.atom()
        kinds = (self.binary, self.unary, self.index, self.call, self.items, self.attribute)
        return self.draw.choice(kinds)(depth - 1)

    def binary(self, depth: int) -> Expr:
        operator = self.draw.choice(OPERATORS)
        return Binary(operator, self.expression(depth), self.expression(depth))

    def unary(self, depth: int) -> Expr:
        return Unary(self.draw.choice("-~"), self.expression(depth))

    def attribute(self, depth: int) -> Expr:
        base = self.expression(depth)
        return Attribute(self.base() if isinstance(base, Literal) else base, "shape")

    def index(self, depth: int) -> Expr:
        return Index(self.base(), self.some(self.place, depth, 1, 3))

    def place(self, depth: int) -> Expr:
        bounds = [self.draw.choice((None, self.expression(depth))) for _ in range(3)]
        return self.draw.choice((self.expression(depth), Slice(*bounds)))

    def items(self, depth: int) -> Expr:
        return self.draw.choice((TupleOf, ListOf))(self.some(self.expression, depth, 1, 3))

    def call(self, depth: int) -> Expr:
        function = dotted(self.draw.choice(("F.gelu", "self.proj", "nn.Linear", "x.flatten")))
        given = self.some(self.expression, depth, 0, 3)
        named = self.some(self.expression, depth, 0, 2)
        return Call(function, given, tuple((f"key{at}", each) for at, each in enumerate(named)))

    def long(self) -> Expr:
        """Draw what will often not fit a line, and breaks at a bracket."""
        items = self.some(self.simple, 0, 1, 8)
        function = dotted(self.draw.choice(("nn.Conv2d", "F.scaled_dot_product_attention")))
        named = tuple((f"key_word{at}", self.simple(0)) for at in range(self.draw.randint(0, 3)))
        return self.draw.choice((
            TupleOf(items),
            ListOf(items),
            DictOf(tuple((f"name{at}", item) for at, item in enumerate(items))),
            Call(function, items, named),
            Call(function, (TupleOf(items), self.atom()), named),
            Call(function, (ListOf(items),)),
            Call(function, (Each(Call(function, items[:4]), ("_",), Name("range")),)),
            self.chain(),
        ))  # fmt: skip

    def simple(self, depth: int) -> Expr:
        if self.draw.random() < 0.2:
            return Call(Name("Encoder"), self.some(lambda _: self.atom(), 0, 0, 6))
        return self.atom()

    def chain(self) -> Expr:
        methods = ("unflatten", "transpose", "flatten")
        links = self.draw.randint(1, 6)
        expr = self.draw.choice((self.base(), Call(dotted("self.proj"), (self.base(),))))
        for _ in range(links):
            sizes = self.some(lambda _: dotted("self.window"), 0, 1, 3)
            expr = Call(Attribute(expr, self.draw.choice(methods)), sizes)
        return expr


def formatted(lines: list[str], path: Path) -> str:
    """Return what `ruff format` would change."""
    path.write_text("\n".join(lines) + "\n")
    ruff = [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={WIDTH}"]
    return subprocess.run([*ruff, "--diff", str(path)], capture_output=True, text=True).stdout


def test_expressions_are_spaced_as_ruff_does_it(tmp_path: Path) -> None:
    writer = Writer(0)
    drawn = [writer.expression(writer.draw.randint(1, 3)) for _ in range(600)]
    lines = [line for e in drawn for line in lines_of((Assign((Name("y"),), e),), "")]
    fitting = [line for line in lines if len(line) <= WIDTH and line.startswith("y = ")]
    assert len(fitting) > 400
    assert formatted([line for line in fitting if line[-1] not in "([{"], tmp_path / "x.py") == ""


def test_long_statements_are_broken_as_ruff_does_it(tmp_path: Path) -> None:
    writer = Writer(1)
    lines: list[str] = []
    for _ in range(400):
        value = writer.long()
        targets = tuple(map(Name, writer.draw.choice((("y",), ("a_name", "another_name")))))
        returns = writer.draw.random() < 0.3
        statement: Statement = Return(value) if returns else Assign(targets, value)
        lines += ["def f():", *lines_of((statement,), "    "), "", ""]
    assert sum(line.strip() in (")", "]", "}") for line in lines) > 50
    assert formatted(lines[:-2], tmp_path / "x.py") == ""


def test_signatures_are_broken_as_ruff_does_it(tmp_path: Path) -> None:
    lines: list[str] = []
    for count in range(1, 14):
        parameters = ["self", *(f"parameter_{at}: int" for at in range(count))]
        lines += [*signature("def f", parameters, " -> None:", ""), "    pass", "", ""]
    assert formatted(lines[:-2], tmp_path / "x.py") == ""


@pytest.mark.parametrize(
    "text",
    [
        "F.gelu(x, approximate=\"tanh\")",
        "x[:, 0:1, ..., None]",
        "x[: n + 1, ::2]",
        "-(x**2) + (y - z) * 3",
        "(-1) ** x",
        "a - (b - c) - d",
        "~(a & b) | c",
        "torch.full((3,), float(\"-inf\"))",
        "nn.LayerNorm(384, eps=1e-6)",
        "{\"a\": x, \"b\": (x, y)}",
        "[1, 2.5, True, None]",
    ],
)  # fmt: skip
def test_what_is_read_is_written_alike(text: str) -> None:
    assert flat(read_expression(text)) == text


def test_numbers_that_python_has_no_literal_for() -> None:
    assert flat(Literal(float("inf"))) == 'float("inf")'
    assert flat(Literal(float("-inf"))) == 'float("-inf")'
    assert flat(Literal(1e-05)) == "1e-5"
    assert flat(Literal(1e22)) == "1e22"
    assert flat(Attribute(Literal(1), "real")) == "(1).real"


def test_a_text_of_a_spec_is_read_as_far_as_it_goes() -> None:
    assert read_spec("use encoder(heads=8)") is None
    said = read_spec("linear(x, d) if heads > 1 else y")
    assert isinstance(said, TupleOf)
    assert read_expression("linear(x, d)") in said.items


def test_imports_stand_as_isort_puts_them() -> None:
    lines = [
        "import torch",
        "from torch import nn",
        "import triton.language as tl",
        "from functools import cache",
        "from torch import Tensor",
        "from .kernels import f",
        "import math",
    ]
    assert import_lines(lines) == [
        "import math",
        "from functools import cache",
        "",
        "import torch",
        "import triton.language as tl",
        "from torch import Tensor, nn",
        "",
        "from .kernels import f",
    ]

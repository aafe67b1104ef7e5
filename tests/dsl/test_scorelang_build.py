"""Score expressions from their surface form: types, errors with places, and printing back."""

from __future__ import annotations

import ast

import pytest

from attnc.dsl import scorelang, tree
from attnc.dsl.attention import Apply, Constant, Coordinate, Dot, Extent, Load, ScoreTree
from attnc.dsl.dims import symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.spans import Source, Span

N = symbol("n")
OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==",
    ast.NotEq: "!=", ast.And: "and", ast.Or: "or", ast.USub: "-", ast.Not: "not",
}  # fmt: skip


class Scope:
    known: dict[str, scorelang.Known] = {
        "n": N,
        "window": 8,
        "scale": 0.125,
        "training": True,
        "bias": TensorType((6, 15)),
        "temperature": TensorType(()),
        "pad": TensorType((symbol("b"), N), "bool"),
        "segment": TensorType((symbol("b"), N), "int"),
        "spectrum": TensorType((6,), "complex"),
    }

    def lookup(self, name: str) -> scorelang.Known | None:
        return self.known.get(name)


def parse(text: str) -> tree.Expr:
    """Read a surface expression by Python's parser: the score language is a part of it."""
    source = Source("test", text)

    def expr(node: ast.expr) -> tree.Expr:
        span = Span(source, node.col_offset, node.end_col_offset or 0)
        match node:
            case ast.Constant(int() | float() as value):
                return tree.Number(value, span)
            case ast.Name("true" | "false" as word):
                return tree.Flag(word == "true", span)
            case ast.Name(name):
                return tree.Name(name, span)
            case ast.UnaryOp(operator, operand):
                return tree.Unary(OPERATORS[type(operator)], expr(operand), span)
            case ast.BinOp(left, operator, right):
                return tree.Binary(OPERATORS[type(operator)], expr(left), expr(right), span)
            case ast.BoolOp(operator, values):
                joined = expr(values[0])
                for value in values[1:]:
                    joined = tree.Binary(OPERATORS[type(operator)], joined, expr(value), span)
                return joined
            case ast.Compare(left, operators, rights):
                joined = expr(left)
                for comparison, right in zip(operators, rights, strict=True):
                    joined = tree.Binary(OPERATORS[type(comparison)], joined, expr(right), span)
                return joined
            case ast.IfExp(test, body, orelse):
                return tree.Conditional(expr(test), expr(body), expr(orelse), span)
            case ast.Subscript(value, ast.Tuple(items)):
                return tree.Index(expr(value), tuple(map(expr, items)), span)
            case ast.Subscript(value, item):
                return tree.Index(expr(value), (expr(item),), span)
            case ast.Slice():
                return tree.Slice(None, None, None, Span(source, 0, 1))
            case ast.Call(function, arguments, keywords):
                given = [tree.Argument(None, expr(each), span) for each in arguments]
                given += [tree.Argument(each.arg, expr(each.value), span) for each in keywords]
                return tree.Call(expr(function), tuple(given), span)
        raise AssertionError(ast.dump(node))

    return expr(ast.parse(text, mode="eval").body)


def build(text: str) -> ScoreTree:
    return scorelang.build(parse(text), Scope(), Scope.known)


def test_a_biased_score_is_typed() -> None:
    i, j, h = (Coordinate(name) for name in "ijh")
    offset = Apply("add", (Apply("sub", (i, j), "int"), Constant(7)), "int")
    scaled = Apply("mul", (Dot(), Constant(0.125)), "float")
    expected = Apply("add", (scaled, Load("bias", (h, offset))), "float")
    assert build("qk * scale + bias[h, i - j + 7]") == expected


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("i - j", "int"),
        ("i / j", "float"),
        ("(i - j) ** 2", "int"),
        ("i ** 0.5", "float"),
        ("qk * i", "float"),
        ("n // 2 + i", "int"),
        ("i <= j and pad[b, j]", "bool"),
        ("where(i < j, 1, 2)", "int"),
        ("where(i < j, 1, qk)", "float"),
        ("max(i, 0.5)", "float"),
        ("floor(log2(float(i - j)))", "int"),
        ("float(pad[b, j])", "float"),
        ("segment[b, i] == segment[b, j]", "bool"),
        ("temperature * qk", "float"),
        ("abs(i - j)", "int"),
        ("qk if training else i", "float"),
        ("2 ** 10", "int"),
    ],
)
def test_types(text: str, type_: str) -> None:
    assert build(text).type == type_


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("window // 3 * 2 + 1", Constant(5)),
        ("2 * n - n - 1", Extent(N - 1)),
        ("(n + 1) ** 2 - n ** 2", Extent(2 * N + 1)),
        ("n - n", Constant(0)),
        ("n == n + 1", Constant(False)),
        ("sqrt(16) * 2", Constant(8.0)),
        ("2 ** -1", Constant(0.5)),
        ("not training", Constant(False)),
    ],
)
def test_numbers_and_sizes_are_computed(text: str, expected: ScoreTree) -> None:
    built = build(text)
    assert (built, built.type) == (expected, expected.type)


@pytest.mark.parametrize(
    "text",
    [
        "qk * 0.125 + bias[h, i - j + 7]",
        "tanh(qk / 50) * 50 - temperature * (i - j)",
        "(j <= i or pad[b, j]) and not pad[b, i] and segment[b, i] % 3 != 1",
        "-(qk - 1) ** 2 / (qk + 2)",
        "qk - (i - (j - 1)) * (2 * n - 1)",
        "where(i // 4 >= j // 4, qk, -abs(qk)) * log(n)",
        "(-qk) ** 3 ** 0.5 - -i",
        "float(i) / 7.0 + exp(i - j)",
        "min(max(i - j, -8), 8) * rsqrt(1 + i)",
    ],
)
def test_printed_text_reads_back_as_the_same_tree(text: str) -> None:
    built = build(text)
    printed = scorelang.text(built)
    assert build(printed) == built
    assert scorelang.text(build(printed)) == printed


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("i * 1 + 0 * j", "i"),
        ("(qk + 0) / 1", "qk"),
        ("not (i < j and j > 2)", "i >= j or j <= 2"),
        ("not not pad[b, i]", "pad[b, i]"),
        ("i + -3 - -j", "i - 3 + j"),
        ("where(true, qk, 1)", "qk"),
        ("max(3, i)", "max(i, 3)"),
        ("true and i < j", "i < j"),
        ("not (qk < 1)", "not qk < 1.0"),  # a NaN is neither
        ("qk ** 2", "qk ** 2"),
    ],
)
def test_simplified(text: str, printed: str) -> None:
    assert scorelang.text(build(text)) == printed


@pytest.mark.parametrize(
    ("text", "place", "detail", "help"),
    [
        ("qk * scal", "scal", "'scal' is not defined here", "did you mean `scale`?"),
        ("qk + tanh", "tanh", "'tanh' is not defined here", "write tanh(...)"),
        ("tahn(qk)", "tahn(qk)", "there is no function 'tahn' in scores", "did you mean `tanh`?"),
        ("qk + (i < j)", "qk + (i < j)", "`+` takes a float; `i < j` is a bool",
         "write float(i < j)"),
        ("i and j", "i and j", "`and` takes a bool; `i` is an int", "write i != 0"),
        ("qk // 2", "qk // 2", "`//` takes an int; `qk` is a float", "write floor(qk)"),
        ("0 <= i < 4", "0 <= i < 4", "comparisons do not chain",
         "write a < b and b < c"),
        ("bias[h]", "bias[h]", "bias has shape [6, 15] and takes 2 indices, not 1",
         "write bias[i, j], for instance"),
        ("bias * 2", "bias", "bias has shape [6, 15] and takes 2 indices, not 0",
         "write bias[i, j], for instance"),
        ("bias[h, qk]", "qk", "an index is an int; this is a float", None),
        ("scale[h]", "scale", "`scale` is no tensor and has no elements", None),
        ("biass[h, i]", "biass", "'biass' is not defined here", "did you mean `bias`?"),
        ("spectrum[h]", "spectrum[h]", "spectrum is complex; scores are real", None),
        ("exp(qk, 1)", "exp(qk, 1)", "exp takes 1 argument, not 2", None),
        ("exp(qk, base=2)", "exp(qk, base=2)", "exp has no parameter 'base'", None),
        ("i % (window - 8)", "i % (window - 8)", "`i % 0` divides by zero", None),
        ("log(-1)", "log(-1)", "`log(-1.0)` has no value: math domain error", None),
        ("exp(1000)", "exp(1000)", "`exp(1000.0)` has no value: math range error", None),
        ("1 if i < j else 0", "i < j",
         "`if` is decided at compile time; this differs between pairs",
         "write where(condition, a, b)"),
    ],
)  # fmt: skip
def test_errors_say_where_and_what(text: str, place: str, detail: str, help: str | None) -> None:
    with pytest.raises(scorelang.ScoreError) as caught:
        build(text)
    wrong = caught.value
    assert (wrong.span.text, wrong.detail, wrong.help) == (place, detail, help)


def test_loads_and_coordinates() -> None:
    built = build("qk + bias[h, i - j] + bias[h, i - j] * bias[h, 0] + segment[b, i]")
    assert {name: len(found) for name, found in scorelang.loads(built).items()} == {
        "bias": 2,
        "segment": 1,
    }
    assert scorelang.coordinates(built) == {"h", "i", "j", "b"}
    renamed = scorelang.rename(built, {"bias": "table"})
    assert set(scorelang.loads(renamed)) == {"table", "segment"}
    assert scorelang.extents(build("i + (n - 1) + window")) == {N - 1}

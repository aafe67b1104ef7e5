"""How code becomes parametric, how it is rolled into loops, how values get their names."""

from __future__ import annotations

import pytest
from torch import fx

import attnc
from attnc.api import Compilation
from attnc.compiler.emit.code import (
    Assign,
    Expr,
    For,
    Literal,
    Name,
    Ref,
    Return,
    Role,
    Statement,
    TupleOf,
    literals_in,
    rewrite,
)
from attnc.compiler.emit.expressions import call_method
from attnc.compiler.emit.flow import Flow, Line, Step
from attnc.compiler.emit.layout import WIDTH, lines_of
from attnc.compiler.emit.loops import Roller
from attnc.compiler.emit.naming import Names, class_name, identifier, singular, unused
from attnc.compiler.emit.parameters import Column, Parameters, Settings
from attnc.compiler.emit.reader import read_expression, read_spec
from attnc.compiler.emit.text import flat

# Parameters -------------------------------------------------------------------------------

ONE = [{"d": 384, "heads": 6, "ratio": 4, "eps": 1e-6}]
TWO = [{"d": 96, "heads": 3, "ratio": 4}, {"d": 192, "heads": 6, "ratio": 4}]


def expression(settings: Settings, column: Column, said: str, role: Role = Role.NUMBER) -> str:
    literal = Literal(column[0], read_spec(said), role)
    return flat(Parameters(settings, frozenset({"d"})).expression(column, literal, "size"))


@pytest.mark.parametrize(
    ("value", "said", "expected"),
    [
        (384, "layer_norm(x)", "d"),
        (1152, "linear(x, 3 * d)", "3 * d"),
        (1152, "linear(x, n)", "3 * d"),
        (6, "rearrange(x, h=heads)", "heads"),
        (6, "rearrange(x, h=6)", "6"),
        (6, "relu(x)", "6"),
        (64, "rearrange(x, h=heads)", "d // heads"),
        (1536, "mlp(x, ratio=ratio)", "d * ratio"),
        (1e-6, "layer_norm(x, eps=eps)", "eps"),
        (1e-6, "layer_norm(x, eps=1e-6)", "1e-6"),
        (12, "f(2 * heads)", "2 * heads"),
        (True, "f(heads)", "True"),
        ("nearest", "f(heads)", '"nearest"'),
        (0, "f(heads)", "0"),
    ],
)
def test_a_number_is_said_as_the_spec_says_it(value: int, said: str, expected: str) -> None:
    assert expression(ONE, (value,), said) == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ((96, 192), "d"),
        ((3, 6), "heads"),
        ((288, 576), "3 * d"),
        ((32, 32), "d // heads"),
        ((7, 7), "7"),
        ((5, 11), "size"),
        ((384, 768), "d * ratio"),
    ],
)
def test_a_number_that_differs_becomes_a_parameter(column: Column, expected: str) -> None:
    assert expression(TWO, column, "f(heads)") == expected


def test_a_quotient_with_a_remainder_is_one_by_chance() -> None:
    settings = [{"d": 49, "heads": 6}]
    assert expression(settings, (24,), "f(x)") == "24"
    assert expression(settings, (24,), "f(d // 2)") == "d // 2"
    assert expression([{"d": 48, "heads": 6}], (24,), "f(x)") == "d // 2"


def test_numbers_and_truth_values_are_told_apart() -> None:
    settings = [{"a": 1, "b": True, "c": 1.0}, {"a": 0, "b": False, "c": 0.0}]
    assert expression(settings, (True, False), "f()") == "b"
    assert expression(settings, (1.0, 0.0), "f()") == "c"


def test_a_size_is_a_size_however_small() -> None:
    assert expression([{"d": 8, "heads": 8}], (8,), "linear(x, 3)", Role.SIZE) == "d"
    assert expression([{"d": 8, "heads": 8}], (8,), "linear(x, 3)") == "8"


def test_a_number_of_which_the_spec_says_nothing_stays() -> None:
    assert (
        flat(Parameters(ONE, frozenset({"d"})).expression((384,), Literal(384), "depth")) == "384"
    )
    varied = Parameters(TWO, frozenset({"d"})).expression((5, 7), Literal(5), "depth")
    assert flat(varied) == "depth"


def test_what_was_said_once_is_said_again_of_the_same_large_number() -> None:
    parameters = Parameters(ONE, frozenset({"d"}))
    first = Literal(1536, read_spec("linear(x, d * ratio)"))
    assert flat(parameters.expression((1536,), first, "size")) == "d * ratio"
    again = Literal(1536, read_spec("linear(h, d)"))
    assert flat(parameters.expression((1536,), again, "size")) == "d * ratio"
    assert parameters.ordered() == ["d", "ratio"]


def test_an_argument_stays_one_beside_a_size_that_is_equal_by_chance() -> None:
    settings = [{"d": 32, "groups": 32, "width": 32}]
    parameters = Parameters(settings, frozenset({"d"}), {"width": "d"})
    for said, expected in (("f(groups=groups)", "groups"), ("f(width=width)", "d")):
        literal = Literal(32, read_spec(said))
        assert flat(parameters.expression((32,), literal, "size")) == expected


def test_what_a_layer_takes_is_a_size_rather_than_what_the_spec_says_it_gives() -> None:
    settings = [{"d": 512, "width": 512}]
    said = "linear(x, width)"
    assert expression(settings, (512,), said, Role.TAKEN) == "d"
    assert expression(settings, (512,), said, Role.SIZE) == "width"


def test_a_note_names_the_width_of_a_head() -> None:
    parameters = Parameters(ONE, frozenset({"d"}))
    for value, said in ((384, "f(d)"), (6, "f(heads)")):
        parameters.expression((value,), Literal(value, read_spec(said)), "size")
    assert flat(parameters.note((64,), shares=True)) == "64"
    assert flat(parameters.note((6,))) == "heads"
    assert flat(parameters.note((64,), shares=True)) == "d // heads"
    assert flat(parameters.note((64,))) == "64"


def test_a_note_names_no_size_that_is_equal_by_chance() -> None:
    parameters = Parameters([{"h": 16, "w": 16, "d": 48, "chosen": 1}], frozenset("hwd"))
    parameters.expression((1,), Literal(1, read_spec("topk(x, chosen)")), "size")
    assert [flat(parameters.note((size,))) for size in (1, 16, 48)] == ["1", "16", "d"]


def test_each_item_of_a_list_is_said_as_the_spec_lists_it() -> None:
    graph = fx.Graph()
    split = graph.call_method("split", (graph.placeholder("x"), (32, 16, 16)))
    said = read_spec("split(x, [heads * width, kv * width, kv * width], axis=-1)")
    call = call_method(split, said)
    sizes = [flat(literal.said) for literal in literals_in(call) if literal.said]
    assert sizes == ["heads * width", "kv * width", "kv * width"]


def test_codes_that_differ_in_a_note_alone_are_one_class() -> None:
    text = """
    model m {
      input x: [b, 4, 2]
      input y: [b, 3, 4, 2]
      block sides(x: [*, 2]) {
        left, right = unbind(x, axis=-1)
        return left * right + left
      }
      output p = sides(x)
      output q = sides(y)
    }
    """
    source = Compilation(attnc.check(attnc.loads(text, "m.attn"))).artefact.files["model.py"]
    assert source.count("class Sides") == 1
    assert "left, right = x.unbind(-1)\n" in source


# Loops ------------------------------------------------------------------------------------


def statements(text: str) -> tuple[Statement, ...]:
    made = []
    for line in text.strip().splitlines():
        target, value = line.strip().split(" = ", 1)
        made.append(Assign((Name(target),), read_expression(value)))
    return tuple(made)


def rolled(text: str, **lists: int) -> str:
    roller = Roller({f"self.{name}": length for name, length in lists.items()}, {"x", "y"})
    return "\n".join(lines_of(roller.roll(statements(text)), ""))


def test_calls_along_a_list_become_a_loop() -> None:
    text = "x = self.blocks[0](x)\nx = self.blocks[1](x)\nx = self.blocks[2](x)"
    assert rolled(text, blocks=3) == "for block in self.blocks:\n    x = block(x)"
    assert rolled(text, blocks=5) == "for block in self.blocks[:3]:\n    x = block(x)"


def test_several_lists_are_zipped_in_the_order_of_their_making() -> None:
    text = """
    x = self.mlps[0](self.norms[0](x))
    y = self.heads[0](x)
    x = self.mlps[1](self.norms[1](x))
    y = self.heads[1](x)
    """
    assert rolled(text, norms=2, mlps=2, heads=2) == (
        "for norm, mlp, head in zip(self.norms, self.mlps, self.heads, strict=True):\n"
        "    x = mlp(norm(x))\n"
        "    y = head(x)"
    )


def test_a_first_turn_joins_its_loop() -> None:
    text = "x = self.blocks[0](y + 1)\nx = self.blocks[1](x)\nx = self.blocks[2](x)"
    assert rolled(text, blocks=3) == "x = y + 1\nfor block in self.blocks:\n    x = block(x)"


def test_a_first_turn_that_would_read_a_changed_value_stays() -> None:
    text = "x = self.blocks[0](y)\nx = self.blocks[1](x, y)\nx = self.blocks[2](x, y)"
    assert rolled(text, blocks=3).splitlines()[0] == "x = self.blocks[0](y)"


def test_what_does_not_move_on_by_one_is_no_loop() -> None:
    for text in (
        "x = self.blocks[0](x)\nx = self.blocks[2](x)",
        "x = self.blocks[1](x)\nx = self.blocks[0](x)",
        "x = self.blocks[0](x)\nx = self.blocks[0](x)",
        "x = self.blocks[0](x, 1)\nx = self.blocks[1](x, 2)",
    ):
        assert rolled(text, blocks=3) == text


def test_a_list_of_one_is_a_loop_where_the_value_goes_through() -> None:
    assert (
        rolled("x = self.blocks[0](x)", blocks=1) == "for block in self.blocks:\n    x = block(x)"
    )
    assert rolled("y = self.blocks[0](x)", blocks=1) == "y = self.blocks[0](x)"


def test_loops_nest() -> None:
    calls = [f"x = self.stages[{i}][{j}](x)" for i in range(3) for j in range(2)]
    roller = Roller({"self.stages": 3, **{f"self.stages[{i}]": 2 for i in range(3)}}, {"x"})
    (loop,) = roller.roll(statements("\n".join(calls)))
    assert isinstance(loop, For)
    assert lines_of((loop,), "") == [
        "for stages in self.stages:",
        "    for stage in stages:",
        "        x = stage(x)",
    ]


# Flow and names ---------------------------------------------------------------------------


def step(node: str, text: str, **options: bool | tuple[int, ...]) -> Step:
    return Step(node, as_refs(text), **options)  # type: ignore[arg-type]


def as_refs(text: str) -> Expr:
    """Read an expression in which `_x` is the node x."""

    def change(expr: Expr) -> Expr | None:
        return Ref(expr.id[1:]) if isinstance(expr, Name) and expr.id[0] == "_" else None

    return rewrite(read_expression(text), change)


def function(*steps: Step, result: str, wishes: dict[str, str] | None = None) -> list[str]:
    flow = Flow(steps, (as_refs(result),))
    lines = [*flow.lines, Line(Return(flow.results[0]))]
    _, named = Names(wishes or {}).apply(["x"], lines)
    return lines_of(tuple(line.statement for line in named), "")


def test_what_is_used_once_stands_in_its_place() -> None:
    assert function(
        step("a", "self.norm(_x)"), step("b", "self.attn(_a)"), step("c", "_x + _b"), result="_c"
    ) == ["return x + self.attn(self.norm(x))"]


def test_what_the_spec_names_gets_a_line() -> None:
    assert function(
        step("a", "self.norm(_x)"), step("b", "_x + _a", is_named=True),
        result="_b", wishes={"b": "x"},
    ) == ["x = x + self.norm(x)", "return x"]  # fmt: skip


def test_the_order_of_the_spec_is_kept() -> None:
    made = function(
        step("a", "self.dropout(_x)"), step("b", "self.k(_x)", is_named=True),
        result="_a @ _b", wishes={"b": "k"},
    )  # fmt: skip
    assert made == ["dropout = self.dropout(x)", "k = self.k(x)", "return dropout @ k"]


def test_a_name_is_used_again_once_its_value_is_done() -> None:
    made = function(
        step("a", "self.norm(_x)", is_named=True), step("b", "self.conv(_a)", is_named=True),
        step("c", "_x + _b", is_named=True), result="_c", wishes={"a": "x", "b": "x", "c": "x"},
    )  # fmt: skip
    assert made == ["x2 = self.norm(x)", "x2 = self.conv(x2)", "x = x + x2", "return x"]


def test_values_of_other_turns_are_not_merged() -> None:
    made = function(
        step("a", "self.f[0](_x)", turn=(0,)), step("b", "self.f[1](_a)", turn=(1,)), result="_b"
    )
    assert made == ["f = self.f[0](x)", "return self.f[1](f)"]


def test_a_long_value_is_taken_apart() -> None:
    steps = [step("s0", "self.a_layer_with_a_name(_x)")]
    for at in range(1, 4):
        steps.append(step(f"s{at}", f"self.a_layer_with_a_name(_s{at - 1}, some_argument)"))
    made = function(*steps, result="_s3")
    assert 1 < sum(line[0] not in " )" for line in made) < 4
    assert all(len(line) <= WIDTH for line in made)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("patch_embed", "PatchEmbed"), ("mlp", "Mlp"), ("ViT", "ViT"), ("2d-conv", "Model2dConv")],
)
def test_class_names(name: str, expected: str) -> None:
    assert class_name(name) == expected


def test_identifiers_keep_clear_of_what_code_needs() -> None:
    assert [identifier(name) for name in ("x", "lambda", "torch", "l", "a-b", "1x", "é")] == [
        "x", "lambda_", "torch_", "l_", "a_b", "x1x", "x",
    ]  # fmt: skip
    assert unused("x", {"x", "x2"}) == "x3"
    assert unused("norm1", {"norm1"}) == "norm1_2"
    assert [singular(name) for name in ("blocks", "entries", "mlp", "loss")] == [
        "block", "entry", "mlp", "loss",
    ]  # fmt: skip


def test_tuples_are_returned_without_brackets() -> None:
    assert lines_of((Return(TupleOf((Name("x"), Name("y")))),), "") == ["return x, y"]

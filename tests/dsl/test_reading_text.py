"""The text notation: what it reads, where things stand, what it says when it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import pytest

from attnc.dsl import tree
from attnc.dsl.diagnostics import Collector, Diagnostic
from attnc.dsl.grammar import parser, words
from attnc.dsl.spans import Source, Span
from attnc.dsl.syntax_errors import END, STARTS, TERMINALS, expected
from attnc.dsl.text_reader import read_expression, read_text
from tests.dsl.effort import counted, most


def read(text: str) -> tree.Spec:
    collector = Collector()
    spec = read_text(Source("test.attn", text), collector)
    assert not collector.found, [(str(each.span), each.message) for each in collector.found]
    assert spec is not None
    return spec


def problems(text: str) -> list[Diagnostic]:
    collector = Collector()
    assert read_text(Source("test.attn", text), collector) is None
    return sorted(collector.found, key=lambda each: each.span.start if each.span else -1)


def said(text: str) -> list[str]:
    return [f"{each.span}: {each.code} {each.message}" for each in problems(text)]


def in_block(*lines: str) -> str:
    return "\n".join(["block f(x) {", *(f"  {line}" for line in lines), "}"])


def body(*lines: str) -> tuple[tree.Statement, ...]:
    return read(in_block(*lines)).blocks[0].body


def value(text: str) -> tree.Expr:
    (line,) = body(f"y = {text}")
    assert isinstance(line, tree.Assign)
    return line.value


def nodes(node: object) -> Iterator[object]:
    yield node
    if isinstance(node, tuple):
        for item in node:
            yield from nodes(item)
    elif is_dataclass(node) and not isinstance(node, Span):
        for field in fields(node):
            yield from nodes(getattr(node, field.name))


EVERYTHING = """\
# The file.
attnc 1
# The model.
model vit(
  # side of the image
  size = 224,
  patch = 16 {min: 1, max: 64.5, doc: "pixels"},  # must divide size
  act = "gelu" {choices: ["gelu", "relu"]},
  heads: int,
  depths: list = [1, -2],
) {
  doc "Prose
       goes \\"on\\""
  paper = {title: "A \\\\ B", year: 2021, "two words": [{what: none, scale: -1.5}]}
  variant small { dim = 192, depth = 6
    claims = {params: {value: 1, source: "table 1"}} }  # tiny
  input image: [b, 3, size, size]
  input ids: [*s, n] int
  # A block.
  block encoder(x: [b, n, d], mask: [b, n] bool = none, xs; heads, ratio = 4) -> [b, n, d], [b, d] {
    doc "A block's doc."
    x += self_attention(layer_norm(x) @norm1, heads=heads) @attn  # residual

    # Annotated.
    x: [b, n, d] = f(x)
    a, b = split(x, 2, axis=-1)
    x[:, 0:1, ::2] = y
    repeat depth share as i { x = g(x); y = h(x) }
    for a, g in zip(p, q) { mem += [t] }
    if c { x = a } else if d { x = b }
    else { x = {key: 1, in: 2, "a b": 3} }
    when train { x = use encoder(heads=2)(x) @enc }
    exit aux = head(x).first
    return x, y
  }
  x = patch_embed(image,
                  patch)  # two lines
  output logits = linear(x[:, 0], classes) @head
  weights = {official: {map: [{"a.*": "b.*"}]}}
  parity = {}
}
"""


def test_a_whole_spec_is_read() -> None:
    spec = read(EVERYTHING)
    assert (spec.model, spec.version, spec.doc) == ("vit", 1, 'Prose\ngoes "on"')
    assert [param.name for param in spec.params] == ["size", "patch", "act", "heads", "depths"]
    patch, act, heads, depths = spec.params[1:]
    assert (patch.minimum, patch.maximum, patch.doc) == (1, 64.5, "pixels")
    assert act.choices == ("gelu", "relu")
    assert (heads.type, heads.default, depths.type) == ("int", None, "list")
    assert [port.dtype for port in spec.inputs] == ["float", "int"]
    (variant,) = spec.variants
    assert [name for name, _ in variant.overrides] == ["dim", "depth"]
    assert variant.claims is not None
    (block,) = spec.blocks
    assert [(port.name, port.dtype, port.optional) for port in block.ports] == [
        ("x", "float", False), ("mask", "bool", True), ("xs", "float", False),
    ]  # fmt: skip
    assert [len(shape.items) for shape in block.results] == [3, 2]
    kinds = [type(line).__name__ for line in block.body]
    assert kinds == [
        "Assign",
        "Assign",
        "Assign",
        "Assign",
        "Repeat",
        "For",
        "If",
        "When",
        "Exit",
        "Return",
    ]
    assert spec.weights is not None
    assert spec.parity == tree.MapOf((), spec.span)


def test_comments_stay_with_what_they_are_about() -> None:
    spec = read(EVERYTHING)
    assert spec.comments == ("The file.", "The model.")
    assert [param.comments for param in spec.params[:2]] == [
        ("side of the image",), ("must divide size",),
    ]  # fmt: skip
    assert spec.variants[0].comments == ("tiny",)
    (block,) = spec.blocks
    assert block.comments == ("A block.",)
    assert [line.trailing for line in block.body[:2]] == ["residual", None]
    assert block.body[1].comments == ("", "Annotated.")
    assert spec.graph[0].trailing == "two lines"


def test_comments_of_data_stay_with_their_entries() -> None:
    spec = read(
        "model m {\n  # names\n  weights = {\n    a: 1,  # first\n    # second\n    b: [\n"
        "      # inner\n      {c: 1}\n    ]\n  }\n}\n"
    )
    assert spec.weights is not None
    assert spec.weights.comments == (("names", "first"), ("second",))
    (_, listed) = spec.weights.items[1]
    assert isinstance(listed, tree.ListOf)
    (inner,) = listed.items
    assert isinstance(inner, tree.MapOf)
    assert inner.comments == (("inner",),)


def test_plain_data_holds_negative_numbers_and_no_expressions() -> None:
    spec = read("model m { paper = {a: -1, b: [-0.5]} }")
    assert spec.paper is not None
    assert spec.paper.items[0] == ("a", tree.Number(-1, spec.span))
    assert said("model m { parity = {a: config.x, b: f(x)} }") == [
        "test.attn:1:24: E110 `parity` takes plain data (quote what is a text), not an expression",
        "test.attn:1:37: E110 `parity` takes plain data (quote what is a text), not an expression",
    ]


def test_a_library_holds_blocks_only() -> None:
    spec = read('attnc 1\ndoc "Two blocks."\nblock a(x) { return x }\n\nblock b(; n = 1) { }\n')
    assert spec.library
    assert (spec.model, spec.doc) == ("", "Two blocks.")
    assert [block.name for block in spec.blocks] == ["a", "b"]
    assert said("block a(x) { return x }\nx = 1\n") == [
        "test.attn:2:1: E107 unexpected statement; expected a model or a block"
    ]


@pytest.mark.parametrize(
    "word",
    ["input", "output", "doc", "paper", "weights", "parity", "variant", "attnc", "share", "train",
     "first", "True", "int"],
)  # fmt: skip
def test_soft_keywords_are_names_elsewhere(word: str) -> None:
    lines = body(
        f"{word} = f({word}, {word}={word}) + {word}[0].{word} @{word}",
        f"{word}, x = {word}",
        f"{word} += [{word}]",
        f"{word}[:, {word}] = {word}",
        f"repeat {word} as {word} {{ {word} = {{{word}: {word}}} }}",
        f"for {word} in {word} {{ }}",
        f"return {word} if {word} else {word}",
    )
    assert len(lines) == 7
    spec = read(
        f"model {word}({word} = {word}) {{ variant {word} {{ {word}2 = {word} }}\n"
        f"input {word}: [{word}]\nblock {word}({word}; {word}) {{ }}\noutput {word} = {word} }}"
    )
    assert spec.outputs[0] == tree.Output(word, tree.Name(word, spec.span), spec.span)


def test_share_is_a_keyword_behind_a_count() -> None:
    first, second, third = body("repeat share { }", "repeat n share { }", "repeat share share { }")
    assert isinstance(first, tree.Repeat) and not first.share
    assert isinstance(second, tree.Repeat) and second.share
    assert isinstance(third, tree.Repeat) and third.share
    assert third.count == tree.Name("share", third.span)


@pytest.mark.parametrize(
    "word",
    [
        "model",
        "block",
        "repeat",
        "for",
        "in",
        "if",
        "else",
        "when",
        "exit",
        "return",
        "use",
        "as",
        "and",
        "or",
        "not",
    ],
)
def test_keywords_are_no_names(word: str) -> None:
    assert [each.code for each in problems(in_block(f"{word} = 1"))][:1] == ["E107"]
    assert problems(f"block {word}(x) {{ }}")[0].code == "E107"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("a / b // c % d", "((a / b) // c) % d"),
        ("a ** b ** c", "a ** (b ** c)"),
        ("-a ** b", "-(a ** b)"),
        ("a ** -b * c", "(a ** (-b)) * c"),
        ("a * -b + c", "(a * (-b)) + c"),
        ("- - a", "-(-a)"),
        ("not a == b and c or d", "((not (a == b)) and c) or d"),
        ("a < b + c", "a < (b + c)"),
        ("a if b else c if d else e", "a if b else (c if d else e)"),
        ("a or b if c and d else e", "(a or b) if (c and d) else e"),
        ("a + b @l", "a + (b @l)"),
        ("-f(x)[0].y @l", "-(((f(x)[0]).y) @l)"),
        ("use f(x)(y)", "(use f(x))(y)"),
        ("+a * b", "(+a) * b"),
    ],
)
def test_operators_bind_as_in_python(text: str, same: str) -> None:
    assert value(text) == value(same)


def test_numbers_keep_their_kind() -> None:
    found = value("[12, 1.5, 1e-5, .5, 1., 2E3, 007]")
    assert isinstance(found, tree.ListOf)
    numbers = [item.value for item in found.items if isinstance(item, tree.Number)]
    assert numbers == [12, 1.5, 1e-5, 0.5, 1.0, 2000.0, 7]
    assert [type(number) for number in numbers] == [int, float, float, float, float, float, int]


def test_strings_have_escapes_and_may_span_lines() -> None:
    assert value(r'"a\"b\\c\nd\te"') == tree.Text('a"b\\c\nd\te', Span(Source("", ""), 0, 0))
    assert value('"a\nb"') == tree.Text("a\nb", Span(Source("", ""), 0, 0))
    assert said(in_block(r'y = "\d"')) == [
        "test.attn:2:7: E107 unexpected '\\d' in a string; "
        'expected one of \\n, \\t, \\r, \\", \\\\'
    ]


def test_windows_line_ends_read_alike() -> None:
    assert read(EVERYTHING.replace("\n", "\r\n")) == read(EVERYTHING)


def test_spans_stand_where_the_text_stands() -> None:
    spec = read(EVERYTHING)
    found = list(nodes(spec))
    names = [node for node in found if isinstance(node, tree.Name)]
    assert len(names) > 50
    assert all(name.span.text == name.id for name in names)
    calls = [node.span.text for node in found if isinstance(node, tree.Call)]
    assert "layer_norm(x)" in calls
    assert "encoder(heads=2)" in calls
    labels = [node.span.text for node in found if isinstance(node, tree.Labelled)]
    assert "layer_norm(x) @norm1" in labels
    assert spec.blocks[0].body[4].span.text == "repeat depth share as i"
    assert spec.blocks[0].results[1].span.text == "[b, d]"
    assert spec.params[1].span.text == "patch = 16"
    assert spec.blocks[0].span.text == "encoder"


def test_an_expression_is_read_out_of_a_longer_text() -> None:
    source = Source("--set", "dims=[1, heads * 2]")
    collector = Collector()
    expr = read_expression(source, 5, len(source.text), collector)
    assert isinstance(expr, tree.ListOf)
    assert expr.items[1].span.text == "heads * 2"
    assert read_expression(source, 0, 5, collector) is None
    assert [str(each.span) for each in collector.found] == ["--set:1:5"]


# Errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message", "help"),
    [
        ("x = f(a b)", "2:11: E107 unexpected 'b'; expected ')', ',' or '='", None),
        ("x = ", "2:6: E107 unexpected end of line; expected an expression", None),
        ("x = y z", "2:9: E107 unexpected 'z'; expected end of line", None),
        ("f(x)", "2:7: E107 unexpected end of line; expected '+=', ',', ':' or '='", None),
        ("x = a * / b", "2:11: E107 unexpected '/'; expected an expression", None),
        ("x -= 1", "2:5: E107 unexpected '-='; expected '+=', ',', ':' or '='",
         "only `=` and `+=` assign"),
        ("x = a && b", "2:9: E107 unexpected '&&'; expected end of line", "write `and`"),
        ("x = 'b n'", "2:7: E107 unexpected '''; expected an expression",
         "strings stand in double quotes"),
        ("x = y[..., 0]", "2:9: E107 unexpected '...'; expected an expression or ':'",
         "write one `:` for each axis"),
        ("x = a < b < c", "2:13: E107 unexpected '<'; expected 'and' or 'or'",
         "comparisons do not chain: write `a < b and b < c`"),
        ("x = a + not b", "2:11: E107 unexpected 'not'; expected an expression",
         "put `not ...` in parentheses"),
        ("repeet 3 { x = y }", "2:3: E107 unexpected 'repeet'; expected a statement or declaration",
         "did you mean `repeat`?"),
        ("repeat 3 shared { x = y }",
         "2:12: E107 unexpected 'shared'; expected '{', 'as' or 'share'",
         "did you mean `share`?"),
        ("when traim { }", "2:8: E107 unexpected 'traim'; expected 'train'",
         "did you mean `train`?"),
        ("repeat 3", "2:11: E107 unexpected end of line; expected '{', 'as' or 'share'", None),
        ("f(x) = 1", "2:3: E110 the left of = takes a name or a slice, not an expression", None),
        ("x = {a: 1, a: 2}", "2:14: E105 key 'a' stands here twice",
         "remove or rename one of the two"),
        ("x = {1: 2}", "2:8: E107 unexpected '1'; expected a string, a key or '}'", None),
        ("input y: [b]", "2:9: E107 unexpected 'input'; expected a statement", None),
        ("x = a)", "2:8: E107 unexpected ')'; expected end of line",
         "no bracket is open that it could close"),
        ("x = 1e999", "2:7: E110 a spec takes numbers below 1e300, not a larger one", None),
        ("x = \u00e9", "2:7: E107 unexpected '\u00e9'; expected an expression",
         "names are made of the letters a to z and A to Z, digits and _"),
        ("x = \u0007", "2:7: E107 unexpected character U+0007; expected an expression", None),
    ],
)  # fmt: skip
def test_an_error_says_what_where_and_what_instead(
    line: str, message: str, help: str | None
) -> None:
    (problem,) = problems(in_block(line))
    assert f"{problem.span}: {problem.code} {problem.message}" == f"test.attn:{message}"
    assert problem.help == help


def test_misspelt_declarations_are_recognised() -> None:
    found = problems("model m {\n  outt logits = x\n  inptu y: [b]\n  vairant s { }\n}")
    assert [each.help for each in found] == [
        "did you mean `output`?", "did you mean `input`?", "did you mean `variant`?",
    ]  # fmt: skip


def test_all_errors_of_a_file_are_reported() -> None:
    text = """\
model m(a = 1, b 2) {
  x = f(a b)
  repeat 3 {
    y = $
    if c { z = 1 + }
    fine = true
  }
  block g(x) -> {
    w = = 1
  }
  output y = f(
}
"""
    assert [str(each.span) for each in problems(text)] == [
        "test.attn:1:18", "test.attn:2:11", "test.attn:4:9", "test.attn:5:19", "test.attn:8:17",
        "test.attn:9:9", "test.attn:12:1",
    ]  # fmt: skip


def test_an_unclosed_bracket_ends_where_the_next_item_begins() -> None:
    found = problems(in_block("x = f(a,", "  b", "repeat 3 { y = $ }", "return x y"))
    assert [each.message for each in found] == [
        "unexpected 'repeat'; expected ')'",
        "unexpected '$'; expected an expression",
        "unexpected 'y'; expected ',' or end of line",
    ]
    (note,) = found[0].notes
    assert str(note.span) == "test.attn:2:8"


def test_an_unclosed_string_is_found_where_it_begins() -> None:
    lines = ['x = f("a", b)', 'y = g(x, "b n)', 'z = h(x, "b n")', 'w = "c"', "v = $"]
    assert [str(each.span) for each in problems(in_block(*lines))] == [
        "test.attn:3:12", "test.attn:6:7",
    ]  # fmt: skip


def test_a_missing_brace_is_one_error() -> None:
    assert said("model m {\n  repeat 3 {\n    x = y\n  x = z\n") == [
        "test.attn:5:1: E107 unexpected end of file; expected '}'"
    ]


def test_what_does_not_belong_is_refused() -> None:
    assert said("model m {\n  output y = x\n  x = 1\n}\nblock f(x) { }\n") == [
        "test.attn:3:3: E107 unexpected statement; expected another output",
        "test.attn:5:7: E107 unexpected 'block'; expected end of file",
    ]
    assert said('model m {\n  paper = {}\n  paper = {a: 1}\n  doc "a"\n  doc "b"\n}') == [
        "test.attn:3:3: E105 key 'paper' stands here twice",
        "test.attn:5:3: E105 key 'doc' stands here twice",
    ]
    assert said("model m { variant s { doc = 1, x += 1 } }") == [
        "test.attn:1:23: E107 unexpected statement; expected `param = value` or `claims = {...}`",
        "test.attn:1:32: E107 unexpected statement; expected `param = value` or `claims = {...}`",
    ]


def test_facts_of_params_are_checked() -> None:
    facts = 'mn: 1, max: "x", type: itn, choices: {a: 1}, doc: 3'
    found = problems(f"model m(a = 1 {{{facts}}}, b: int = 2 {{type: int}}) {{ }}")
    assert [(each.code, each.help) for each in found] == [
        ("E108", "did you mean `min`?"),
        ("E110", None),
        ("E110", "did you mean `int`?"),
        ("E110", None),
        ("E110", None),
        ("E105", "remove or rename one of the two"),
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "attnc 1\n"])
def test_a_spec_needs_a_model(text: str) -> None:
    assert [each.code for each in problems(text)] == ["E109"]


def test_an_unknown_language_version_is_refused() -> None:
    assert said("attnc 2\nblock f(x) { }\n") == [
        "test.attn:1:7: E111 language version 2 is not known; this attnc reads 1"
    ]


# Words and limits -------------------------------------------------------------------------


def test_every_terminal_has_words() -> None:
    terminals = {term.name for term in parser().terminals} | set(TERMINALS) | set(END)
    for terminal in terminals - {"PLUS", "MINUS", "STAR"}:
        shown = expected({terminal})
        assert "__" not in shown
        assert terminal not in shown or terminal in words().values()
    assert expected(STARTS) == "a statement or declaration"
    assert set(words().values()) >= STARTS


DEEP = 10_000


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * DEEP,
        "x = " + "[" * DEEP + "]" * DEEP,
        "x = " + "{a: " * DEEP,
        "x = " + "-" * DEEP + "1",
        "x = " + "1 + " * DEEP + "1",
        "x = " + "2 ** " * DEEP + "1",
        "x = " + "1 if a else " * DEEP + "1",
        "x = a" + ".b" * DEEP,
        "x = a" + "()" * DEEP,
        "when train {" * DEEP + "}" * DEEP,
        "if a { }" + " else if b { }" * DEEP,
    ],
    ids=lambda text: text[:14],
)
def test_deep_nesting_is_refused(text: str) -> None:
    found, effort = counted(lambda: problems(f"block f(x) {{ {text}\n }}"))
    assert [each.code for each in found] == ["E103"]
    assert effort < most(text)


@pytest.mark.parametrize("operator", ["if 0 else 0", "and a", "or a"])
@pytest.mark.parametrize("word", ["input", "output", "doc", "variant", "attnc"])
def test_a_name_like_a_keyword_stands_before_operators(word: str, operator: str) -> None:
    assert value(f"{word} {operator}")


def test_ninety_levels_are_read() -> None:
    assert value("[" * 90 + "1" + "]" * 90)
    assert value("f(" * 90 + "1" + ")" * 90)
    assert value("1" + " + 1" * 90)
    assert body(*["repeat 2 {"] * 90, *["}"] * 90)


def test_effort_grows_with_the_text_alone() -> None:
    line = "x = attend(layer_norm(x) @norm, heads=heads, scale=d ** -0.5) @attn"
    _, few = counted(lambda: read(in_block(*[line] * 100)))
    _, many = counted(lambda: read(in_block(*[line] * 400)))
    assert many < 4.4 * few

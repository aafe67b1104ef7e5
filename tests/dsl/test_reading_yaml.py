"""The YAML notation: the same tree, where things stand, what it says when it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import pytest

from attnc.dsl import tree
from attnc.dsl.diagnostics import Collector, Diagnostic
from attnc.dsl.spans import Source, Span
from attnc.dsl.text_reader import read_text
from attnc.dsl.yaml_reader import read_yaml
from tests.dsl.effort import counted, most


def read(text: str) -> tree.Spec:
    collector = Collector()
    spec = read_yaml(Source("test.yaml", text), collector)
    assert not collector.found, [(str(each.span), each.message) for each in collector.found]
    assert spec is not None
    return spec


def read_as_text(text: str) -> tree.Spec:
    collector = Collector()
    spec = read_text(Source("test.attn", text), collector)
    assert not collector.found, [(str(each.span), each.message) for each in collector.found]
    assert spec is not None
    return spec


def problems(text: str) -> list[Diagnostic]:
    collector = Collector()
    assert read_yaml(Source("test.yaml", text), collector) is None
    return sorted(collector.found, key=lambda each: each.span.start if each.span else -1)


def said(text: str) -> list[str]:
    return [f"{each.span}: {each.code} {each.message}" for each in problems(text)]


def nodes(node: object) -> Iterator[object]:
    yield node
    if isinstance(node, tuple):
        for item in node:
            yield from nodes(item)
    elif is_dataclass(node) and not isinstance(node, Span):
        for field in fields(node):
            yield from nodes(getattr(node, field.name))


def params(lines: str) -> dict[str, tree.Param]:
    indented = "".join(f"  {line}\n" for line in lines.splitlines())
    return {param.name: param for param in read(f"model: m\nparams:\n{indented}").params}


VIT_YAML = """\
attnc: 1
model: vit
params: {size: 224, patch: 16, dim: 384, depth: 12, heads: 6, classes: 1000}
inputs: {image: [b, 3, size, size]}
blocks:
  "encoder(x: [b, n, d]; heads)":
    - x += self_attention(layer_norm(x) @norm1, heads=heads) @attn
    - x += mlp(layer_norm(x) @norm2) @mlp
    - return x
graph:
  - x = patch_embed(image, patch, dim)
  - x = concat(param([1, 1, dim]) @cls, x, axis=1) + param([1, n + 1, dim]) @pos
  - repeat depth as i: ["x = encoder(x, heads=heads) @blocks"]
  - x = layer_norm(x) @norm
outputs: {logits: "linear(x[:, 0], classes) @head"}
"""

VIT_TEXT = """\
model vit(size = 224, patch = 16, dim = 384, depth = 12, heads = 6, classes = 1000) {
  input image: [b, 3, size, size]
  block encoder(x: [b, n, d]; heads) {
    x += self_attention(layer_norm(x) @norm1, heads=heads) @attn
    x += mlp(layer_norm(x) @norm2) @mlp
    return x
  }
  x = patch_embed(image, patch, dim)
  x = concat(param([1, 1, dim]) @cls, x, axis=1) + param([1, n + 1, dim]) @pos
  repeat depth as i { x = encoder(x, heads=heads) @blocks }
  x = layer_norm(x) @norm
  output logits = linear(x[:, 0], classes) @head
}
"""

EVERYTHING = """\
# The file.
attnc: 1  # version
model: all
doc: >-
  Folded prose,
  in two lines.
paper:
  title: "Quoted: \\u00e9"
  year: 2021
  deviations:  # known ones
    # the first
    - {what: 'it''s', source: a#b}
    - what: x
      source: ~
params:
  size: 224  # pixels
  # What acts.
  act: {default: gelu, choices: [gelu, relu]}
  op: gelu
  need:
  eps: 1e-5
  low: -2
  half: size // 2
  text: {type: string, default: 12 apples}
variants:
  small:
    doc: Small.
    size: 112
    act: relu
    claims: {params: {value: 0x10, source: none}}
  plain:
inputs:
  image: [b, 3, size, "size * 2"]
  ids: "[*s, n] int"
  xs:
blocks:
  # A block.
  "f(x: [b, n, d], m: [b, n] bool = none; k = 1) -> [b, n, d]":  # see there
    doc: |
      First.
        Second.
    body:
      - x = g(x, "b n (h d) -> b h n d") @lab  # trailing

      # Before the loop.
      - repeat k share as i:  # tied
          - x += h(x)
          - if i == 0:
              - x = a
          - else if i > 1:
              - x = b
          - else: [x = c]
      - for a, c in zip(p, q): ["mem += [t]"]
      - when train:
          - |
            x = u(x,
                  y)   # in a block
            z = w
      - return x
  "g(x)": []
graph:
  - "x: [b, n, 3] = f(image)"
  - 'y = g("it''s", x)'
  - "y = g(\\"b \\\\\\\\ n\\", x)"
  - x = f(
      x, y)
outputs:
  a: x
  b: "x[:, 0]"
weights: {official: {map: [{"a.{i}": "b.{i}"}]}}
"""


def test_the_two_notations_of_the_language_page_agree() -> None:
    spec = read(VIT_YAML)
    assert spec == read_as_text(VIT_TEXT)
    assert spec.graph[0] == read_as_text(VIT_TEXT).graph[0]
    assert len(spec.graph) == 4


def test_a_whole_spec_is_read() -> None:
    spec = read(EVERYTHING)
    assert spec.doc == "Folded prose, in two lines."
    assert [param.name for param in spec.params][:3] == ["size", "act", "op"]
    assert [port.dtype for port in spec.inputs] == ["float", "int", "float"]
    assert spec.inputs[2].shape is None
    block = spec.blocks[0]
    assert block.doc == "First.\n  Second."
    assert [type(line).__name__ for line in block.body] == [
        "Assign",
        "Repeat",
        "For",
        "When",
        "Return",
    ]
    repeat = block.body[1]
    assert isinstance(repeat, tree.Repeat)
    assert (repeat.share, repeat.index, len(repeat.body)) == (True, "i", 2)
    branch = repeat.body[1]
    assert isinstance(branch, tree.If)
    (second,) = branch.otherwise
    assert isinstance(second, tree.If)
    assert len(second.otherwise) == 1
    assert [output.name for output in spec.outputs] == ["a", "b"]
    assert spec.variants[1].overrides == ()


def test_spans_point_at_the_characters_of_the_file() -> None:
    names = [node for node in nodes(read(EVERYTHING)) if isinstance(node, tree.Name)]
    assert len(names) > 40
    assert [name.span.text for name in names] == [name.id for name in names]


def test_spans_within_escaped_strings_are_exact() -> None:
    spec = read(graph(r'- "x = f(\"a\\tb\", why)"', "- 'y = g(\"it''s\", z)'"))
    found = [node for node in nodes(spec.graph) if isinstance(node, (tree.Name, tree.Text))]
    assert [node.span.text for node in found] == [
        "x", "f", r'\"a\\tb\"', "why", "y", "g", "\"it''s\"", "z",
    ]  # fmt: skip


def test_comments_stay_with_what_they_are_about() -> None:
    spec = read(EVERYTHING + "# The end.\n")
    assert [comment for comment in spec.comments if comment] == ["The file.", "version", "The end."]
    assert [param.comments for param in spec.params[:2]] == [("pixels",), ("What acts.",)]
    block = spec.blocks[0]
    assert block.comments == ("A block.", "see there")
    first, repeat, _, when, _ = block.body
    assert first.trailing == "trailing"
    assert (repeat.comments, repeat.trailing) == (("", "Before the loop."), "tied")
    assert isinstance(when, tree.When)
    assert when.body[0].trailing == "in a block"
    assert spec.paper is not None
    assert spec.paper.comments == ((), (), ("known ones",))
    (_, deviations) = spec.paper.items[2]
    assert isinstance(deviations, tree.ListOf)
    assert isinstance(deviations.items[0], tree.MapOf)


def test_comments_of_a_section_go_to_its_first_entry() -> None:
    spec = read("model: m\n# sizes\nparams:  # all\n  # the first\n  a: 1\n  b: 2\n")
    assert spec.params[0].comments == ("sizes", "all", "the first")


# Values -----------------------------------------------------------------------------------


def number(value: float) -> tree.Number:
    return tree.Number(value, Span(Source("", ""), 0, 0))


def test_scalars_follow_the_core_schema() -> None:
    found = params(
        "a: 1e-5\nb: 0x1F\nc: 0o17\nd: -3\ne: .5\nf: true\ng: ~\nh: no\ni: [yes]\nj: '3'\nk: on"
    )
    defaults = {name: param.default for name, param in found.items()}
    here = Span(Source("", ""), 0, 0)
    assert defaults["a"] == number(1e-5)
    assert defaults["b"] == number(31)
    assert defaults["c"] == number(15)
    assert defaults["d"] == tree.Unary("-", number(3), here)
    assert defaults["e"] == number(0.5)
    assert defaults["f"] == tree.Flag(True, here)
    assert defaults["g"] == tree.Nothing(here)
    assert defaults["h"] == tree.Name("no", here)
    assert defaults["i"] == tree.ListOf((tree.Name("yes", here),), here)
    assert defaults["j"] == number(3)
    assert defaults["k"] == tree.Name("on", here)


def test_strings_of_params_are_expressions_unless_they_hold_texts() -> None:
    found = params(
        "a: gelu\nb: {default: gelu}\nc: {default: gelu, choices: [gelu]}\n"
        "d: {default: gelu, type: string}\ne: {expression: gelu, type: string}\n"
        "f: {default: [gelu, 1], choices: [gelu]}\ng: 'f(\"x\")'\nh: {type: int}\ni:"
    )
    defaults = {name: param.default for name, param in found.items()}
    assert [isinstance(defaults[name], tree.Name) for name in "abe"] == [True] * 3
    assert [isinstance(defaults[name], tree.Text) for name in "cd"] == [True] * 2
    listed = defaults["f"]
    assert isinstance(listed, tree.ListOf)
    assert isinstance(listed.items[0], tree.Text)
    assert isinstance(defaults["g"], tree.Call)
    assert defaults["h"] is None
    assert defaults["i"] is None


def test_overrides_are_read_as_their_param_is() -> None:
    spec = read(
        "model: m\nparams:\n  act: {choices: [a, b]}\n  op: x\nvariants:\n"
        "  s: {act: a, op: a}\n  t: {act: {expression: op}, op: {k: 1}}\n"
    )
    kinds = [[type(value).__name__ for _, value in each.overrides] for each in spec.variants]
    assert kinds == [["Text", "Name"], ["Name", "MapOf"]]


def test_outputs_may_be_a_list_of_names() -> None:
    spec = read("model: m\noutputs: [x, y]\n")
    assert [(output.name, output.value) for output in spec.outputs] == [
        ("x", tree.Name("x", spec.span)), ("y", tree.Name("y", spec.span)),
    ]  # fmt: skip


def test_a_file_of_blocks_is_a_library() -> None:
    spec = read("attnc: 1\ndoc: Two.\nblocks:\n  f(x): [return x]\n")
    assert spec == read_as_text('doc "Two."\nblock f(x) { return x }')


def test_aliases_are_expanded() -> None:
    spec = read("model: m\nparams: {a: &a [1, 2], b: *a}\n")
    assert spec.params[0].default == spec.params[1].default


# Errors -----------------------------------------------------------------------------------


def graph(*lines: str) -> str:
    return "model: m\ngraph:\n" + "".join(f"  {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("line", "message", "help"),
    [
        ("- x = f(a b)", "3:13: E107 unexpected 'b'; expected ')', ',' or '='", None),
        ("- 'x = f(''a)'", "3:12: E107 unexpected '''; expected an expression or ')'",
         "strings stand in double quotes"),
        ('- "x = \\"a\\" b"', "3:16: E107 unexpected 'b'; expected end of line", None),
        ("- x = (1 +", "3:13: E107 unexpected end of text; expected ')'", None),
        ("- x: [b, n] = f(x)", "3:15: E104 text goes on behind a value that is complete",
         "quote the whole line: a colon and a blank split it in YAML"),
        ("- x = {a: 1}", "3:5: E104 ': ' splits this statement in two",
         "quote the whole statement"),
        ("- repeet 3: [x = y]", "3:5: E104 ': ' splits this statement in two",
         "did you mean `repeat`?"),
        ("- repeat 3: [x = f(a, b), y = 1]", "3:16: E104 YAML ends this text at the comma",
         'quote the whole text: "x = f(a, ..."'),
        ("- repeat 3: x = y", "3:15: E110 `repeat` takes a list of statements, not a text",
         "write the statements as a list, each behind a dash"),
        ("- else: [x = y]", "3:5: E107 unexpected 'else'; expected a statement or declaration",
         None),
        ("- repeat: [x = y]", "3:11: E107 unexpected ':'; expected an expression", None),
        ("- output y = x", "3:12: E107 unexpected 'output'; expected a statement", None),
        ("-", "3:4: E110 a list of statements takes statements, not nothing", "remove the dash"),
        ("- @x", "3:5: E104 a plain text cannot begin with @", "quote the whole value"),
        ("- x = f(a): b: c", "3:16: E104 a second ': ' stands in this line",
         "quote the whole value"),
        ('- "x = 1', "3:5: E104 this quote is never closed", "close the quote"),
    ],
)  # fmt: skip
def test_an_error_in_a_statement_says_what_where_and_what_instead(
    line: str, message: str, help: str | None
) -> None:
    (problem,) = problems(graph(line))
    assert f"{problem.span}: {problem.code} {problem.message}" == f"test.yaml:{message}"
    assert problem.help == help


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parmas: {a: 1}", ("E108", "did you mean `params`?")),
        ("params: {a: {defualt: 1}}", ("E108", "did you mean `default`?")),
        ("params: {a: {doc: one, two}}",
         ("E108", "quote the text before it if the comma belongs to that text")),
        ("params: {a: 1, a: 2}", ("E105", "remove or rename one of the two")),
        ("params: {a-b: 1}", ("E110", None)),
        ("params: {a: {default: 1, expression: 2}}", ("E110", None)),
        ("params: [a]", ("E110", None)),
        ("inputs: {x: [*, d]}", ("E104", 'quote the shape: "[*, d]"')),
        ("inputs: {x: {a: 1}}", ("E110", None)),
        ("inputs: {x: [[a]]}", ("E110", None)),
        ('inputs: {x: "[b] itn"}', ("E107", "did you mean `int`?")),
        ("blocks: {f: []}", ("E107", None)),
        ('blocks: {"f(x)": {bdoy: []}}', ("E108", "did you mean `body`?")),
        ("outputs: {a: f(x, y)}", ("E104", 'quote the whole text: "f(x, ..."')),
        ("outputs: 3", ("E110", None)),
        ("paper: text", ("E110", None)),
        ("variants: {s: {claims: 1}}", ("E110", None)),
        ("doc: 12", ("E110", "quote it")),
        ("weights: !!map {}", ("E104", "quote the value")),
        ("weights: {[a]: 1}", ("E104", "quote the key")),
        ("weights: *a", ("E104", 'quote the value: "*"')),
        ("weights: &a {b: *a}", ("E104", "write the value out")),
        ("graph:\n\t- x = 1", ("E104", "indent with blanks")),
        ("params: {a: 1e999}", ("E110", None)),
        ('doc: "\\UFFFFFFFF"', ("E104", "quote the value, or mend the indentation")),
        ("doc: \x07", ("E104", "remove it")),
        ("---\nmodel: n", ("E104", "keep one")),
    ],
)  # fmt: skip
def test_an_error_in_the_structure_has_code_and_remedy(
    text: str, expected: tuple[str, str | None]
) -> None:
    first = problems(f"model: m\n{text}\n")[0]
    assert (first.code, first.help) == expected


def test_all_errors_of_a_file_are_reported() -> None:
    text = """\
model: vit-small
parmas: {a: 1}
params:
  b: {min: x, default: f(}
  c: {type: itn}
blocks:
  "f(x y)":
    - z = = 1
graph:
  - x = $
  - repeat 2:
      - y = (
outputs: {a: 1 +}
"""
    assert [(str(each.span)[10:], each.code) for each in problems(text)] == [
        ("1:8", "E110"), ("2:1", "E108"), ("4:12", "E110"), ("4:24", "E104"), ("5:13", "E110"),
        ("7:8", "E107"), ("8:11", "E107"), ("10:9", "E107"), ("12:14", "E107"), ("13:17", "E107"),
    ]  # fmt: skip


def test_a_duplicate_key_shows_both_places() -> None:
    (problem,) = problems("model: m\nparams:\n  a: 1\n  b: 2\n  a: 3\n")
    assert str(problem.span) == "test.yaml:5:3"
    assert [str(note.span) for note in problem.notes] == ["test.yaml:3:3"]


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "E109"), ("# c\n", "E109"), ("- a\n", "E110"), ("params: {a: 1}", "E109"), ("a", "E110")],
)
def test_a_spec_needs_keys_and_a_model(text: str, code: str) -> None:
    assert [each.code for each in problems(text)] == [code]


@pytest.mark.parametrize("version", ["2", "'1'", "1.0", "one", "[1]"])
def test_an_unknown_language_version_is_refused(version: str) -> None:
    assert [each.code for each in problems(f"attnc: {version}\nmodel: m\n")] == ["E111"]


# Limits -----------------------------------------------------------------------------------

DEEP = 10_000


@pytest.mark.parametrize(
    "text",
    [
        "graph: " + "[" * DEEP,
        "graph: " + "[" * DEEP + "]" * DEEP,
        "graph: " + "{a: " * DEEP,
        "graph:\n  " + "- " * DEEP + "a",
        "paper:\n" + "".join(" " * (level + 1) + "a:\n" for level in range(300)),
        "graph:\n  - x = " + "(" * DEEP,
        "graph:\n  - if a: []\n" + "  - else if b: []\n" * 1000,
        "paper: {a: &a " + "[" * 60 + "]" * 60 + ", b: " + "[" * 60 + "*a" + "]" * 60 + "}",
    ],
    ids=lambda text: text[:14],
)
def test_deep_nesting_is_refused(text: str) -> None:
    found, effort = counted(lambda: problems(f"model: m\n{text}\n"))
    assert [each.code for each in found] == ["E103"]
    assert effort < most(text)


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(8):
        aliases = ", ".join([f"*a{level}"] * 10)
        lines.append(f"a{level + 1}: &a{level + 1} [{aliases}]")
    text = "\n".join(lines)
    found, effort = counted(lambda: problems(text))
    assert [each.code for each in found] == ["E106"]
    assert effort < most(text)


def test_effort_grows_with_the_text_alone() -> None:
    line = "- x = attend(layer_norm(x) @norm, heads=heads) @attn"
    _, few = counted(lambda: read(graph(*[line] * 100)))
    _, many = counted(lambda: read(graph(*[line] * 400)))
    assert many < 4.4 * few

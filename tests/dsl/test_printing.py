"""The canonical form: short lines, few quotes and parentheses, all comments, and stable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from attnc.dsl import tree
from attnc.dsl.diagnostics import Collector
from attnc.dsl.layout import WIDTH
from attnc.dsl.literals import number_text
from attnc.dsl.printer import expression_text, statements_text, to_text, to_yaml
from attnc.dsl.spans import Source
from attnc.dsl.text_reader import read_expression, read_text
from attnc.dsl.yaml_reader import read_yaml
from attnc.dsl.yaml_writer import scalar

ROOT = Path(__file__).resolve().parents[2]

SPECS = sorted(
    [*ROOT.glob("zoo/*/*.yaml"), *ROOT.glob("zoo/*/*.attn"), *ROOT.glob("dsl/std/*.attn")]
)

Printer = Callable[[tree.Spec], str]


def from_text(text: str) -> tree.Spec:
    collector = Collector()
    spec = read_text(Source("test.attn", text), collector)
    assert not collector.found, [(str(each.span), each.message) for each in collector.found]
    assert spec is not None
    return spec


def from_yaml(text: str) -> tree.Spec:
    collector = Collector()
    spec = read_yaml(Source("test.yaml", text), collector)
    assert not collector.found, [(str(each.span), each.message) for each in collector.found]
    assert spec is not None
    return spec


def reformatted(text: str) -> str:
    collector = Collector()
    expr = read_expression(Source("test", text), 0, len(text), collector)
    assert expr is not None, collector.found
    return expression_text(expr)


TEXT = """\
# Head of the file.
attnc 1
model sample(
  # the side
  size = 224,
  patch = 16 {min: 1, max: 64, doc: "pixels"},
  act = "gelu" {choices: ["gelu", "relu"]},
  heads: int,
) {
  doc "Two lines,
       the second."

  paper = {title: "A title", year: 2021}

  # the small one
  variant small {
    doc "Small."
    size = 112
    claims = {params: {value: 1.5e9, source: "table 1"}}
  }

  input image: [b, 3, size, size]
  input ids: [*s, n] int

  # A block.
  block encoder(x: [b, n, d], mask: [b, n] bool = none; heads) -> [b, n, d] {
    doc "Encodes."
    x += self_attention(layer_norm(x) @norm1, heads=heads) @attn  # residual

    # Then the rest.
    x: [b, n, d] = mlp(x)
    return x
  }

  block long_header(
    first: [b, n, d],
    second: [b, m, d];
    a_long_name = 1,
    another_long_name = 2,
    yet_another_name = 3,
  ) {
    return first
  }

  x = patch_embed(image, patch)
  repeat heads share as i {  # tied
    if i == 0 {
      x = encoder(x, heads=heads)
    } else if i == 1 {
      x = x
    } else {
      x = -x ** 2
    }
  }
  x = concat(
    self_attention(layer_norm(x) @norm_of_the_first, heads=heads, domain=causal) @first,
    self_attention(layer_norm(x) @norm_of_the_second, heads=heads, domain=band(3, 3)) @second,
    axis=-1,
  )

  output logits = linear(x[:, 0], 10) @head

  weights = {
    # every one
    official: {
      map: [
        # renamed
        {"blocks.{i}.attn.qkv.*": "blocks.{i}.attn.qkv.*"},
        {"blocks.{i}.mlp.fc1.*": "blocks.{i}.mlp.fc1.*"},
      ],
      unused: ["head_dist.weight"],
    },
  }
}
"""

YAML = """\
# Head of the file.
attnc: 1
model: sample
doc: |-
  Two lines,
  the second.
paper:
  title: A title
  year: 2021
params:
  # the side
  size: 224
  patch: {default: 16, min: 1, max: 64, doc: pixels}
  act: {default: gelu, choices: [gelu, relu]}
  heads: {type: int}
variants:
  # the small one
  small:
    doc: Small.
    size: 112
    claims: {params: {value: 1.5e9, source: table 1}}
inputs:
  image: [b, 3, size, size]
  ids: "[*s, n] int"
blocks:
  # A block.
  "encoder(x: [b, n, d], mask: [b, n] bool = none; heads) -> [b, n, d]":
    doc: Encodes.
    body:
      - x += self_attention(layer_norm(x) @norm1, heads=heads) @attn  # residual

      # Then the rest.
      - "x: [b, n, d] = mlp(x)"
      - return x

  "long_header(first: [b, n, d], second: [b, m, d]; a_long_name = 1, another_long_name = 2, \
yet_another_name = 3)":
    - return first
graph:
  - x = patch_embed(image, patch)
  - repeat heads share as i:  # tied
      - if i == 0:
          - x = encoder(x, heads=heads)
      - else if i == 1:
          - x = x
      - else:
          - x = -x ** 2
  - |-
    x = concat(
      self_attention(layer_norm(x) @norm_of_the_first, heads=heads, domain=causal) @first,
      self_attention(layer_norm(x) @norm_of_the_second, heads=heads, domain=band(3, 3)) @second,
      axis=-1,
    )
outputs:
  logits: linear(x[:, 0], 10) @head
weights:
  # every one
  official:
    map:
      # renamed
      - {"blocks.{i}.attn.qkv.*": "blocks.{i}.attn.qkv.*"}
      - {"blocks.{i}.mlp.fc1.*": "blocks.{i}.mlp.fc1.*"}
    unused: [head_dist.weight]
"""


def test_the_canonical_text_prints_as_itself() -> None:
    assert to_text(from_text(TEXT)) == TEXT


def test_the_canonical_yaml_prints_as_itself() -> None:
    assert to_yaml(from_yaml(YAML)) == YAML


def test_the_notations_convert_into_each_other_with_all_comments() -> None:
    assert to_yaml(from_text(TEXT)) == YAML
    assert to_text(from_yaml(YAML)) == TEXT


def test_lines_are_short() -> None:
    assert max(map(len, TEXT.splitlines())) <= WIDTH


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_specs_that_are_shipped_survive_both_printers(path: Path) -> None:
    read = from_yaml if path.suffix == ".yaml" else from_text
    spec = read(path.read_text(encoding="utf-8"))
    text, yaml = to_text(spec), to_yaml(spec)
    assert from_text(text) == from_yaml(yaml) == spec
    assert to_text(from_yaml(yaml)) == to_text(from_text(text)) == text
    assert to_yaml(from_yaml(yaml)) == to_yaml(from_text(text)) == yaml


UGLY = """\
model  m ( b=2,a = 1 ){ # about the model
doc "d"  ;  input x:[b,n]
# above
x=f( x , # first argument
     # second argument
     y )@l;;; y = x  # behind y
repeat 3{ x=(x) ; y=((y+1))*2 } # behind the loop

# between


# and again
when train{
  # alone at the end
}
output z=x
# last of all
}
# after the end
"""


def test_no_comment_is_lost() -> None:
    spec = from_text(UGLY)
    for printed in (to_text(spec), to_yaml(spec)):
        for line in UGLY.splitlines():
            _, mark, comment = line.partition("#")
            assert not mark or f"# {comment.strip()}" in printed


COMMENTED = """\
# c1
attnc: 1 # c2
# c3
model: m # c4
# c5
doc: | # c6
  text
  # not
# c7
paper: # c8
  # c9
  title: x # c10
  # c11
  deviations: # c12
    # c13
    - {what: a, source: b} # c14
    # c15
    - what: c # c16
      # c17
      source: d # c18
  l: [a, b] # c19
  k: {a: 1, # c20
      b: 2} # c21
  z:
    # c22
    - one # c23
    # c24
    - two # c25
# c26
params: # c27
  # c28
  a: 1 # c29
  # c30
  b: {default: 2, # c31
      min: 1} # c32
  c: # c33
    # c34
    default: 3 # c35
    # c36
    doc: x # c37
# c38
variants: # c39
  # c40
  s: # c41
    # c42
    a: 2 # c43
    # c44
    claims: {p: {value: 1}} # c45
  t: {a: 1} # c46
inputs: {x: [b, n]} # c47
# c48
blocks: # c49
  # c50
  f(x): # c51
    # c52
    doc: x # c53
    # c54
    body: # c55
      # c56
      - x = 1 # c57
      # c58
      - repeat 2: # c59
          # c60
          - x = 2 # c61
          # c62
      # c63
      - if a: [x = 1] # c64
      # c65
      - else: # c66
          # c67
          - y = 2 # c68
      # c69
      - | # c70
        z = f( # c71
          x, # c72
        ) # c73
  # c74
  g(x): [return x] # c75
# c76
graph: # c77
  # c78
  - x = 1 # c79
# c80
outputs: # c81
  # c82
  o: x # c83
# c84
weights: # c85
  # c86
  w: {a: b} # c87
# c88
parity: {} # c89
# c90
"""


def test_no_comment_of_yaml_is_lost() -> None:
    spec = from_yaml(COMMENTED)
    for printed in (to_text(spec), to_yaml(spec)):
        kept = sorted(int(line.split("# c")[1]) for line in printed.splitlines() if "# c" in line)
        assert kept == list(range(1, 91))


def test_ugly_text_is_made_canonical() -> None:
    assert (
        to_text(from_text(UGLY))
        == """\
# after the end
# about the model
attnc 1
model m(b = 2, a = 1) {
  doc "d"

  input x: [b, n]

  # above
  # first argument
  # second argument
  x = f(x, y) @l
  y = x  # behind y
  repeat 3 {  # behind the loop
    x = x
    y = (y + 1) * 2
  }

  # between

  # and again
  # alone at the end
  when train {
  }

  # last of all
  output z = x
}
"""
    )


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("(a)+(b)*(c)", "a + b * c"),
        ("(a+b)*c", "(a + b) * c"),
        ("a-(b-c)", "a - (b - c)"),
        ("(a**b)**c", "(a ** b) ** c"),
        ("a**(b**c)", "a ** b ** c"),
        ("(-a)**b", "(-a) ** b"),
        ("-(a**b)", "-a ** b"),
        ("2**(-x)", "2 ** -x"),
        ("not(a and b)", "not (a and b)"),
        ("(not a) and b", "not a and b"),
        ("(a<b)==c", "(a < b) == c"),
        ("(a if b else c) if d else (e if f else g)", "(a if b else c) if d else e if f else g"),
        ("(a+b)@l", "(a + b) @l"),
        ("(f(x)@l)[0]", "f(x) @l[0]"),
        ("f( a,k = 1, )", "f(a, k=1)"),
        ("x[ : ,0:1,::2]", "x[:, 0:1, ::2]"),
        ("{a:1,'b c':2}".replace("'", '"'), '{a: 1, "b c": 2}'),
        ("[*,* s,d]", "[*, *s, d]"),
        ("use a.b(k=1)", "use a.b(k=1)"),
        ("(1).a", "(1).a"),
        (r'"a\"b\\\n"', r'"a\"b\\\n"'),
        ("1E-05", "1e-5"),
        ("1.50", "1.5"),
    ],
)
def test_expressions_have_no_more_parentheses_than_needed(text: str, canonical: str) -> None:
    assert reformatted(text) == canonical


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (12, "12"), (1.0, "1.0"), (0.1, "0.1"), (1e-5, "1e-5"), (10000.0, "10000.0"),
        (1.56e9, "1.56e9"), (1e6, "1e6"), (-2e7, "-2e7"), (1234567.0, "1234567.0"), (1e22, "1e22"),
        (1.5e300, "1.5e300"), (10**20, "100000000000000000000"), (-0.0, "-0.0"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_read_back(number: float, text: str) -> None:
    assert number_text(number) == text
    assert type(number)(text) == number


@pytest.mark.parametrize(
    ("text", "block", "flow"),
    [
        ("plain words", "plain words", "plain words"),
        ("f(a, b) @l", "f(a, b) @l", '"f(a, b) @l"'),
        ("a: b", '"a: b"', '"a: b"'),
        ("a #b", '"a #b"', '"a #b"'),
        ("a:b", "a:b", "a:b"),
        ("https://x.org/#a", "https://x.org/#a", "https://x.org/#a"),
        ("ends:", '"ends:"', '"ends:"'),
        ("12", '"12"', '"12"'),
        ("1e-5", '"1e-5"', '"1e-5"'),
        ("2103.14899", '"2103.14899"', '"2103.14899"'),
        ("true", '"true"', '"true"'),
        ("null", '"null"', '"null"'),
        ("no", "no", "no"),
        ("", '""', '""'),
        ("*", '"*"', '"*"'),
        ("-x", '"-x"', '"-x"'),
        ("[a]", '"[a]"', '"[a]"'),
        (" padded ", '" padded "', '" padded "'),
        ("it's", "it's", "it's"),
        ('"b n"', "'\"b n\"'", "'\"b n\"'"),
        ('- it\'s "x"', "'- it''s \"x\"'", "'- it''s \"x\"'"),
        ("a\nb\t\x07\u2028", '"a\\nb\\t\\x07\\u2028"', '"a\\nb\\t\\x07\\u2028"'),
    ],
)
def test_yaml_is_quoted_only_where_it_must_be(text: str, block: str, flow: str) -> None:
    assert scalar(text) == block
    assert scalar(text, flow=True) == flow


def test_expressions_of_params_that_hold_texts_have_a_key_of_their_own() -> None:
    spec = from_text(
        'model m(a = "x" {choices: ["x"]}, b = a {choices: ["x"]}) { variant v { a = b } }'
    )
    yaml = to_yaml(spec)
    assert "  a: {default: x, choices: [x]}\n" in yaml
    assert "  b: {expression: a, choices: [x]}\n" in yaml
    assert "    a: {expression: b}\n" in yaml
    assert from_yaml(yaml) == spec


def test_keys_too_long_for_yaml_are_marked() -> None:
    ports = ", ".join(f"port{number}: [b, n, d]" for number in range(80))
    spec = from_text(
        f"block f({ports}) {{ if {' + '.join(['x'] * 90)} + f({'y' * 900}) {{ x = 1 }} }}"
    )
    yaml = to_yaml(spec)
    assert '\n  ? "f(port0: [b, n, d]' in yaml
    assert from_yaml(yaml) == spec


def test_statements_print_alone() -> None:
    (block,) = from_text("block f(x) { repeat 2 { x = g(x) }; return x }").blocks
    assert statements_text(block.body, margin=2) == ("  repeat 2 {\n    x = g(x)\n  }\n  return x")


def test_forty_levels_of_bodies_go_through_both_printers() -> None:
    spec = from_text(f"block f(x) {{ {'repeat 2 { if x { ' * 20} x = y {'} } ' * 20} }}")
    assert from_text(to_text(spec)) == from_yaml(to_yaml(spec)) == spec

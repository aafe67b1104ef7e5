"""What is printed reads back as the same tree, in either notation, for any tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnc.dsl import tree
from attnc.dsl.diagnostics import Collector
from attnc.dsl.printer import expression_text, statements_text, to_text, to_yaml
from attnc.dsl.spans import Source, Span
from attnc.dsl.text_reader import read_expression, read_text
from attnc.dsl.yaml_reader import read_yaml

Strategy = st.SearchStrategy[tree.Expr]

HERE = Span(Source("made", ""), 0, 0)

KEYWORDS = frozenset(
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
        "true",
        "false",
        "none",
        "and",
        "or",
        "not",
    ]
)

SOFT = [
    "input",
    "output",
    "doc",
    "paper",
    "weights",
    "parity",
    "variant",
    "attnc",
    "share",
    "train",
]

names = (
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True).filter(
        lambda name: name not in KEYWORDS
    )
    | st.sampled_from([*SOFT, "True", "null", "Null", "no", "on", "e5", "x", "y", "d"])
)  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["b n (h d) -> b h n d", "12", "1e-5", "true", "null", "~", "", "a: b", "a #b", "- a", "it's",
     'say "x"', "back\\slash", "two\nlines", " padded ", "[a, b]", "*", "none", "0x1f", "...",
     "tab\there", "cr\rlf\r\n", "\u2028", "\ufeff", "?x", "a,b", "x:", "a:b", "# c", "\n\nx\n"]
)  # fmt: skip

integers = st.integers(0, 10**30)
floats = st.floats(0, 1e300, allow_nan=False).filter(lambda value: str(value) != "-0.0")
numbers = integers | floats
signed = st.integers(-(10**20), 10**20) | st.floats(-1e300, 1e300, allow_nan=False)

named = names.map(lambda name: tree.Name(name, HERE))
leaves: Strategy = (
    numbers.map(lambda value: tree.Number(value, HERE))
    | texts.map(lambda text: tree.Text(text, HERE))
    | st.booleans().map(lambda value: tree.Flag(value, HERE))
    | st.just(tree.Nothing(HERE))
    | named
)


def shapes_of(axes: Strategy) -> st.SearchStrategy[tree.ListOf]:
    stars = (st.just("") | names).map(lambda name: tree.Star(name, HERE))
    return st.lists(axes | stars, max_size=4).map(lambda items: tree.ListOf(tuple(items), HERE))


def calls_of(function: Strategy, values: Strategy) -> st.SearchStrategy[tree.Call]:
    argument = st.builds(tree.Argument, st.none() | names, values, st.just(HERE))
    arguments = st.lists(argument, max_size=3).map(tuple)
    return st.builds(tree.Call, function, arguments, st.just(HERE))


def maps_of(values: Strategy) -> st.SearchStrategy[tree.MapOf]:
    keys = names | texts | st.sampled_from(sorted(KEYWORDS))
    return st.dictionaries(keys, values, max_size=3).map(
        lambda items: tree.MapOf(tuple(items.items()), HERE)
    )


def operations_of(inner: Strategy) -> Strategy:
    operators = st.sampled_from(
        ["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "and", "or"]
    )
    return (
        st.builds(tree.Unary, st.sampled_from(["-", "+", "not"]), inner, st.just(HERE))
        | st.builds(tree.Binary, operators, inner, inner, st.just(HERE))
        | st.builds(tree.Conditional, inner, inner, inner, st.just(HERE))
    )


def compounds_of(inner: Strategy) -> Strategy:
    here = st.just(HERE)
    part = st.none() | inner
    indices = inner | st.builds(tree.Slice, part, part, part, here)
    dotted = named | st.builds(tree.Attribute, named, names, here)
    return (
        operations_of(inner)
        | shapes_of(inner)
        | maps_of(inner)
        | calls_of(inner, inner)
        | calls_of(dotted, inner).map(lambda call: tree.Use(call, HERE))
        | st.builds(tree.Index, inner, st.lists(indices, min_size=1, max_size=3).map(tuple), here)
        | st.builds(tree.Attribute, inner, names, here)
        | st.builds(tree.Labelled, inner, names, here)
    )


expressions: Strategy = st.recursive(leaves, compounds_of, max_leaves=8)
shapes = shapes_of(expressions)

# Statements -------------------------------------------------------------------------------

Statements = st.SearchStrategy[tuple[tree.Statement, ...]]

comments = st.lists(st.sampled_from(["", "why", "# odd", "a: b", "  deep"]), max_size=2).map(tuple)
trailing = st.none() | st.sampled_from(["note", "x: 'y\""])

slices = st.builds(
    tree.Index, named, st.lists(expressions, min_size=1, max_size=2).map(tuple), st.just(HERE)
)
targets = st.lists(named | slices, min_size=1, max_size=2).map(tuple)


def simple_statements() -> st.SearchStrategy[tree.Statement]:
    here = st.just(HERE)
    values = st.lists(expressions, min_size=1, max_size=2).map(tuple)
    assigns = st.builds(
        tree.Assign, targets, st.sampled_from(["=", "+="]), expressions, st.none() | shapes, here,
        comments, trailing,
    )  # fmt: skip
    return (
        assigns
        | st.builds(tree.Exit, names, expressions, here, comments, trailing)
        | st.builds(tree.Return, values, here, comments, trailing)
    )


def bodies(statement: st.SearchStrategy[tree.Statement]) -> Statements:
    return st.lists(statement, max_size=3).map(tuple)


def nested_statements(
    inner: st.SearchStrategy[tree.Statement],
) -> st.SearchStrategy[tree.Statement]:
    here, body = st.just(HERE), bodies(inner)
    loop_names = st.lists(names, min_size=1, max_size=2).map(tuple)
    index = st.none() | names
    return (
        st.builds(tree.Repeat, expressions, index, st.booleans(), body, here, comments, trailing)
        | st.builds(tree.For, loop_names, expressions, body, here, comments, trailing)
        | st.builds(tree.If, expressions, body, body, here, comments, trailing)
        | st.builds(tree.When, body, here, comments, trailing)
    )


statement = st.recursive(simple_statements(), nested_statements, max_leaves=5)
blocks_of_statements = bodies(statement)


# Declarations -----------------------------------------------------------------------------

prose = (texts | st.sampled_from(["one\n  two\n    three", "a\n\nb", "a\n \nb"])).map(str.strip)
docs = st.none() | prose
choices = st.lists(texts | signed, max_size=3).map(tuple)
bounds = st.none() | signed
types = st.none() | st.sampled_from(["int", "float", "bool", "string", "list", "map", "op"])

params = st.builds(
    tree.Param, names, st.none() | expressions, st.just(HERE), types, bounds, bounds, choices, docs,
    comments,
)  # fmt: skip

data = st.recursive(
    signed.map(lambda value: tree.Number(value, HERE))
    | texts.map(lambda text: tree.Text(text, HERE))
    | st.booleans().map(lambda value: tree.Flag(value, HERE))
    | st.just(tree.Nothing(HERE)),
    lambda inner: (
        maps_of(inner)
        | st.lists(inner, max_size=3).map(lambda items: tree.ListOf(tuple(items), HERE))
    ),
    max_leaves=6,
)
data_maps = st.none() | maps_of(data)

override_names = names.filter(lambda name: name not in ("doc", "claims"))
overrides = st.dictionaries(override_names, expressions, max_size=2).map(
    lambda items: tuple(items.items())
)
ports = st.builds(
    tree.Port, names, st.none() | shapes, st.just(HERE), st.sampled_from(["float", "int", "bool"]),
    st.booleans(), st.none(), comments,
).filter(lambda port: port.shape is not None or port.dtype == "float")  # fmt: skip
inputs = st.builds(
    lambda port, condition: replace(port, condition=condition), ports, st.none() | expressions
)


Named = TypeVar("Named", tree.Param, tree.Port, tree.Block, tree.Variant, tree.Output)


def unique(strategy: st.SearchStrategy[Named]) -> st.SearchStrategy[tuple[Named, ...]]:
    return st.lists(strategy, max_size=2, unique_by=lambda node: node.name).map(tuple)


blocks = unique(
    st.builds(
        tree.Block, names, unique(ports), unique(params),
        st.lists(shapes, max_size=2).map(tuple), blocks_of_statements, st.just(HERE), docs,
        comments,
    )
)  # fmt: skip
variants = unique(
    st.builds(tree.Variant, names, overrides, data_maps, st.just(HERE), docs, comments)
)
outputs = unique(st.builds(tree.Output, names, expressions, st.just(HERE), comments))


def is_data(line: tree.Statement) -> bool:
    """`paper = {...}` in a model is a declaration, not a statement."""
    match line:
        case tree.Assign((tree.Name("paper" | "weights" | "parity"),), "=", tree.MapOf()):
            return True
    return False


graphs = blocks_of_statements.map(lambda lines: tuple(line for line in lines if not is_data(line)))
libraries = st.builds(
    lambda doc, found: tree.Spec("", HERE, doc=doc, blocks=found, library=True), docs, blocks
)
models = st.builds(
    tree.Spec, names, st.just(HERE), st.just(1), docs, data_maps, unique(params), variants,
    unique(inputs), blocks, graphs, outputs, data_maps, data_maps, comments,
)  # fmt: skip
specs = models | libraries.filter(lambda spec: bool(spec.blocks))

Reader = Callable[[Source, Collector], tree.Spec | None]
Printer = Callable[[tree.Spec], str]

NOTATIONS: dict[str, tuple[Printer, Reader]] = {
    "text": (to_text, read_text),
    "yaml": (to_yaml, read_yaml),
}

many = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def exact(node: object) -> str:
    """Tell `1` and `1.0` apart, which compare equal."""
    return repr(node)


def read(notation: str, text: str) -> tree.Spec:
    collector = Collector()
    spec = NOTATIONS[notation][1](Source("printed", text), collector)
    assert not collector.found, (text, collector.found)
    assert spec is not None
    return spec


@many
@given(expressions)
def test_an_expression_reads_back(expr: tree.Expr) -> None:
    text = expression_text(expr)
    collector = Collector()
    again = read_expression(Source("printed", text), 0, len(text), collector)
    assert not collector.found, (text, collector.found)
    assert exact(again) == exact(expr)


@many
@given(blocks_of_statements)
def test_statements_read_back(body: tuple[tree.Statement, ...]) -> None:
    printed = statements_text(body, margin=2)
    spec = read("text", f"block f() {{\n{printed}\n}}")
    assert exact(spec.blocks[0].body) == exact(body)


@many
@given(specs)
def test_a_spec_reads_back_from_both_notations(spec: tree.Spec) -> None:
    for notation, (printer, _) in NOTATIONS.items():
        text = printer(spec)
        again = read(notation, text)
        assert exact(again) == exact(spec)
        assert printer(again) == text
        for other, (other_printer, _) in NOTATIONS.items():
            assert exact(read(other, other_printer(again))) == exact(spec)

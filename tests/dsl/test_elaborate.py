"""From statements to a checked graph: shapes, names of weights, sharing, loops, training mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attnc.dsl.diagnostics import Collector, SpecError
from attnc.dsl.dims import symbol
from attnc.dsl.elaborate import elaborate
from attnc.dsl.graph import Body, Graph
from attnc.dsl.resolve import Overrides
from attnc.dsl.spans import Source
from attnc.dsl.state import parameter_count, weights
from attnc.dsl.text_reader import read_text

Built = Callable[..., Graph]


def build(text: str, variant: str | None = None, overrides: Overrides = ()) -> Graph:
    collector = Collector()
    spec = read_text(Source("test.attn", text), collector)
    collector.raise_if_any()
    assert spec is not None
    return elaborate(spec, variant, overrides)


def codes_of(text: str, **options: object) -> list[str]:
    with pytest.raises(SpecError) as caught:
        build(text, **options)  # type: ignore[arg-type]
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


def model(body: str, params: str = "dim = 8, heads = 2") -> str:
    return f"model m({params}) {{\n input x: [b, n, dim]\n{body}\n}}"


def bodies(graph: Graph) -> list[Body]:
    return [node.body for node in graph.body.nodes if node.body is not None]


def test_shapes_are_inferred_symbolically() -> None:
    graph = build(model("output y = linear(x[:, 1:], 3) @head"))
    assert graph.outputs["y"].shape == (symbol("b"), symbol("n") - 1, 3)


@pytest.mark.parametrize(("masked", "inputs"), [(True, ["x", "mask"]), (False, ["x"])])
def test_an_input_may_depend_on_params(masked: bool, inputs: list[str]) -> None:
    text = model(
        "input mask: [b, n] bool if masked\n"
        "output y = self_attention(x, mask, heads=heads)\n"
        "output has = x * 1 if mask == none else x * 2",
        params="dim = 8, heads = 2, masked = false",
    )
    graph = build(text, overrides={"masked": masked})
    assert list(graph.inputs) == inputs


@pytest.mark.parametrize(("scored", "outputs"), [(True, ["y", "score"]), (False, ["y"])])
def test_an_output_may_depend_on_params(scored: bool, outputs: list[str]) -> None:
    text = model(
        "score = none\nif scored {\n score = linear(x, 1) @head\n}\n"
        "output y = x * 1\noutput score = score",
        params="dim = 8, scored = false",
    )
    assert list(build(text, overrides={"scored": scored}).outputs) == outputs


def test_some_output_must_be_given() -> None:
    assert codes_of(model("output y = none")) == ["E109"]


def test_the_condition_of_an_input_is_known_at_compile_time() -> None:
    assert codes_of(model("input mask: [b, n] bool if n > 4\n output y = x * 1")) == ["E215"]
    assert codes_of(model("input mask: [b, n] bool if heads\n output y = x * 1")) == ["E214"]


@pytest.mark.parametrize(("key", "width"), [("a", 3), ("b", 5), ("c", 5)])
def test_get_takes_the_default_for_what_is_missing_or_none(key: str, width: int) -> None:
    read = f'get({{a: 3, b: none}}, "{key}", 5)'
    graph = build(model(f"output y = linear(x, {read}) @head"))
    assert graph.outputs["y"].shape == (symbol("b"), symbol("n"), width)


def test_get_reads_maps_only() -> None:
    assert codes_of(model('output y = linear(x, get([1, 2], "a", 5)) @head')) == ["E214"]


def test_numbers_are_read_from_a_text() -> None:
    graph = build(model('output y = linear(x, sum(numbers("(2)4(10)"))) @head'))
    assert graph.outputs["y"].shape[-1] == 16
    for wrong in ("12", f'"{"9" * 19}"'):
        assert codes_of(model(f"output y = linear(x, sum(numbers({wrong}))) @head")) == ["E214"]


def test_a_repeat_gives_each_turn_its_own_weights_and_one_body() -> None:
    graph = build(model("repeat 3 { x = mlp(x) @layers }\n output y = x"))
    assert [node.module for node in graph.body.calls()] == ["layers.0", "layers.1", "layers.2"]
    assert len(set(bodies(graph))) == 1
    assert parameter_count(graph) == 3 * (8 * 32 + 32 + 32 * 8 + 8)


def test_a_shared_repeat_has_one_set_of_weights() -> None:
    graph = build(model("repeat 3 share { x = mlp(x) @layer }\n output y = x"))
    assert {node.module for node in graph.body.calls()} == {"layer"}
    assert parameter_count(graph) == 8 * 32 + 32 + 32 * 8 + 8


def test_use_shares_weights_between_calls() -> None:
    graph = build(
        "model m(dim = 8) { input x: [b, n, dim]\n input z: [b, m, dim]\n enc = use mlp(ratio=2)\n"
        " output u = enc(x)\n output v = enc(z) }"
    )
    assert {node.module for node in graph.body.calls()} == {"enc"}
    assert parameter_count(graph) == 8 * 16 + 16 + 16 * 8 + 8


def test_the_weight_of_an_instance_can_be_read() -> None:
    graph = build(
        "model m(v = 11, d = 4) { input ids: [b, n] int\n table = use embedding(v, d)\n"
        " x = table(ids)\n output logits = matmul(x, transpose(table.weight)) }"
    )
    assert graph.outputs["logits"].shape == (symbol("b"), symbol("n"), 11)
    assert list(weights(graph)) == ["table.weight"]


def test_loops_append_their_indices_to_labels() -> None:
    graph = build(model("for w in [4, 8] { repeat 2 { x += linear(x, dim) @fc } }\n output y = x"))
    modules = [node.module for node in graph.body.nodes if node.module]
    assert modules == ["fc.0.0", "fc.0.1", "fc.1.0", "fc.1.1"]


def test_names_without_labels_are_the_bound_name_then_the_operator() -> None:
    graph = build(model("q = linear(x, dim)\n x = linear(linear(q, 4), dim)\n output y = x"))
    modules = [node.module for node in graph.body.nodes if node.module]
    assert modules == ["q", "linear", "linear_1"]


def test_an_if_is_decided_by_params() -> None:
    text = model("if wide { x = linear(x, 64) @a } else { x = linear(x, 4) @b }\n output y = x",
                 "dim = 8, wide = false")  # fmt: skip
    assert build(text).outputs["y"].shape[-1] == 4
    assert build(text, overrides=["wide=true"]).outputs["y"].shape[-1] == 64


def test_params_come_from_default_then_variant_then_set() -> None:
    text = model("variant v { heads = 4\n dim = 16 }\n output y = self_attention(x, heads=heads)")
    graph = build(text, "v", ["heads=8"])
    assert dict(graph.params) == {"dim": 16, "heads": 8}
    assert dict(graph.origins) == {"dim": "variant v", "heads": "--set"}


def test_set_reaches_into_lists() -> None:
    text = model("for d in depth { repeat d { x = mlp(x) @layers } }\n output y = x",
                 "dim = 8, depth = [1, 1]")  # fmt: skip
    assert len(bodies(build(text, overrides=["depth.1=3"]))) == 4


def test_params_may_follow_from_params() -> None:
    graph = build(
        model("output y = linear(x, inner) @fc", "dim = 8, inner = 4 * dim"), None, ["dim=4"]
    )
    assert graph.params["inner"] == 16


def test_a_key_that_a_map_lacks_has_a_default() -> None:
    params = 'dim = 8, known = {heads: 4}, heads = get(known, "heads", 1), ' + (
        'depth = get(known, "depth", 2)'
    )
    graph = build(model("output y = x", params))
    assert (graph.params["heads"], graph.params["depth"]) == (4, 2)
    assert codes_of(model("output y = x", 'dim = 8, a = get(dim, "a", 1)')) == ["E214"]


def test_an_operator_is_a_param() -> None:
    text = model("output y = mlp(x, act=act) @mlp", "dim = 8, act = gelu")
    ops = [node.op for body in bodies(build(text, overrides=["act=relu"])) for node in body.nodes]
    assert ops == ["linear", "relu", "linear"]


def test_a_list_of_tensors_is_a_port_and_a_result() -> None:
    graph = build(model(
        "block both(xs; out) { ys = []\n for t in xs { ys += [linear(t, out) @fc] }\n return ys }\n"
        "zs = both([x, x[:, 0:1]], 5) @both\n output p = zs[0]\n output q = zs[1]"
    ))  # fmt: skip
    assert graph.outputs["p"].shape == (symbol("b"), symbol("n"), 5)
    assert graph.outputs["q"].shape == (symbol("b"), 1, 5)
    assert next(iter(weights(graph))) == "both.fc.0.weight"


def test_a_slice_is_updated_functionally() -> None:
    graph = build(model("y = x\n y[:, 0:1] = x[:, 0:1] * 2\n output a = y\n output c = x"))
    assert graph.outputs["a"] is not graph.outputs["c"]
    assert graph.outputs["a"].shape == graph.outputs["c"].shape


def test_a_score_param_is_bound_in_the_scope_of_the_caller() -> None:
    graph = build(model(
        "bias = param([heads, 4, 4]) @bias\n"
        "x: [b, n, dim] = self_attention(x, heads=heads, score = qk * 0.5 + bias[h, i - j + n, 0])"
        " @attn\n output y = x"
    ))  # fmt: skip
    call = next(graph.body.calls())
    assert call.body is not None
    assert "score_bias" in call.body.ports
    assert len(call.args["ports"]) == 3  # type: ignore[arg-type]


def test_values_of_training_mode_stay_there() -> None:
    graph = build(model("when train { exit aux = linear(x, 3) @aux }\n output y = x"))
    trained = [node for node in graph.body.nodes if node.train]
    assert [node.op for node in trained] == ["linear"]
    assert list(graph.body.exits) == ["aux"]
    assert codes_of(model("when train { z = linear(x, 3) @aux }\n output y = z")) == ["E224"]


def test_all_faults_are_reported_at_once() -> None:
    found = codes_of(
        model("a = linaer(x, 3)\n c = x + missing\n d = attend(x, x, x)\n output y = a")
    )
    assert found == ["E202", "E201", "E204"]


def test_what_follows_from_a_fault_is_not_reported() -> None:
    assert codes_of(model("a = missing(x)\n c = a + 1\n output y = linear(c, 3) @fc")) == ["E202"]


def test_a_fault_inside_the_library_is_shown_where_it_was_used() -> None:
    with pytest.raises(SpecError) as caught:
        build(model("output y = self_attention(x, heads=5) @attn", "dim = 8"))
    (found,) = caught.value.diagnostics
    assert found.span is not None
    assert found.span.source.name == "test.attn"
    assert any(note.span and note.span.source.name == "std:self_attention" for note in found.notes)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("output y = mlp(x) @a\n output z = linear(x, 3) @a", "E212"),
        ("z = linear(x, 3) @a\n output y = x", "E213"),
        ("repeat n { x = x + 1 }\n output y = x", "E110"),
        ("repeat 1000000 { x = x + 1 }\n output y = x", "E217"),
        ("if n > 3 { x = x + 1 }\n output y = x", "E215"),
        ("if x { x = x + 1 }\n output y = x", "E214"),
        ("a, c = [x, x, x]\n output y = a", "E216"),
        ("output y = x * (1 // 0)", "E220"),
        ("block f(t) { return g(t) }\n block g(t) { return f(t) }\n output y = f(x)", "E211"),
        ("block f(t: [b, n]) { return t }\n output y = f(x)", "E204"),
        ("block f(t: [b, n, 3]) { return t }\n output y = f(x)", "E203"),
        ("block f(t: [b, n, d]) { t = t + 1 }\n output y = f(x)", "E219"),
        ("output y = attend(x, x)", "E205"),
        ("q = reshape(x, [b, n, 2, 4])\n output y = attend(q, q, q, score = qk + oops)", "E221"),
        ("output y = mlp(x, ratoi=3)", "E205"),
        ("output y = concat(x, 3, axis=1)", "E205"),
    ],
)
def test_faults_have_their_codes(body: str, code: str) -> None:
    assert codes_of(model(body)) == [code]


def test_positional_arguments_before_a_star_come_first() -> None:
    graph = build(model('w = param([dim, 3]) @w\n output y = einsum("b n d, d e -> b n e", x, w)'))
    assert graph.outputs["y"].shape == (symbol("b"), symbol("n"), 3)


def test_a_split_into_one_part_is_a_list_of_one() -> None:
    graph = build(model("parts = split(x, 1, axis=-1)\n output y = parts[0]"))
    assert graph.outputs["y"].shape == (symbol("b"), symbol("n"), 8)


def test_another_name_for_a_value_does_not_rename_it() -> None:
    graph = build(model("a = x * 2\nb = a if heads == 2 else x\nc = b\noutput y = c"))
    assert graph.outputs["y"].name == "a"

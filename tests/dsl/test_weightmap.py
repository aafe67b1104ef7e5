import json
from collections.abc import Mapping

import pytest

from attnc.dsl.diagnostics import Collector, SpecError, UsageError
from attnc.dsl.load import parse
from attnc.dsl.name_pattern import patterns
from attnc.dsl.spans import Source
from attnc.dsl.tree import Spec
from attnc.dsl.weight_ops import Crop, MisfitError, Pad, inverted, read_rearrange, result_shapes
from attnc.dsl.weightmap import Matching, WeightMap, weight_map

HEAD = "attnc: 1\nmodel: tiny\ninputs: {x: [b, 4]}\noutputs: {y: x}\n"


def spec(weights: object) -> Spec:
    collector = Collector()
    source = Source("tiny.yaml", f"{HEAD}weights: {json.dumps(weights)}\n")
    found = parse(source, collector)
    collector.raise_if_any()
    assert found is not None
    return found


def one_map(data: Mapping[str, object], params: Mapping[str, object] | None = None) -> WeightMap:
    return weight_map(spec({"official": data}), params or {})


def names(matching: Matching) -> dict[tuple[str, ...], tuple[str, ...]]:
    return {link.official: link.ours for link in matching.links}


def codes_of(data: Mapping[str, object]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        one_map(data)
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


# Patterns -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "name", "values"),
    [
        ("blocks.{k}.norm", "blocks.12.norm", {"k": "12"}),
        ("blocks.{k}.norm", "blocks.1.2.norm", None),
        ("block{i+1}.x", "block3.x", {"i": "2"}),
        ("block{i+1}.x", "block0.x", None),
        ("block{i+1}.x", "block03.x", None),
        ("net{_i}/x", "net/x", {"i": "0"}),
        ("net{_i}/x", "net_4/x", {"i": "4"}),
        ("net{_i}/x", "net_0/x", None),
        ("net{_i+1}/x", "net_2/x", {"i": "1"}),
        ("net{_i}/x", "network/x", None),
        ("attn.in_proj_{p}", "attn.in_proj_weight", {"p": "weight"}),
        ("a.*", "a.b.c", {"*1": "b.c"}),
        ("a.*", "a.", None),
        ("*.mid.*", "a.mid.b.mid.c", {"*1": "a.mid.b", "*2": "c"}),
        ("{i}.{i}", "3.3", {"i": "3"}),
        ("{i}.{i+1}", "3.5", None),
        ("a[0]+b", "a[0]+b", {}),
    ],
)
def test_a_pattern_reads_a_name(pattern: str, name: str, values: dict[str, str] | None) -> None:
    (read,) = patterns(pattern)
    assert read.match(name) == values
    if values is not None:
        assert read.fill(values) == name


def test_choices_stand_for_several_patterns() -> None:
    texts = [pattern.text for pattern in patterns("{a,b}.{i}.{x,y}")]
    assert texts == ["a.{i}.x", "a.{i}.y", "b.{i}.x", "b.{i}.y"]


@pytest.mark.parametrize("text", ["a.{", "a.{i*2}", "a.{}", "}"])
def test_a_brace_that_is_no_hole_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is no pattern"):
        patterns(text)


# Matching -----------------------------------------------------------------------------------


def test_names_that_match_need_no_rule() -> None:
    matching = WeightMap().match(["a", "b"], ["a", "b"])
    assert names(matching) == {("a",): ("a",), ("b",): ("b",)}
    assert not matching.missing and not matching.unexpected


def test_the_first_rule_that_leads_to_a_known_name_counts() -> None:
    found = one_map({"map": [{"s.{i}.*": "first.{i}.*"}, {"s.{i}.*": "other.{i}.*"}]})
    ours = ["first.0.w", "other.1.w", "s.2.w"]
    assert names(found.match(["s.0.w", "s.1.w", "s.2.w"], ours)) == {
        ("s.0.w",): ("first.0.w",),
        ("s.1.w",): ("other.1.w",),
        ("s.2.w",): ("s.2.w",),
    }


def test_a_map_of_pairs_is_a_list_of_rules() -> None:
    pairs = {"a.{i}": "x.{i}", "b.{weight,bias}": "y.{w,b}"}
    listed = [{"a.{i}": "x.{i}"}, {"from": "b.{weight,bias}", "to": ["y.w", "y.b"]}]
    official, ours = ["a.0", "b.weight", "b.bias"], ["x.0", "y.w", "y.b"]
    first, second = (one_map({"map": rules}).match(official, ours) for rules in (pairs, listed))
    assert names(first) == names(second)
    assert names(first)[("b.bias",)] == ("y.b",)


def test_one_name_splits_into_several_and_back() -> None:
    rule = {"from": "l.{l}.in_proj_{p}", "to": "l.{l}.{q,k,v}.{p}", "ops": [{"split": 0}]}
    found = one_map({"map": [rule]})
    official = ["l.0.in_proj_weight", "l.0.in_proj_bias"]
    ours = [f"l.0.{x}.{p}" for x in "qkv" for p in ("weight", "bias")]
    forward = found.match(official, ours)
    assert names(forward)[("l.0.in_proj_bias",)] == ("l.0.q.bias", "l.0.k.bias", "l.0.v.bias")
    assert set(found.match_back(ours).links) == set(forward.links)


def test_joining_needs_all_its_parts() -> None:
    rule = {"from": "{q,k,v}.w", "to": "qkv.w", "ops": [{"concat": 0}]}
    matching = one_map({"map": [rule]}).match(["q.w", "k.w"], ["qkv.w"])
    assert matching.unexpected == ("k.w", "q.w")
    assert matching.missing == ("qkv.w",)


def test_tensorflow_numbers_repeated_layers_from_the_second_on() -> None:
    rule = {"net{_i}/enc{_j}/ln/{gamma,beta}": "stages.{i}.{j}.norm.{weight,bias}"}
    found = one_map({"prefix": "fit/", "map": [rule]})
    official = ["fit/net/enc/ln/gamma", "fit/net_1/enc_2/ln/beta"]
    ours = ["stages.0.0.norm.weight", "stages.1.2.norm.bias"]
    expected = {(official[0],): (ours[0],), (official[1],): (ours[1],)}
    assert names(found.match(official, ours)) == names(found.match_back(ours)) == expected


def test_names_without_the_prefix_belong_to_something_else() -> None:
    matching = one_map({"prefix": "bert."}).match(["bert.w", "roberta.w", "w"], ["w"])
    assert names(matching) == {("bert.w",): ("w",)}
    assert not matching.unexpected


def test_unused_names_are_those_that_lead_nowhere() -> None:
    found = one_map({"unused": ["head.*", "*.num_batches_tracked"]})
    matching = found.match(["head.w", "head.b", "bn.num_batches_tracked", "odd"], ["head.w"])
    assert matching.unused == ("bn.num_batches_tracked", "head.b")
    assert matching.unexpected == ("odd",)
    assert names(matching) == {("head.w",): ("head.w",)}


def test_two_names_for_one_weight_are_rivals() -> None:
    found = one_map({"map": [{"a": "w"}, {"b": "w"}]})
    matching = found.match(["b", "a"], ["w"])
    assert names(matching) == {("a",): ("w",)}
    assert matching.rivals == {"b": ("w",)}


def test_a_shared_weight_may_be_stored_twice_or_once() -> None:
    tied = {"from": ["embed.w", "head.w"], "to": "embed.w", "ops": ["tie"]}
    found = one_map({"map": [tied]})
    assert names(found.match(["embed.w", "head.w"], ["embed.w"])) == {
        ("embed.w", "head.w"): ("embed.w",)
    }
    assert names(found.match(["embed.w"], ["embed.w"])) == {("embed.w",): ("embed.w",)}


def test_the_way_back_avoids_names_that_a_rule_would_take_elsewhere() -> None:
    found = one_map({"map": [{"a": "b"}]})
    # `a` cannot keep its name: read again, it would become `b`.
    assert names(found.match_back(["b", "a"])) == {("a",): ("b",)}
    assert found.match_back(["b", "a"]).missing == ("a",)
    found = one_map({"map": [{"x.{i}": "y.{i}"}, {"x.*": "z.*"}]})
    assert names(found.match_back(["y.0", "z.1"])) == {("x.0",): ("y.0",), ("x.1",): ("z.1",)}
    assert names(found.match_back(["y.0", "z.0"])) == {("x.0",): ("y.0",), ("z.0",): ("z.0",)}


# Reading ------------------------------------------------------------------------------------


def test_sizes_are_expressions_over_params() -> None:
    rule = {"from": "w", "to": ["a", "b"], "ops": [{"split": 0, "sizes": ["d", "2 * d"]}]}
    (link,) = one_map({"map": [rule]}, {"d": 8}).match(["w"], ["a", "b"]).links
    assert result_shapes(link.ops, ((24, 5),)) == ((8, 5), (16, 5))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"a.{i}": "b"}, "{i} of 'a.{i}' stands not in every name"),
        ({"a.*": "b.{i}"}, "stands not in every name"),
        ({"a.{": "b"}, "is no pattern"),
        ({"from": "a", "to": ["b", "c"]}, "1 tensors for 2 names"),
        ({"from": ["a", "b"], "to": "c"}, "2 tensors for 1 names"),
        ({"from": ["a", "b"], "to": ["c", "d"], "ops": [{"split": 0}]}, "takes one tensor"),
        ({"from": "a", "to": "b", "ops": [{"spilt": 0}]}, "no operation 'spilt'"),
        ({"from": "a", "to": "b", "ops": [{"rearrange": "i o -> o"}]}, "does not name the same"),
        ({"from": "a", "to": "b", "ops": [{"rearrange": "i h e -> (h e) i"}]}, "are open"),
        ({"from": "a", "to": "b", "ops": [{"rearrange": "i -> i", "k": 2}]}, "has no axis 'k'"),
        ({"from": "a", "to": ["b", "c"], "ops": [{"split": 0, "sizes": [1]}]}, "1 sizes for 2"),
        ({"from": "a", "to": "b", "ops": [{"reorder": 0, "order": [0, 2]}]}, "each part once"),
        ({"from": "a", "to": "b", "ops": [{"reorder": 0}]}, "each part once"),
    ],
)
def test_a_bad_rule_is_reported(rule: object, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        one_map({"map": [rule]})
    assert "E503" in {diagnostic.code for diagnostic in caught.value.diagnostics}
    assert words in str(caught.value)


def test_a_misspelt_operation_has_a_remedy() -> None:
    with pytest.raises(SpecError) as caught:
        one_map({"map": [{"from": "a", "to": ["b", "c"], "ops": [{"spilt": 0}]}]})
    assert caught.value.diagnostics[0].help == "did you mean `split`?"


def test_wrong_kinds_and_keys_are_reported_all_at_once() -> None:
    assert sorted(codes_of({"map": 3, "prefix": [1], "unusd": ["a"]})) == ["E108", "E110", "E110"]
    assert codes_of({"map": [{"from": "a", "ops": []}]}) == ["E109"]
    assert codes_of({"map": [{"from": "a", "to": ["b", "c"], "ops": [{"split": -1}]}]}) == ["E110"]


def test_problems_point_at_their_place() -> None:
    with pytest.raises(SpecError) as caught:
        one_map({"map": [{"from": "a.{", "to": "b"}]})
    span = caught.value.diagnostics[0].span
    assert span is not None and "a.{" in span.text and span.line == 5


def test_an_unknown_source_is_a_usage_error() -> None:
    found = spec({"official": {}, "timm": {"source": {"repository": "a/b"}}})
    assert weight_map(found, {}).name == "official"
    assert weight_map(found, {}, "timm").origin == {"repository": "a/b"}
    with pytest.raises(UsageError) as caught:
        weight_map(found, {}, "tim")
    assert caught.value.diagnostics[0].help == "did you mean `timm`?"


# Shapes of operations -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sizes", "shape", "result"),
    [
        ("o i -> i o", {}, (2, 3), (3, 2)),
        ("i h e -> (h e) i", {"h": 4}, (7, 4, 2), (8, 7)),
        ("(h e) i -> i h e", {"h": 4}, (8, 7), (7, 4, 2)),
        ("o i 1 1 -> o i", {}, (2, 3, 1, 1), (2, 3)),
        ("d -> 1 1 d", {}, (5,), (1, 1, 5)),
        ("h w i o -> o i h w", {}, (3, 5, 2, 7), (7, 2, 3, 5)),
    ],
)
def test_rearrange(
    text: str, sizes: dict[str, int], shape: tuple[int, ...], result: tuple[int, ...]
) -> None:
    op = read_rearrange(text, sizes)
    assert op.shapes((shape,)) == (result,)
    assert op.inverse().shapes((result,)) == (shape,)


@pytest.mark.parametrize(
    ("text", "sizes", "shape"),
    [
        ("a b -> b a", {}, (2, 3, 4)),
        ("(h e) i -> h e i", {"h": 3}, (8, 2)),
        ("a 1 -> a", {}, (2, 3)),
        ("h e -> e h", {"h": 5}, (4, 2)),
    ],
)
def test_rearrange_refuses_other_shapes(
    text: str, sizes: dict[str, int], shape: tuple[int, ...]
) -> None:
    with pytest.raises(MisfitError):
        read_rearrange(text, sizes).shapes((shape,))


def test_crop_undoes_pad() -> None:
    ops = (Pad(1, 2, 3), Crop(0, 1))
    assert result_shapes(ops, ((4, 5),)) == ((3, 10),)
    assert result_shapes(inverted(ops), ((3, 10),)) == ((4, 5),)
    with pytest.raises(MisfitError):
        Crop(0, 3, 2).shapes(((4,),))

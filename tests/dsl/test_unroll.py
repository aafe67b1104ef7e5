"""Unrolled specs: text of both notations that checks, and the same model."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

import attnc
from attnc.dsl.diagnostics import SpecError
from attnc.dsl.graph import Graph
from attnc.dsl.liveness import values
from attnc.dsl.printer import to_text, to_yaml
from attnc.dsl.state import weights
from attnc.dsl.tree import Spec
from attnc.dsl.unroll import unrolled_spec

EMITTED = sorted((Path(__file__).parents[1] / "golden" / "emit").glob("*.attn"))
NOTATIONS = ((to_text, "s.attn"), (to_yaml, "s.yaml"))


def unrolled(graph: Graph) -> Spec:
    """The unrolled spec as both notations give it back."""
    made = unrolled_spec(graph)
    first, second = (attnc.loads(notation(made), name) for notation, name in NOTATIONS)
    assert first == second == made
    return first


def of(source: str) -> str:
    """The text of the unrolled spec of a text."""
    return to_text(unrolled(attnc.check(attnc.loads(dedent(source), "s.attn"))))


@pytest.mark.parametrize("path", EMITTED, ids=lambda path: path.stem)
def test_weights_inputs_and_outputs_stay(path: Path) -> None:
    graph = attnc.check(path)
    again = attnc.check(unrolled(graph))
    assert [*weights(again).items()] == [*weights(graph).items()]
    assert again.inputs == graph.inputs
    assert {name: value.type for name, value in again.outputs.items()} == {
        name: value.type for name, value in graph.outputs.items()
    }
    assert again.body.exits.keys() == graph.body.exits.keys()


@pytest.mark.parametrize("path", EMITTED, ids=lambda path: path.stem)
def test_unrolling_again_changes_nothing(path: Path) -> None:
    once = unrolled(attnc.check(path))
    assert to_text(unrolled_spec(attnc.check(once))) == to_text(once)


def test_loops_branches_and_arithmetic_are_gone() -> None:
    assert of(
        """
        attnc 1
        model m(depth = 2, wide = false) {
          input x: [b, n, 8]
          repeat depth as i {
            if wide {
              x = linear(x, 16 * 2) @wide
            } else {
              x = linear(x, 8 + i) @narrow
            }
          }
          output y = x[:, 0] + 1
        }
        """
    ) == dedent(
        """\
        attnc 1
        model m(depth = 2 {fixed: true}, wide = false {fixed: true}) {
          input x: [b, n, 8]

          x_2 = linear(x, 8) @"narrow.0"  # [b, n, 8]
          x_3 = linear(x_2, 9) @"narrow.1"  # [b, n, 9]
          slice_1 = x_3[:, 0]  # [b, 9]
          add_1 = slice_1 + 1  # [b, 9]

          output y = add_1
        }
        """
    )


def test_variants_and_overrides_are_settled() -> None:
    graph = attnc.check("zoo:vit", "base", ["depth=1"])
    made = unrolled(graph)
    assert made.variants == ()
    assert attnc.parameter_count(attnc.check(made)) == attnc.parameter_count(graph)


def test_params_of_an_unrolled_spec_are_fixed() -> None:
    made = unrolled(attnc.check("zoo:vit", overrides=["depth=1"]))
    attnc.check(made, overrides=["depth=1"])
    with pytest.raises(SpecError, match="must be 1, as it is fixed"):
        attnc.check(made, overrides=["depth=2"])


# Attention --------------------------------------------------------------------------------

SHAPES = {
    "q": "[b, 4, 48, 8]", "k": "[b, 2, 48, 8]", "v": "[b, 2, 48, 6]", "u": "[b, 4, 48, 5]",
    "k2": "[b, 4, m, 8]", "v2": "[b, 4, m, 6]", "given": "[b, 4, 48, 48]", "wide": "[b, 4, n, d]",
    "narrow": "[b, 4, n, d]", "s": "[4]", "gate": "[b, 4, 48]", "t": "[]", "bias": "[4, 95]",
    "keep": "[b, 48] bool", "group": "[b, 48] int", "near": "[b, 48, 3] int",
    "regions": "[b, 4, 2] int", "h": "[b, h]", "centre": "[b, 48, 2]", "table": "[4, 11, 15]",
}  # fmt: skip
ATTENDS = [
    "attend(q, k, v)",
    "attend(q, k, v, scale = 1)",
    "attend(q, k, v, scale = 0.3)",
    "attend(q, k, v, score = qk * 0.5 + bias[h, j - i + 47], mask = keep[b, j])",
    "attend(wide, narrow, narrow, scale = 2)",
    "attend(wide, narrow, narrow, score = qk * 2 + n, scale = 1)",
    "attend(q, [source(k, v), source(k2, v2, domain = band(7, 3))])",
    "attend(q, [source(k, v), source(k2, v2, mask = j < m - 1, weight = s[h])], join = sum)",
    "attend(q, k, v, domain = causal)",
    "attend(q, k, v, domain = causal(2))",
    "attend(q, k, v, domain = where(i // 2 >= j // 4 or group[b, i] == group[b, j]))",
    "attend(q, k, v, grid = [6, 8], domain = windows(2, shift = 1, wrap = true))",
    "attend(q, k, v, grid = [6, 8], domain = windows([2, 4], dilation = [1, 2]))",
    "attend(q, k, v, domain = windows(8))",
    "attend(q, k, v, grid = [6, 8], score = qk + table[h, iy - jy + 5, ix - jx + 7])",
    "attend(q, k, v, grid = [6, 8], domain = stripes(1, 2))",
    "attend(q, k, v, grid = [6, 8], domain = per_heads(stripes(1, 2), stripes(0, 3)))",
    "attend(q, k, v, grid = [6, 8], domain = neighborhood(3, edge = clamp), score = qk + slot)",
    "attend(q, k, v, grid = [6, 8], domain = neighborhood([3, 5], dilation = 2))",
    "attend(q, k, v, grid = [6, 8], domain = overlapping(2, 4), score = qk * log(key_count))",
    "attend(q, k, v, domain = groups(group))",
    "attend(q, k, v, domain = blocks([20, 28]))",
    "attend(q, k, v, domain = blocks([20, 28], [40, 8]))",
    "attend(q, k, v, grid = [6, 8], domain = routed(regions, regions = [2, 2]))",
    "attend(q, k, v, domain = routed(near))",
    "attend(q, k, v, grid = [6, 8], domain = sampled(centre, 1), normalize = bilinear)",
    "attend(q, k, v, grid = [6, 8], domain = sampled(centre, [1, 2]), score = -l1(q, k) * fy)",
    "attend(q, k, v, domain = band(2, 1), outputs = [slot_weights])",
    "attend(q, k, v, normalize = softmax(keys, sink = s[h] + 1), outputs = [weights, lse])",
    "attend(q, k, v, normalize = softmax(queries), renormalize = true)",
    "attend(q, k, v, vq = u, normalize = softmax(keys, queries))",
    "attend(q, k, v, normalize = argmax(keys), outputs = [index])",
    "attend(q, k, v, normalize = argmax(queries))",
    "attend(q, k, v, normalize = sigmoid)",
    "attend(q, k, v, normalize = relu(power = 2))",
    "attend(q, k, v, normalize = none, score = qk * exp(-s[h] * (i - j)), domain = causal)",
    "attend(q, k, v, normalize = ratio(eps = 1e-6, floor = 0.1))",
    "attend(q, k, v, post = where(i == 3, w * gate[b, h, j], w), renormalize = i == 3)",
    "attend(scores = given, v = v, score = qk * t)",
    "attend(weights = given, v = v, outputs = [received])",
]  # fmt: skip


@pytest.mark.parametrize("call", ATTENDS)
def test_attention_stays_as_it_is(call: str) -> None:
    words = set(re.findall(r"[a-z]\w*", call))
    used = [name for name in SHAPES if name in words and name != "h"]
    declared = "\n".join(f"  input {name}: {SHAPES[name]}" for name in used)
    extra = ("[index]", "received", "slot_weights", "vq", "lse", "weights,")
    count = 1 + sum(call.count(each) for each in extra)
    names = [f"r{at}" for at in range(count)]
    outputs = "\n".join(f"  output out_{name} = {name}" for name in names)
    text = f"model m() {{\n{declared}\n  {', '.join(names)} = {call}\n{outputs}\n}}"
    graph = attnc.check(attnc.loads(text, "m.attn"))
    assert attentions(attnc.check(unrolled(graph))) == attentions(graph)


def attentions(graph: Graph) -> list[object]:
    return [
        (node.args["attention"], [value.type for value in values(tuple(node.args.values()))])
        for node in graph.body.nodes
        if node.op == "attend"
    ]


def test_sizes_that_scores_hide_get_another_name() -> None:
    made = of(
        """
        attnc 1
        model m() {
          input x: [b, 2, h, 4]
          rows = x.shape[2]
          output y = attend(x, x, x, score = qk * 0.5 + rows)
        }
        """
    )
    assert "h_size = h\n" in made and "score=qk * 0.5 + h_size" in made


# What must survive ------------------------------------------------------------------------


def test_instances_lists_modes_exits_and_slices_stay() -> None:
    assert of(
        """
        attnc 1
        model m(depth = 2) {
          input x: [b, n, 8]
          block both(xs; d) {
            return [linear(xs[1], d) @one, [xs[0], linear(xs[1], d) @two]]
          }
          f = use linear(8)
          mem = []
          repeat depth share {
            x = f(x)
            mem += [x]
          }
          x[:, 0:1] = f.weight[0:1, 0]
          a, rest = both(mem, d=4) @pair
          exit early = rest[0]
          when train {
            exit loss = mean(a, axis=-1)
          }
          output y = rest[1]
          output z = x
        }
        """
    ) == dedent(
        """\
        attnc 1
        model m(depth = 2 {fixed: true}) {
          input x: [b, n, 8]

          block both(xs) {
            xs_0: [b, n, 8] = xs[0]
            xs_1: [b, n, 8] = xs[1]
            linear_1 = linear(xs_1, 4) @one  # [b, n, 4]
            linear_2 = linear(xs_1, 4) @two  # [b, n, 4]
            return linear_1, [xs_0, linear_2]
          }

          f = use linear(out=8) @f
          x_2 = f(x)  # [b, n, 8]
          x_3 = f(x_2)  # [b, n, 8]
          weight = f.weight  # [8, 8]
          slice_1 = weight[0:1, 0]  # [1]
          x_4 = x_3
          x_4[:, 0:1] = slice_1  # [b, n, 8]
          results = both([x_2, x_3]) @pair
          a = results[0]  # [b, n, 4]
          xs_0 = results[1][0]  # [b, n, 8]
          linear_1 = results[1][1]  # [b, n, 4]
          exit early = xs_0
          when train {
            mean_1 = mean(a, axis=-1)  # [b, n]
            exit loss = mean_1
          }

          output y = linear_1
          output z = x_4
        }
        """
    )


def test_cases_of_an_instance_are_one_block() -> None:
    made = of(
        """
        attnc 1
        model m() {
          input x: [b, 8]
          input y: [b, n, 8]
          block f(x: [*, d]) -> [*, d] {
            return linear(x, d) @fc
          }
          enc = use f()
          output a = enc(x)
          output b_ = enc(y)
        }
        """
    )
    assert made.count("block f(") == 1 and "if case == 0" in made

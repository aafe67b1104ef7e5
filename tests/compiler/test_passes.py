from __future__ import annotations

import operator
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

import pytest
import torch
from torch import fx, nn

from attnc.backends.reference import function
from attnc.compiler.constants import constants_of
from attnc.compiler.kernel import Target
from attnc.compiler.leaf import Attend
from attnc.compiler.lower import lower
from attnc.compiler.materialise import materialise
from attnc.compiler.passes import PIPELINE, Pass, run, text, verify
from attnc.compiler.passes.fold import LARGEST
from attnc.compiler.unit import Origin
from attnc.dsl import scorelang
from attnc.dsl.attention import Attention, Constant, Dot, Load, Source, Where
from attnc.dsl.diagnostics import UsageError
from attnc.dsl.dims import symbol
from attnc.dsl.graph import Body, Graph, TensorType, Value
from attnc.dsl.state import weights

if TYPE_CHECKING:
    from tests.compiler.conftest import Block

torch.set_num_threads(1)
CPU = Target("cpu")
PASSES = {each.name: each for each in PIPELINE}


def lowered(graph: Graph) -> fx.GraphModule:
    return materialise(lower(graph, function), dtype=torch.float64)


def applied(name: str, module: fx.GraphModule) -> fx.GraphModule:
    """Apply one pass, checking all that it promises on the way."""
    before = text(module)
    result = PASSES[name].apply(module, CPU)
    PASSES[name].check(result)
    verify(result)
    assert text(module) == before
    assert [*result.state_dict()] == [*module.state_dict()]
    return result


def targets(module: nn.Module) -> list[object]:
    """The operations of a block, sizes and ports left out."""
    assert isinstance(module, fx.GraphModule)
    return [
        node.target
        for node in module.graph.nodes
        if node.op not in ("placeholder", "output") and node.users
    ]


def code_of(name: str, module: fx.GraphModule) -> list[object]:
    return targets(applied(name, module))


# Random graphs ------------------------------------------------------------------------------

Step = Callable[["Block", Value, Random], Value]


def attend(b: Block, x: Value, random: Random) -> Value:
    q = b.op("rearrange", x, "b n (h e) -> b h n e", h=2)
    scaled = b.op("multiply", q, random.choice([0.5, 2, -1.5]))
    keys = b.op("divide", q, 4.0) if random.random() < 0.5 else q
    (o,) = b.attend(scaled, keys, b.op("detach", q))
    return b.op("rearrange", o, "b h n e -> b n (h e)")


def there_and_back(b: Block, x: Value, random: Random) -> Value:
    if random.random() < 0.5:
        swapped = b.op("permute", x, (0, 2, 1))
        return b.op("permute", swapped, (0, 2, 1))
    split = b.op("rearrange", x, "b n (h e) -> h b n e", h=4)
    return b.op("rearrange", split, "h b n e -> b n (h e)")


def table(b: Block, x: Value, random: Random) -> Value:
    row = b.op("divide", b.op("cast", b.op("iota", 8), "float"), 8.0)
    return b.op("add", x, b.op("sin", b.op("multiply", row, float(random.randint(1, 5)))))


def positions(b: Block, x: Value, random: Random) -> Value:
    rows = b.op("unsqueeze", b.op("cast", b.op("iota", symbol("n")), "float"), -1)
    return b.op("add", x, b.op("multiply", rows, 0.1))


def nothing(b: Block, x: Value, random: Random) -> Value:
    whole = b.op("slice", x, (("slice", None, None, None), ("slice", 0, None, None)))
    return b.op("dropout", b.op("multiply", whole, 1.0), 0.0, module=f"drop_{len(b.nodes)}")


def unused(b: Block, x: Value, random: Random) -> Value:
    b.op("gelu", x)
    return x


def linear(b: Block, x: Value, random: Random) -> Value:
    return b.op("linear", x, 8, module=f"fc_{random.randint(0, 2)}")


STEPS: tuple[Step, ...] = (
    attend, there_and_back, table, positions, nothing, unused, linear,
)  # fmt: skip


def random_body(block: type[Block], random: Random, depth: int, inner: Body | None) -> Body:
    b = block("inner" if inner is None else "outer", x=("b", "n", 8))
    x = b["x"]
    for number in range(depth):
        if inner is not None and random.random() < 0.3:
            (x,) = b.call(inner, x, path=f"blocks.{number}")
        else:
            x = random.choice(STEPS)(b, x, random)
    return b.done(x)


@pytest.mark.parametrize("seed", range(10))
def test_no_pass_changes_numbers_or_weights(block: type[Block], seed: int) -> None:
    random = Random(seed)
    inner = random_body(block, random, 6, None)
    outer = random_body(block, random, 8, inner)
    top = block("model", x=("b", "n", 8))
    x = top["x"]
    for number in range(2):
        (x,) = top.call(outer, x, path=f"layers.{number}")
    graph = top.graph(y=x)
    module = lowered(graph)
    inputs = torch.randn(2, 5, 8, dtype=torch.float64)
    expected = module(inputs)
    for each in PIPELINE:
        module = applied(each.name, module)
        assert torch.allclose(module(inputs), expected, rtol=1e-12, atol=1e-12), each.name
    assert [*module.state_dict()] == [*weights(graph)]
    for each in PIPELINE:
        again = applied(each.name, module)
        assert torch.allclose(again(inputs), expected, rtol=1e-12, atol=1e-12), each.name


# Canonicalise -------------------------------------------------------------------------------


def small(block: type[Block], build: Callable[[Block, Value], Value]) -> fx.GraphModule:
    b = block("m", x=("b", "n", 8))
    return lowered(b.graph(y=build(b, b["x"])))


@pytest.mark.parametrize(
    "build",
    [
        lambda b, x: b.op("transpose", b.op("transpose", x)),
        lambda b, x: b.op("permute", b.op("permute", x, (2, 0, 1)), (1, 2, 0)),
        lambda b, x: b.op("permute", x, (0, 1, 2)),
        lambda b, x: b.op("reshape", x, (symbol("b"), symbol("n"), 8)),
        lambda b, x: b.op("rearrange", b.op("rearrange", x, "b n d -> b (n d)"),
                          "b (n d) -> b n d", d=8),
        lambda b, x: b.op("rearrange", b.op("rearrange", x, "b n (h e) -> b h n e", h=2),
                          "b h n e -> b n (h e)"),
        lambda b, x: b.op("dropout", x, 0.0, module="drop"),
        lambda b, x: b.op("slice", x, (("slice", None, None, None), ("slice", 0, symbol("n"), 1))),
        lambda b, x: b.op("divide", b.op("multiply", x, 1), 1.0),
        lambda b, x: b.op("expand", x, (symbol("b"), symbol("n"), 8)),
    ],
)  # fmt: skip
def test_identities_go(block: type[Block], build: Callable[[Block, Value], Value]) -> None:
    module = applied("dead", applied("canonicalise", small(block, build)))
    assert targets(module) == [] and not [*module.children()]


def test_orders_in_a_row_become_one(block: type[Block]) -> None:
    module = small(block, lambda b, x: b.op("transpose", b.op("permute", x, (2, 0, 1))))
    assert code_of("canonicalise", module) == ["transpose"]
    (made,) = applied("canonicalise", module).graph.find_nodes(op="call_method", target="transpose")
    assert made.args[1:] == (0, 2)


def test_two_detaches_are_one(block: type[Block]) -> None:
    module = small(block, lambda b, x: b.op("detach", b.op("detach", x)))
    assert code_of("canonicalise", module) == ["detach"]


@pytest.mark.parametrize(
    "build",
    [
        lambda b, x: b.op("transpose", x),
        lambda b, x: b.op("rearrange", b.op("transpose", x), "b d n -> b (d n)"),
        lambda b, x: b.op("slice", x, (("slice", 1, None, None),)),
        lambda b, x: b.op("dropout", x, 0.1, module="drop"),
        lambda b, x: b.op("multiply", x, 2.0),
        lambda b, x: b.op("multiply", x, x),
    ],
)
def test_what_does_something_stays(
    block: type[Block], build: Callable[[Block, Value], Value]
) -> None:
    module = small(block, build)
    assert code_of("canonicalise", module) == targets(module)


# Fold ---------------------------------------------------------------------------------------


def test_tables_become_buffers_of_the_models_dtype(block: type[Block]) -> None:
    module = small(block, lambda b, x: table(b, x, Random(0)))
    folded = applied("fold", module)
    ((name, constant),) = constants_of(folded).items()
    assert targets(applied("dead", folded)) == [name, operator.add]
    assert folded.get_buffer(name).dtype == torch.float64
    assert not constant.graph.find_nodes(op="placeholder")
    materialise(folded, dtype=torch.float32)
    assert folded.get_buffer(name).dtype == torch.float32
    assert torch.allclose(folded(torch.zeros(1, 1, 8))[0, 0, 1], torch.tensor(4 / 8).sin())


def test_tables_are_folded_before_there_are_weights(block: type[Block]) -> None:
    b = block("m", x=("b", "n", 8))
    graph = b.graph(y=linear(b, table(b, b["x"], Random(0)), Random(0)))
    folded = PASSES["fold"].apply(lower(graph, function), CPU)
    assert {buffer.device.type for buffer in folded.buffers()} == {"meta"}
    materialise(folded)
    x = torch.randn(1, 3, 8)
    assert torch.equal(folded(x), materialise(lower(graph, function))(x))


def test_sizes_of_inputs_weights_and_large_tables_are_no_constants(block: type[Block]) -> None:
    def large(b: Block, x: Value) -> Value:
        ones = b.op("sin", b.op("cast", b.op("iota", LARGEST + 8), "float"))
        return b.op("add", x, b.op("slice", ones, (("slice", 0, 8, 1),)))

    for build in (
        lambda b, x: positions(b, x, Random(0)),
        lambda b, x: b.op("add", x, b.op("sin", b.param("p", 8))),
        lambda b, x: b.op("add", x, b.op("zeros", (8,))),
    ):
        assert not constants_of(applied("fold", small(block, build)))
    folded = applied("fold", small(block, large))
    assert [constant().numel() for constant in constants_of(folded).values()] == [8]


def test_arguments_that_only_constants_needed_go(block: type[Block]) -> None:
    inner = block("table")
    body = inner.done(inner.op("sin", inner.op("cast", inner.op("iota", 8), "float")))

    def build(b: Block, x: Value) -> Value:
        (t,) = b.call(body, path="table")
        return b.op("add", x, t)

    module = run(small(block, build), CPU)
    (call,) = module.graph.find_nodes(op="call_module")
    assert call.args == ()
    assert torch.equal(
        module(torch.zeros(1, 1, 8).double())[0, 0], torch.arange(8.0).double().sin()
    )


# Epilogue -----------------------------------------------------------------------------------


def score_of(module: fx.GraphModule) -> str:
    leaf = module.get_submodule("attend")
    assert isinstance(leaf, Attend)
    return scorelang.text(leaf.site.attention.sources[0].score)


def heads(b: Block, x: Value) -> Value:
    return b.op("rearrange", x, "b n (h e) -> b h n e", h=2)


def test_scales_move_into_the_score(block: type[Block]) -> None:
    def build(b: Block, x: Value) -> Value:
        q = b.op("transpose", b.op("multiply", b.op("transpose", heads(b, x)), 3.0))
        (o,) = b.attend(q, b.op("divide", heads(b, x), 2.0), heads(b, x))
        return o

    module = applied("epilogue", small(block, build))
    assert score_of(module) == "qk * 0.75"
    assert operator.mul not in targets(module) and operator.truediv not in targets(module)


def test_a_scale_that_others_read_stays(block: type[Block]) -> None:
    def build(b: Block, x: Value) -> Value:
        q = b.op("multiply", heads(b, x), 3.0)
        (o,) = b.attend(q, q, heads(b, x))
        return o

    assert score_of(applied("epilogue", small(block, build))) == "qk * 0.5"


def test_a_scale_reaches_masks_that_read_qk_and_one_source_only(block: type[Block]) -> None:
    near = Where(scorelang.make("gt", Dot(), Constant(0.1)))

    def build(b: Block, x: Value) -> Value:
        attention = Attention((Source(near, Dot()), Source(near, Dot())))
        k = b.op("multiply", heads(b, x), 2.0)
        x = heads(b, x)
        (o,) = b.attend(x, x, x, k, x, attention=attention)
        return o

    before = small(block, build)
    after = applied("epilogue", before)
    leaf = after.get_submodule("attend")
    assert isinstance(leaf, Attend)
    assert [scorelang.text(s.score) for s in leaf.site.attention.sources] == ["qk", "qk * 2.0"]
    x = torch.randn(1, 6, 8, dtype=torch.float64)
    assert torch.allclose(before(x), after(x), rtol=0, atol=1e-12)


def test_sites_that_come_to_differ_get_different_names(block: type[Block]) -> None:
    def body(scale: float | None) -> Body:
        b = block("attention", x=("b", "n", 8))
        q = heads(b, b["x"])
        (o,) = b.attend(q if scale is None else b.op("multiply", q, scale), q, q)
        return b.done(b.op("rearrange", o, "b h n e -> b n (h e)"))

    b = block("m", x=("b", "n", 8))
    (y,) = b.call(body(None), b["x"], path="one")
    (z,) = b.call(body(2.0), y, path="two")
    module = lower(b.graph(y=z), function)
    before = [m.site.name for m in module.modules() if isinstance(m, Attend)]
    after = [m.site.name for m in applied("epilogue", module).modules() if isinstance(m, Attend)]
    assert (before, after) == (["attention"] * 2, ["attention", "attention_2"])


def test_what_could_be_fused_is_marked_with_its_bytes(block: type[Block]) -> None:
    rotate = block("rope", x=("b", 2, "n", 4))
    low, high = rotate.ops("split", rotate["x"], 2, axis=-1)
    body = rotate.done(
        rotate.op("concat", rotate.op("sin", low), rotate.op("negative", high), axis=-1)
    )

    def build(b: Block, x: Value) -> Value:
        (q,) = b.call(body, heads(b, x), path="rope")
        k = b.op("softmax", heads(b, x), axis=-1)
        (o,) = b.attend(q, k, heads(b, x))
        return b.op("sigmoid", b.op("rearrange", o, "b h n e -> b n (h e)"))

    module = PASSES["epilogue"].apply(small(block, build), Target("cuda", "90"))
    marks = module.meta["fusible"]["attend"]
    bytes_ = 2 * symbol("b") * symbol("n") * 8 * 2
    assert [(mark.operand, mark.bytes) for mark in marks] == [("q", bytes_), ("out", bytes_)]
    assert marks[1].names == ("sigmoid_7",)


# Dead code, the pipeline --------------------------------------------------------------------


def test_dead_code_goes_and_weights_stay(block: type[Block]) -> None:
    def build(b: Block, x: Value) -> Value:
        q = heads(b, x)
        b.attend(q, q, q)
        b.op("gelu", b.op("linear", x, 8, module="fc"))
        b.op("dropout", x, 0.5, module="drop")
        return b.op("relu", x)

    module = applied("dead", small(block, build))
    assert targets(module) == [nn.functional.relu]
    assert [name for name, _ in module.named_children()] == ["fc"]


def test_edits_are_made_once_for_each_block(
    block: type[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = block("layer", x=("b", "n", 8))
    body = inner.done(inner.op("transpose", inner.op("transpose", inner["x"])))

    def build(b: Block, x: Value) -> Value:
        for number in range(20):
            (x,) = b.call(body, x, path=f"layers.{number}")
        return x

    compiled: list[str] = []
    original = fx.GraphModule.recompile

    def recompile(self: fx.GraphModule) -> object:
        compiled.append(type(self).__name__)
        return original(self)

    module = small(block, build)
    monkeypatch.setattr(fx.GraphModule, "recompile", recompile)
    after = PASSES["canonicalise"].apply(module, CPU)
    assert compiled.count("Layer") == 2
    graphs = {m.graph for m in after.modules() if isinstance(m, fx.GraphModule)}
    assert len(graphs) == 2


def test_the_pipeline_stops_shows_and_checks(
    block: type[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = small(block, lambda b, x: table(b, nothing(b, x, Random(0)), Random(0)))
    shown: list[str] = []
    run(module, CPU, until="canonicalise", print_after="canonicalise", show=shown.append)
    assert len(shown) == 1 and "class M:" in shown[0] and "torch.arange" in shown[0]
    assert "torch.arange" not in text(run(module, CPU))
    with pytest.raises(UsageError, match=r"E611.*there is no pass 'fuse'; there are canonicalise"):
        run(module, CPU, until="fuse")
    broken = Pass("broken", lambda m, t: m, PASSES["canonicalise"].check)
    monkeypatch.setattr("attnc.compiler.passes.PIPELINE", (broken,))
    run(module, CPU)
    monkeypatch.setenv("ATTNC_VERIFY", "1")
    with pytest.raises(AssertionError, match="is not canonical"):
        run(module, CPU)


def test_verify_sees_a_wrong_shape_and_a_wrong_dtype(block: type[Block]) -> None:
    module = small(block, lambda b, x: b.op("transpose", b.op("gelu", x)))
    (node,) = module.graph.find_nodes(op="call_method", target="transpose")
    for wrong in (TensorType((symbol("b"), symbol("n"), 8)), TensorType((1,), "int")):
        node.meta["attnc"] = Origin(types=(wrong,))
        with pytest.raises(AssertionError, match=r"transpose.* is .*stated as"):
            verify(module)


def test_captured_tensors_are_no_keys(block: type[Block]) -> None:
    bias = Load("bias", (scorelang.make("sub", *[Constant(1)] * 2),))
    source = Source(Where(Constant(True)), scorelang.make("add", Dot(), bias))

    def build(b: Block, x: Value) -> Value:
        p = b.op("multiply", b.param("bias", 4), 3.0)
        q = heads(b, x)
        attention = Attention((source,), tensors=("bias",))
        (o,) = b.attend(q, q, q, attention=attention, tensors=(p,))
        return o

    assert operator.mul in targets(applied("epilogue", small(block, build)))

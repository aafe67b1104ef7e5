"""One instance, called with different shapes or for different code; sizes and dtypes of callers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import fx

from attnc.backends.reference import function
from attnc.compiler.calls import attention_calls
from attnc.compiler.leaf import Attend
from attnc.compiler.lower import lower
from attnc.compiler.materialise import materialise
from attnc.compiler.passes import PIPELINE, verify
from attnc.compiler.targets import parse_target
from attnc.dsl.dims import symbol
from attnc.dsl.graph import Body, TensorType
from attnc.dsl.state import weights

if TYPE_CHECKING:
    from tests.compiler.conftest import Block

torch.set_num_threads(1)


def tower(block: type[Block], n: int | str, *, grid: bool = False, masked: bool = False) -> Body:
    """A block whose code depends on n only through a number, or on whether it has a mask."""
    b = block("tower", x=("b", n, 8), mask=("b", n, 8) if masked else None)
    x = b.op("linear", b["x"], 8, module="fc")
    if grid:
        assert isinstance(n, int)
        square = b.op("rearrange", x, "b (h w) c -> b h w c", h=n // 2)
        x = b.op("rearrange", b.op("softmax", square, axis=1), "b h w c -> b (h w) c")
    if masked:
        x = b.op("multiply", x, b["mask"])
    q = b.op("rearrange", x, "b n (h e) -> b h n e", h=2)
    (o,) = b.attend(q, q, q)
    return b.done(b.op("rearrange", o, "b h n e -> b n (h e)"))


def distinct(module: fx.GraphModule) -> int:
    return len({m.graph for m in module.modules() if isinstance(m, fx.GraphModule)})


def test_symbolic_lengths_share_code_weights_and_kernel(block: type[Block]) -> None:
    b = block("m", x=("b", "n", 8), y=("b", "m", 8))
    (one,) = b.call(tower(block, "n"), b["x"], None, path="tower")
    (two,) = b.call(tower(block, "m"), b["y"], None, path="tower")
    graph = b.graph(one=one, two=two)
    module = materialise(lower(graph, function))
    verify(module)
    assert [*module.state_dict()] == [*weights(graph)] == ["tower.fc.weight", "tower.fc.bias"]
    assert distinct(module) == 2
    leaf = module.get_submodule("tower.attend")
    assert isinstance(leaf, Attend) and leaf.site.q.shape == (symbol("b"), 2, symbol("size0"), 4)
    x, y = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    swapped = module(y, x)
    assert torch.equal(module(x, y)["one"], swapped["two"])
    calls = attention_calls(module)
    assert [call.called.q.shape[2] for call in calls] == [symbol("n"), symbol("m")]
    assert {call.site for call in calls} == {leaf.site}


def test_numbers_that_differ_become_arguments(block: type[Block]) -> None:
    b = block("m", x=("b", 6, 8), y=("b", 10, 8))
    (one,) = b.call(tower(block, 6, grid=True), b["x"], None, path="tower")
    (two,) = b.call(tower(block, 10, grid=True), b["y"], None, path="tower")
    (three,) = b.call(tower(block, 6, grid=True), b["x"], None, path="tower")
    module = materialise(lower(b.graph(one=one, two=two, three=three), function))
    verify(module)
    assert distinct(module) == 2
    assert [node.args[1:] for node in module.graph.find_nodes(op="call_module")] == [
        (3,), (5,), (3,),
    ]  # fmt: skip
    x, y = torch.randn(1, 6, 8), torch.randn(1, 10, 8)
    out = module(x, y)
    assert torch.equal(out["one"], out["three"]) and out["two"].shape == (1, 10, 8)
    alone = block("m", y=("b", 10, 8))
    (only,) = alone.call(tower(block, 10, grid=True), alone["y"], None, path="tower")
    assert torch.equal(materialise(lower(alone.graph(y=only), function))(y), out["two"])


def test_other_code_over_the_same_weights_is_written_into_the_caller(block: type[Block]) -> None:
    def outer(masked: bool) -> Body:
        b = block("outer", x=("b", "n", 8), mask=("b", "n", 8) if masked else None)
        mask = b["mask"] if masked else None
        (y,) = b.call(tower(block, "n", masked=masked), b["x"], mask, path="inner.0")
        return b.done((b.op("linear", y, 8, module="last"), y))

    b = block("m", x=("b", "n", 8))
    one, _ = b.call(outer(False), b["x"], None, path="use")
    two, three = b.call(outer(True), b["x"], b["x"], path="use")
    graph = b.graph(one=one, two=two, three=three)
    module = materialise(lower(graph, function))
    verify(module)
    assert [*module.state_dict()] == [*weights(graph)]
    targets = [node.target for node in module.graph.find_nodes(op="call_module")]
    assert targets == ["use", "use.inner.0.fc", "attend", "use.last"]
    x = torch.randn(2, 3, 8)
    out, ones = module(x), torch.ones(2, 3, 8)
    inner = module.get_submodule("use.inner.0")
    assert torch.equal(out["one"], module.get_submodule("use")(x)[0])
    y = module.get_submodule("use.inner.0.fc")(x) * x
    q = y.unflatten(-1, (2, 4)).transpose(1, 2)
    expected = ((q @ q.mT / 2).softmax(-1) @ q).transpose(1, 2).flatten(2)
    assert torch.allclose(out["three"], expected, atol=1e-6)
    assert inner(ones).shape == (2, 3, 8)
    assert [call.path for call in attention_calls(module)] == ["use.inner.0", "use.inner.0"]
    for each in PIPELINE:
        module = each.apply(module, parse_target("cpu"))
        each.check(module)
        verify(module)
    assert torch.allclose(module(x)["two"], out["two"])


def test_a_block_without_tensors_gets_sizes_and_dtype_from_its_caller(block: type[Block]) -> None:
    n = symbol("n")
    inner = block("table")
    rows = inner.op("cast", inner.op("iota", n), "float")
    both = inner.op("add", rows, inner.op("zeros", (n,)))
    body = inner.done(both, length=n)
    middle = block("middle")
    (t,) = middle.call(body, path="table")
    b = block("m", x=("b", "n", 8))
    (positions,) = b.call(middle.done(t, length=n), path="middle")
    module = lower(b.graph(y=b.op("add", b["x"], b.op("unsqueeze", positions, -1))), function)
    verify(module)
    table = module.get_submodule("middle.table")
    assert isinstance(table, fx.GraphModule)
    ports = [node.target for node in table.graph.find_nodes(op="placeholder")]
    assert sorted(map(str, ports)) == ["length", "like"]
    x = torch.zeros(1, 4, 8, dtype=torch.float64)
    out = module(x)
    assert out.dtype == torch.float64 and out[0, :, 0].tolist() == [0, 1, 2, 3]


def test_a_model_of_integers_takes_dtype_from_its_weights(block: type[Block]) -> None:
    b = block("m", ids=TensorType((symbol("b"), symbol("n")), "int"))
    x = b.op("embedding", b["ids"], 5, 4, module="embed")
    x = b.op("add", x, b.op("unsqueeze", b.op("cast", b.op("iota", symbol("n")), "float"), -1))
    module = materialise(lower(b.graph(y=x), function), dtype=torch.float64)
    assert module(torch.tensor([[1, 2]])).dtype == torch.float64
    weightless = block("m", ids=TensorType((symbol("b"),), "int"))
    y = weightless.op("add", weightless.op("cast", weightless["ids"], "float"), 1.0)
    module = lower(weightless.graph(y=y), function)
    assert module(torch.tensor([1, 2])).dtype == torch.get_default_dtype()


def test_a_model_without_inputs(block: type[Block]) -> None:
    b = block("m")
    module = lower(b.graph(y=b.op("zeros", (2, 3))), function)
    assert module().shape == (2, 3)


def test_what_training_nodes_share_with_others_always_runs(block: type[Block]) -> None:
    b = block("m", x=("b", "n", 8))
    one, two = (b.op("zeros", (symbol("n"), 8)) for _ in range(2))
    graph = b.graph(one=one, two=b.op("add", b["x"], two))
    object.__setattr__(graph.body.nodes[0], "train", True)
    nodes = lower(graph, function).graph.nodes
    trained = [node.target for node in nodes if node.meta["attnc"].train]
    assert trained == [torch.zeros]

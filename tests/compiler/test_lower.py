from __future__ import annotations

import operator
from typing import TYPE_CHECKING, cast

import pytest
import torch
from torch import Tensor, fx, nn

from attnc.backends.reference import function
from attnc.compiler.kernel import Site
from attnc.compiler.leaf import Attend, Function
from attnc.compiler.lower import lower
from attnc.compiler.materialise import initial_value, materialise
from attnc.compiler.passes import verify
from attnc.compiler.unit import Origin
from attnc.dsl.attention import Attention, Causal, Constant, Dot, Source
from attnc.dsl.diagnostics import SpecError
from attnc.dsl.dims import symbol
from attnc.dsl.graph import Body, Graph, TensorType, Value, Weight
from attnc.dsl.scorelang import product
from attnc.dsl.state import parameter_count, weights

if TYPE_CHECKING:
    from tests.compiler.conftest import Block

torch.set_num_threads(1)
WIDTH = 12


def attention(block: type[Block], n: int | str = "n") -> Body:
    b = block("self_attention", x=("b", n, WIDTH))
    qkv = b.op("linear", b["x"], 3 * WIDTH, module="qkv")
    parts = b.op("rearrange", qkv, "b n (p h e) -> p b h n e", p=3, h=2)
    q, k, v = b.ops("unbind", parts, axis=0)
    (o,) = b.attend(q, k, v)
    merged = b.op("rearrange", o, "b h n e -> b n (h e)")
    return b.done(b.op("linear", merged, WIDTH, module="proj"))


def encoder(block: type[Block], n: int | str = "n") -> Body:
    b = block("encoder", x=("b", n, WIDTH))
    (a,) = b.call(attention(block, n), b.op("layer_norm", b["x"], module="norm1"), path="attn")
    x = b.op("add", b["x"], a)
    hidden = b.op("gelu", b.op("linear", b.op("layer_norm", x, module="norm2"), 24, module="fc1"))
    return b.done(b.op("add", x, b.op("linear", hidden, WIDTH, module="fc2")))


def stack(block: type[Block], depth: int = 3) -> Graph:
    """A small transformer: positions, encoders, norm."""
    layer = encoder(block)
    b = block("tiny_vit", x=("b", "n", WIDTH))
    x = b.op("add", b["x"], b.param("pos", 1, 1, WIDTH))
    for i in range(depth):
        (x,) = b.call(layer, x, path=f"blocks.{i}")
    return b.graph(y=b.op("layer_norm", x, module="norm"))


class ByHand(nn.Module):
    """The same in plain torch; its state dict has the same names."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.pos = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.blocks = nn.ModuleList(HandEncoder() for _ in range(depth))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class HandEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(WIDTH, 3 * WIDTH), "proj": nn.Linear(WIDTH, WIDTH)}
        )
        self.norm2 = nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.attn["qkv"](self.norm1(x)).view(b, n, 3, 2, 6).permute(2, 0, 3, 1, 4)
        a = (q @ k.mT / 6**0.5).softmax(-1) @ v
        x = x + self.attn["proj"](a.transpose(1, 2).reshape(b, n, WIDTH))
        out: Tensor = x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))
        return out


def test_a_lowered_model_equals_the_same_model_by_hand(block: type[Block]) -> None:
    module = materialise(lower(stack(block), function), dtype=torch.float64)
    hand = ByHand(3).double()
    hand.load_state_dict(module.state_dict())
    x = torch.randn(2, 7, WIDTH, dtype=torch.float64)
    assert torch.allclose(module(x), hand(x), rtol=0, atol=1e-12)


def test_the_state_dict_is_known_without_torch(block: type[Block]) -> None:
    graph = stack(block)
    module = lower(graph, function)
    expected = {name: weight.shape for name, weight in weights(graph).items()}
    found = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert [*found.items()] == [*expected.items()]
    assert parameter_count(graph) == sum(p.numel() for p in module.parameters())


def test_equal_blocks_share_class_and_graph_but_not_weights(block: type[Block]) -> None:
    module = lower(stack(block), function)
    first, second = module.get_submodule("blocks.0"), module.get_submodule("blocks.1")
    assert isinstance(first, fx.GraphModule) and isinstance(second, fx.GraphModule)
    assert type(first) is type(second) and first.graph is second.graph
    assert type(first).__name__ == "Encoder"
    assert type(first.get_submodule("attn")).__name__ == "SelfAttention"
    assert first.get_parameter("fc1.weight") is not second.get_parameter("fc1.weight")
    materialise(module)
    x = torch.randn(1, 4, WIDTH)
    assert not torch.equal(first(x), second(x))


def test_weights_are_on_meta_until_materialised(block: type[Block]) -> None:
    module = lower(stack(block), function)
    assert {tensor.device.type for tensor in module.state_dict().values()} == {"meta"}
    leaf = module.get_submodule("blocks.0.fc1")
    assert leaf.attnc_source == "nn.Linear(12, 24)"


def test_a_thousand_blocks_are_translated_once(block: type[Block]) -> None:
    asked: list[Site] = []

    def provider(site: Site) -> Function:
        asked.append(site)
        return function(site)

    module = lower(stack(block, depth=300), provider)
    assert [site.name for site in asked] == ["self_attention"]
    graphs = {m.graph for m in module.modules() if isinstance(m, fx.GraphModule)}
    assert len(graphs) == 3


def test_every_node_says_where_it_comes_from(block: type[Block]) -> None:
    module = lower(stack(block), function)
    for inner in module.modules():
        if isinstance(inner, fx.GraphModule):
            for node in inner.graph.nodes:
                assert isinstance(node.meta["attnc"], Origin)
    attn = module.get_submodule("blocks.0.attn")
    assert isinstance(attn, fx.GraphModule)
    (leaf,) = attn.graph.find_nodes(op="call_module", target="attend")
    b, n = symbol("b"), symbol("n")
    assert leaf.meta["attnc"].types == (TensorType((b, 2, n, 6)),)
    assert isinstance(attn.meta["body"], Body)
    verify(module)


# Initial values -----------------------------------------------------------------------------


def test_initial_values_depend_on_the_name_and_the_seed_alone(block: type[Block]) -> None:
    short = materialise(lower(stack(block, depth=1), function), seed=3).state_dict()
    long = materialise(lower(stack(block, depth=2), function), seed=3).state_dict()
    other = materialise(lower(stack(block, depth=1), function), seed=4).state_dict()
    assert all(torch.equal(tensor, long[name]) for name, tensor in short.items())
    assert not torch.equal(short["blocks.0.fc1.weight"], long["blocks.1.fc1.weight"])
    assert not torch.equal(short["blocks.0.fc1.weight"], other["blocks.0.fc1.weight"])


@pytest.mark.parametrize(
    ("init", "low", "high", "std"),
    [
        ("zeros", 0, 0, 0), ("ones", 1, 1, 0), ("constant(0.5)", 0.5, 0.5, 0),
        ("normal(0.02)", -0.12, 0.12, 0.02), ("trunc_normal(1)", -2, 2, 0.88),
        ("uniform(-1, 3)", -1, 3, 4 / 12**0.5), ("linear", -0.1, 0.1, 0.2 / 12**0.5),
        ("geometric(1, 1e-4)", 1e-4, 1, 0.2118),
        ("multiples(0.5)", 0, 49.5, 49.5 / 12**0.5),
        ("xavier_uniform", -(6 / 300) ** 0.5, (6 / 300) ** 0.5, 0.0816), ("embedding", -6, 6, 1),
    ],
)  # fmt: skip
def test_rules_for_initial_values(init: str, low: float, high: float, std: float) -> None:
    tensor = initial_value("a.weight", {"a.weight": Weight((200, 100), init)}, 0)
    assert low <= tensor.min() and tensor.max() <= high
    assert tensor.std().item() == pytest.approx(std, rel=0.03)


def test_a_bias_takes_its_bound_from_the_weight_beside_it() -> None:
    state = {"a.weight": Weight((4, 100)), "a.bias": Weight((2000,))}
    assert 0.09 < initial_value("a.bias", state, 0).abs().max() <= 0.1


def test_an_unknown_rule_is_refused(block: type[Block]) -> None:
    b = block("m", x=("b", 4))
    graph = b.graph(y=b.op("add", b["x"], b.param("p", 4, init="normall(1)")))
    with pytest.raises(SpecError, match=r"E205.*init is one of zeros, ones"):
        weights(graph)


# Ports and results --------------------------------------------------------------------------


def test_several_outputs_and_exits_come_by_name(block: type[Block]) -> None:
    b = block("m", x=("b", 4))
    early = b.op("relu", b["x"])
    late = b.op("multiply", early, 2.0)
    graph = b.graph(late=late)
    body = graph.body
    object.__setattr__(body, "exits", {"early": early})
    out = lower(graph, function)(torch.tensor([[1.0, -1.0, 2.0, 0.0]]))
    assert {name: tensor.tolist() for name, tensor in out.items()} == {
        "late": [[2.0, 0.0, 4.0, 0.0]], "early": [[1.0, 0.0, 2.0, 0.0]],
    }  # fmt: skip


def test_lists_of_tensors_and_absent_ports(block: type[Block]) -> None:
    inner = block("mix", xs=[("b", 4), ("b", 4)], y=None, z=("b", 4))
    first, second = cast(tuple[Value, Value], inner.ports["xs"])
    total = inner.op("add", first, inner["z"])
    body = inner.done((total, (second, total)))
    b = block("m", x=("b", 4))
    double = b.op("multiply", b["x"], 2.0)
    one, two, three = b.call(body, (b["x"], double), None, b["x"], path="mix")
    module = lower(b.graph(one=one, two=two, three=three), function)
    verify(module)
    out = module(torch.ones(1, 4))
    assert [out[name][0, 0].item() for name in ("one", "two", "three")] == [2.0, 2.0, 2.0]
    mix = module.get_submodule("mix")
    assert isinstance(mix, fx.GraphModule)
    assert [node.target for node in mix.graph.find_nodes(op="placeholder")] == ["xs", "z"]
    assert isinstance(mix([torch.ones(1, 4), torch.zeros(1, 4)], torch.ones(1, 4)), tuple)


def test_a_port_may_have_a_name_that_python_keeps(block: type[Block]) -> None:
    b = block("m", **{"lambda": ("b", 4), "torch": ("b", 4)})
    graph = b.graph(y=b.op("subtract", b["lambda"], b["torch"]))
    assert lower(graph, function)(torch.ones(1, 4), torch.ones(1, 4)).sum() == 0


def test_attention_with_several_sources_and_outputs(block: type[Block]) -> None:
    scaled = Source(Causal(), product(Dot(), Constant(0.5)))
    b = block("m", q=("b", 2, "n", 4), k=("b", 2, "n", 4))
    out, lse = b.attend(
        b["q"], b["k"], b["k"], attention=Attention((scaled,), outputs=("out", "lse"))
    )
    (joint,) = b.attend(b["q"], b["k"], b["k"], b["q"], b["q"])
    module = lower(b.graph(out=out, lse=lse, joint=joint), function)
    verify(module)
    leaves = {name: m.site.name for name, m in module.named_modules() if isinstance(m, Attend)}
    assert leaves == {"attend": "m", "attend_1": "m_2"}
    result = module(torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4))
    assert result["lse"].shape == (1, 2, 3) and result["joint"].shape == (1, 2, 3, 4)


def test_weights_are_tied_by_path_and_read_by_name(block: type[Block]) -> None:
    b = block("m", ids=TensorType((symbol("b"), symbol("n")), "int"))
    x = b.op("embedding", b["ids"], 10, 6, module="embed")
    x = b.op("linear", x, 6, module="fc")
    x = b.op("linear", x, 6, module="fc")
    logits = b.op("matmul", x, b.op("transpose", b.weight("embed.weight", 10, 6)))
    graph = b.graph(y=logits)
    module = materialise(lower(graph, function))
    assert [*weights(graph)] == [*module.state_dict()] == ["embed.weight", "fc.weight", "fc.bias"]
    ids = torch.tensor([[1, 2]])
    fc, table = module.get_submodule("fc"), module.get_parameter("embed.weight")
    assert torch.allclose(module(ids), fc(fc(table[ids])) @ table.T)


def test_buffers_follow_parameters_in_the_state_dict(block: type[Block]) -> None:
    b = block("m", x=("b", 4, "h", "w"))
    x = b.op("add", b["x"], b.param("table", 4, 1, 1, init="ones", train=False))
    x = b.op("batch_norm", x, module="norm")
    graph = b.graph(y=b.op("multiply", x, b.param("scale", 4, 1, 1)))
    module = materialise(lower(graph, function))
    assert [*weights(graph)] == [*module.state_dict()]
    assert [name for name, _ in module.named_parameters()] == ["scale", "norm.weight", "norm.bias"]
    assert module.get_buffer("norm.num_batches_tracked").dtype == torch.int64


# Errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["train", "half", "blocks.type", "graph"])
def test_labels_that_torch_keeps_are_refused(block: type[Block], label: str) -> None:
    b = block("m", x=("b", 4))
    graph = b.graph(y=b.op("linear", b["x"], 4, module=label))
    with pytest.raises(SpecError, match="E303"):
        lower(graph, function)


def test_a_size_that_no_input_tells_is_refused(block: type[Block]) -> None:
    b = block("m", x=("b", 4))
    graph = b.graph(y=b.op("iota", symbol("n")))
    with pytest.raises(SpecError, match="E301: size n cannot be computed"):
        lower(graph, function)


def test_one_instance_cannot_have_weights_of_two_shapes(block: type[Block]) -> None:
    b = block("m", x=("b", 4))
    x = b.op("linear", b["x"], 6, module="fc")
    graph = b.graph(y=b.op("linear", x, 6, module="fc"))
    with pytest.raises(SpecError, match=r"E302: fc.weight has shape \[6, 4\]"):
        weights(graph)


def test_operators_become_standard_functions(block: type[Block]) -> None:
    b = block("m", x=("b", "n", 4))
    x = b.op("slice", b["x"], (("slice", 1, None, None), ("index", 0)))
    module = lower(b.graph(y=b.op("softmax", x, axis=-1)), function)
    targets = [node.target for node in module.graph.nodes if node.op == "call_function"]
    assert targets == [operator.getitem, nn.functional.softmax]

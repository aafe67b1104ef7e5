from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from torch import fx

from attnc.backends.reference import ReferenceBackend
from attnc.compiler.choice import choose
from attnc.compiler.kernel import Answer, Kernel, No, Site, Target, Yes
from attnc.compiler.leaf import Function
from attnc.compiler.lower import lower
from attnc.compiler.passes import run
from attnc.compiler.plan import plan
from attnc.compiler.plan_text import amount, grouped
from attnc.compiler.targets import TARGETS, parse_target
from attnc.dsl.attention import All, Attention, Band, Causal, Dot, Load, Source
from attnc.dsl.diagnostics import SpecError, UsageError
from attnc.dsl.dims import Size, symbol
from attnc.dsl.graph import Body, Graph, TensorType

if TYPE_CHECKING:
    from tests.compiler.conftest import Block

CPU = Target("cpu")
SIZES = {"b": 2, "n": 16}


@dataclass(frozen=True)
class Fake:
    """A backend that gives one answer, and counts how often it is asked."""

    name: str
    answer: Answer = field(default_factory=Yes)
    asked: list[Site] = field(default_factory=list)

    def can(self, site: Site, target: Target) -> Answer:
        self.asked.append(site)
        return self.answer

    def build(self, site: Site, target: Target) -> Kernel:
        raise AssertionError("a plan builds no kernel")


def layer(block: type[Block], *, causal: bool = False, heads: int = 2) -> Body:
    b = block("layer", x=("b", "n", 8))
    q = b.op("rearrange", b.op("linear", b["x"], 8, module="fc"), "b n (h e) -> b h n e", h=heads)
    (o,) = b.attend(q, q, q, domain=Causal() if causal else None)
    return b.done(b.op("rearrange", o, "b h n e -> b n (h e)"))


def model(block: type[Block]) -> Graph:
    """Four layers, the third of them causal, and the first called again at the end."""
    plain, causal = layer(block), layer(block, causal=True)
    b = block("model", x=("b", "n", 8))
    x = b["x"]
    for number in range(4):
        (x,) = b.call(causal if number == 2 else plain, x, path=f"blocks.{number}")
    (x,) = b.call(plain, x, path="blocks.0")
    return b.graph(y=x)


def test_equal_sites_are_planned_together(block: type[Block]) -> None:
    fake = Fake("sdpa")
    made = plan(model(block), CPU, [fake, ReferenceBackend()], SIZES)
    plain, causal = made.sites
    assert plain.paths == ("blocks.0", "blocks.1", "blocks.3") and plain.calls == 4
    assert causal.paths == ("blocks.2",) and causal.calls == 1
    assert (plain.site.name, causal.site.name) == ("layer", "layer_2")
    assert len(fake.asked) == 2


def test_costs_are_those_of_all_calls(block: type[Block]) -> None:
    plain, causal = plan(model(block), CPU, [ReferenceBackend()], SIZES).sites
    assert plain.flops == 4 * 2 * (2 * 2) * 16 * 16 * 8
    assert causal.flops == 2 * (2 * 2) * (16 * 17 // 2) * 8
    assert plain.bytes == 4 * 4 * (4 * 2 * 16 * 8)
    assert plain.score_bytes == 4 * (2 * 2 * 16 * 16)
    half = plan(model(block), Target("cuda", "90"), [ReferenceBackend()], SIZES)
    assert half.sites[0].bytes * 2 == plain.bytes


def test_a_graph_and_its_lowered_module_have_one_plan(block: type[Block]) -> None:
    def function(site: Site) -> Function:
        return ReferenceBackend().build  # is never called

    graph = model(block)
    module = run(lower(graph, function), CPU)
    assert isinstance(module, fx.GraphModule)
    backends = [ReferenceBackend()]
    assert plan(module, CPU, backends, SIZES) == plan(graph, CPU, backends, SIZES)


def test_several_attentions_of_a_block_are_told_apart(block: type[Block]) -> None:
    b = block("m", q=("b", 2, "n", 4))
    (o,) = b.attend(b["q"], b["q"], b["q"])
    (p,) = b.attend(o, b["q"], b["q"], domain=Causal())
    made = plan(b.graph(y=p), CPU, [ReferenceBackend()], SIZES)
    assert [site.paths for site in made.sites] == [("attend",), ("attend_1",)]
    alone = block("m", q=("b", 2, "n", 4))
    (o,) = alone.attend(alone["q"], alone["q"], alone["q"])
    made = plan(alone.graph(y=o), CPU, [ReferenceBackend()], SIZES)
    assert [site.paths for site in made.sites] == [("m",)]


def test_calls_of_one_instance_with_other_lengths_share_a_site(block: type[Block]) -> None:
    def tower(n: str) -> Body:
        t = block("tower", q=("b", 2, n, 4))
        return t.done(t.attend(t["q"], t["q"], t["q"])[0])

    b = block("m", x=("b", 2, "n", 4), y=("b", 2, "m", 4))
    (one,) = b.call(tower("n"), b["x"], path="tower")
    (two,) = b.call(tower("m"), b["y"], path="tower")
    (site,) = plan(b.graph(one=one, two=two), CPU, [ReferenceBackend()], {**SIZES, "m": 3}).sites
    assert site.calls == 2
    assert site.flops == 2 * (2 * 2) * 8 * (16 * 16 + 3 * 3)
    assert site.score_bytes == 4 * (2 * 2 * 16 * 16)


# Choice -------------------------------------------------------------------------------------


def site(block: type[Block], *, biased: bool) -> Site:
    kind = TensorType((2,), "float")
    score = Load("bias", ()) if biased else Dot()
    q = TensorType((1, 2, 5, 4))
    tensors = (("bias",), (kind,)) if biased else ((), ())
    attention = Attention((Source(Causal(), score),), tensors=tensors[0])
    return Site("s", attention, q, ((q, q),), tensors[1])


@pytest.mark.parametrize(
    ("target", "biased", "expected"),
    [
        ("cpu", True, ["sdpa", "other", "reference"]),
        ("cuda:90", False, ["sdpa", "triton", "other", "reference"]),
        ("cuda:90", True, ["triton", "sdpa", "other", "reference"]),
        ("hip:gfx942", True, ["triton", "sdpa", "other", "reference"]),
    ],
)
def test_the_order_of_preference(
    block: type[Block], target: str, biased: bool, expected: list[str]
) -> None:
    names = ["reference", "other", *(["triton"] if "triton" in expected else []), "sdpa"]
    verdicts = choose(site(block, biased=biased), parse_target(target), [*map(Fake, names)])
    assert [verdict.backend for verdict in verdicts] == expected
    assert [verdict.chosen for verdict in verdicts] == [True] + [False] * (len(expected) - 1)


CPU_ORDERS: dict[str, tuple[Source, tuple[Size, int], list[str]]] = {
    "small": (Source(All(), Dot()), (64, 8), ["linear", "reference", "sdpa", "tiled"]),
    "short and dense": (Source(All(), Dot()), (200, 8), ["sdpa", "linear", "reference", "tiled"]),
    "long and dense": (Source(All(), Dot()), (4096, 8), ["sdpa", "linear", "tiled", "reference"]),
    "causal": (Source(Causal(), Dot()), (4096, 8), ["sdpa", "linear", "tiled", "reference"]),
    "a long window": (
        Source(Band(9, 9), Dot()), (4096, 8), ["linear", "tiled", "sdpa", "reference"]
    ),
    "a short window": (
        Source(Band(9, 9), Dot()), (128, 8), ["linear", "tiled", "sdpa", "reference"]
    ),
    "a window of any length": (
        Source(Band(9, 9), Dot()), (symbol("n"), 8), ["linear", "tiled", "sdpa", "reference"]
    ),
    "channels": (
        Source(All(), Dot()), (32, 3136), ["linear", "reference", "sdpa", "tiled"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CPU_ORDERS)
def test_the_order_on_the_cpu_follows_the_domain(name: str) -> None:
    source, (n, d), expected = CPU_ORDERS[name]
    q = TensorType((1, 2, n, d))
    made = Site("s", Attention((source,)), q, ((q, q),))
    verdicts = choose(made, CPU, [*map(Fake, ("reference", "tiled", "linear", "sdpa"))])
    assert [verdict.backend for verdict in verdicts] == expected


def test_every_backend_that_was_passed_over_says_why(block: type[Block]) -> None:
    backends = [Fake("reference"), Fake("triton", No(("d is 4, not 16",))), Fake("sdpa")]
    verdicts = choose(site(block, biased=True), parse_target("cuda:80"), backends)
    assert [(v.backend, v.can, v.chosen, v.reasons) for v in verdicts] == [
        ("triton", False, False, ("d is 4, not 16",)),
        ("sdpa", True, True, ("not preferred: adding bias takes it out of its fused kernels",)),
        ("reference", True, False, ()),
    ]


def test_no_backend_is_an_error_with_all_reasons(block: type[Block]) -> None:
    backends = [Fake("sdpa", No(("first reason",))), Fake("reference", No(("second reason",)))]
    with pytest.raises(SpecError, match="E402: no backend computes layer on cpu") as caught:
        plan(model(block), CPU, backends, SIZES)
    notes = [note.message for note in caught.value.diagnostics[0].notes]
    assert notes == ["sdpa: first reason", "reference: second reason"]


def test_every_size_needs_a_value(block: type[Block]) -> None:
    with pytest.raises(UsageError, match="E403: n have no value"):
        plan(model(block), CPU, [ReferenceBackend()], {"b": 1})


# Text ---------------------------------------------------------------------------------------


def test_the_plan_as_text(block: type[Block]) -> None:
    backends = [Fake("reference", Yes(("anywhere",))), Fake("sdpa", No(("no mask", "no bias")))]
    made = plan(model(block), CPU, backends, SIZES)
    assert made.text() == (
        "target cpu, b = 2, n = 16\n\n"
        "layer: 4 calls in blocks.0-1,3\n"
        "  q [b, 2, n, 4], k [b, 2, n, 4], v [b, 2, n, 4]: qk * 0.5\n"
        "  65.5 kFLOPs, 16.4 kB read and written; the scores of one call would take 4.1 kB\n"
        "  sdpa       no      no mask; no bias\n"
        "  reference  chosen  anywhere\n\n"
        "layer_2: 1 call in blocks.2\n"
        "  q [b, 2, n, 4], k [b, 2, n, 4], v [b, 2, n, 4]: qk * 0.5 where j <= i\n"
        "  8.7 kFLOPs, 4.1 kB read and written; the scores of one call would take 4.1 kB\n"
        "  sdpa       no      no mask; no bias\n"
        "  reference  chosen  anywhere\n"
    )


def test_the_plan_as_rows_and_as_data(block: type[Block]) -> None:
    made = plan(model(block), CPU, [Fake("reference"), Fake("sdpa", No(("why",)))], SIZES)
    rows = made.rows()
    assert [row["attention"] for row in rows] == ["layer", "", "layer_2", ""]
    assert [row["state"] for row in rows] == ["no", "chosen"] * 2
    data = json.loads(json.dumps(made.to_json()))
    assert data["target"] == "cpu" and data["sizes"] == SIZES
    assert [site["backend"] for site in data["sites"]] == ["reference"] * 2
    assert data["sites"][0]["verdicts"][0] == {
        "backend": "sdpa", "can": False, "chosen": False, "reasons": ["why"], "reads": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 "),
        (999, "999 "),
        (1000, "1 k"),
        (65536, "65.5 k"),
        (999_999, "1 M"),
        (3 * 10**12, "3 T"),
    ],
)
def test_amounts(number: int, shown: str) -> None:
    assert amount(number) == shown


def test_paths_with_numbers_are_grouped() -> None:
    paths = ["a.0.x", "a.1.x", "a.2.x", "a.10.x", "b", "c.1.2", "c.1.3"]
    assert grouped(paths) == ["a.0-2,10.x", "b", "c.1.2-3"]


# Targets ------------------------------------------------------------------------------------


def test_targets_are_read_and_refused() -> None:
    assert [parse_target(str(target)) for target in TARGETS] == [*TARGETS]
    assert parse_target("cuda:90") == Target("cuda", "90")
    with pytest.raises(UsageError, match="E401: there is no target 'cuda:91'; there are cpu, cuda"):
        parse_target("cuda:91")

"""The sdpa backend against the reference: equal in float64, close by the rule of error else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from attnc.backends.reference import function
from attnc.backends.sdpa import SdpaBackend
from attnc.compiler.kernel import No, Site, Target, Yes
from attnc.dsl.attention import (
    All,
    Attention,
    Band,
    Causal,
    Constant,
    Coordinate,
    Domain,
    Dot,
    Extent,
    Load,
    ScoreTree,
    Source,
    Where,
)
from attnc.dsl.dims import Dim, Shape, Size, symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import make

torch.set_num_threads(1)

B, N, M = symbol("b"), symbol("n"), symbol("m")
B_, H_, I_, J_ = (Coordinate(name) for name in "bhij")
SIZES: Mapping[str, Size] = {"b": 2, "n": 9, "m": 7}
HEADS = 4
CPU, CUDA = Target(), Target("cuda", "90")
HALF = [torch.float16, torch.bfloat16]


def scaled(factor: float) -> ScoreTree:
    return make("mul", Dot(), Constant(factor))


QUARTER = scaled(0.25)
OFFSET = make("sub", I_, J_)


@dataclass(frozen=True)
class Case:
    """A site of one source."""

    source: Source
    tensors: Mapping[str, TensorType] = field(default_factory=dict)
    groups: int = HEADS
    value_width: int = 16
    outputs: tuple[str, ...] = ("out",)

    def site(self) -> Site:
        attention = Attention((self.source,), tensors=tuple(self.tensors), outputs=self.outputs)
        k = TensorType((B, self.groups, M, 16))
        v = TensorType((B, self.groups, M, self.value_width))
        q = TensorType((B, HEADS, N, 16))
        return Site("attend", attention, q, ((k, v),), tuple(self.tensors.values()))

    def arguments(self, dtype: torch.dtype) -> list[Tensor]:
        generator = torch.Generator().manual_seed(5)

        def sample(type_: TensorType) -> Tensor:
            floats = torch.randn(numbers(type_.shape), generator=generator, dtype=torch.float64)
            if type_.dtype == "bool":
                allowed = floats > -0.5
                allowed[0] = False  # a sequence of padding only
                return allowed
            return floats.to(dtype).requires_grad_()

        site = self.site()
        return [sample(type_) for type_ in (site.q, *site.sources[0], *site.tensors)]


def numbers(shape: Shape) -> list[int]:
    found = [size.substitute(SIZES) if isinstance(size, Dim) else size for size in shape]
    return [size for size in found if isinstance(size, int)]


def one(
    domain: Domain | None = None, score: ScoreTree = QUARTER, mask: ScoreTree | None = None
) -> Source:
    return Source(domain or All(), score, mask)


def plus(bias: ScoreTree, scale: ScoreTree = QUARTER) -> ScoreTree:
    return make("add", scale, bias)


PAD = Load("pad", (B_, J_), "bool")
PAIR = TensorType((B, M), "bool")
TABLE = Load("table", (H_, make("add", OFFSET, Constant(6))))
SLOPE = Load("slope", (H_,))

CASES = {
    "plain": Case(one()),
    "other scale": Case(one(score=scaled(0.3))),
    "negative scale": Case(one(score=make("neg", make("div", Dot(), Constant(3.0))))),
    "causal": Case(one(Causal())),
    "causal as a condition": Case(one(Where(make("ge", OFFSET, Constant(0))))),
    "causal to the end": Case(one(Causal(M - N))),
    "causal from before": Case(one(Causal(-2))),
    "band": Case(one(Band(1, 2))),
    "nothing": Case(one(Where(Constant(False)))),
    "keys only": Case(one(Where(make("gt", J_, Constant(2))))),
    "queries only": Case(one(Where(make("gt", I_, Constant(2))))),
    "padding": Case(one(mask=PAD), {"pad": PAIR}),
    "causal padding": Case(one(Causal(), mask=PAD), {"pad": PAIR}),
    "table": Case(one(score=plus(TABLE)), {"table": TensorType((HEADS, 15))}),
    "table, causal, padding": Case(
        one(Causal(), plus(TABLE), PAD), {"table": TensorType((HEADS, 15)), "pad": PAIR}
    ),
    "slopes": Case(one(Causal(), plus(make("mul", SLOPE, make("neg", OFFSET)))),
                   {"slope": TensorType((HEADS,))}),
    "bias of keys": Case(one(score=plus(Load("t", (J_,)))), {"t": TensorType((M,))}),
    "bias of queries": Case(one(score=plus(Load("t", (I_,)))), {"t": TensorType((N,))}),
    "bias of pairs": Case(one(score=plus(Load("t", (B_, H_, I_, J_)))),
                          {"t": TensorType((B, HEADS, N, M))}),
    "constant": Case(one(score=plus(make("log", Extent(M))))),
    "scaled sum": Case(one(score=make("mul", plus(Load("t", (J_, I_)), make("neg", Dot())),
                                      Constant(-0.5))), {"t": TensorType((M, N))}),
    "grouped": Case(one(Causal()), groups=2),
    "one group": Case(one(mask=PAD), {"pad": PAIR}, groups=1),
    "wide values": Case(one(Causal()), value_width=24),
    "narrow values with a table": Case(one(score=plus(TABLE)),
                                       {"table": TensorType((HEADS, 15))}, value_width=5),
}  # fmt: skip


def built(case: Case, target: Target = CPU) -> Callable[..., Tensor]:
    """Return the kernel as a function."""
    kernel = SdpaBackend().build(case.site(), target)
    source = kernel.source
    if kernel.call is not None:
        body = kernel.call.format(q="q", k0="k", v0="v")
        source = f"def attend(q, k, v):\n    return {body}\n"
    namespace: dict[str, object] = {"torch": torch, "F": F, "Tensor": Tensor}
    exec(source, namespace)
    made = namespace["attend"]
    assert callable(made)
    return made


def results(attend: Callable[..., object], arguments: list[Tensor]) -> list[Tensor]:
    """Return the output and the gradients of all float arguments."""
    out = attend(*arguments)
    assert isinstance(out, Tensor)
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)
    floats = [each for each in arguments if each.requires_grad]
    grads = torch.autograd.grad((out.double() * weight).sum(), floats, allow_unused=True)
    zeros = map(torch.zeros_like, floats)
    pairs = zip(grads, zeros, strict=True)
    return [out, *(zero if grad is None else grad for grad, zero in pairs)]


@pytest.mark.parametrize("target", [CPU, CUDA], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_reference_in_float64(name: str, target: Target) -> None:
    case = CASES[name]
    assert isinstance(SdpaBackend().can(case.site(), target), Yes)
    arguments = case.arguments(torch.float64)
    expected = results(function(case.site()), arguments)
    for found, exact in zip(results(built(case, target), arguments), expected, strict=True):
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("name", CASES)
def test_rule_of_error(name: str, dtype: torch.dtype) -> None:
    """At most 10 times the error of eager float32, 1.5 times that of eager half precision."""
    case = CASES[name]
    arguments = case.arguments(dtype)
    exact = [each.double() if each.is_floating_point() else each for each in arguments]
    expected = results(function(case.site()), exact)
    eager = results(function(case.site()), arguments)
    found = results(built(case), arguments)
    factor = 1.5 if dtype in HALF else 10
    largest = max(rms(truth) for truth in expected)
    for got, plain, truth in zip(found, eager, expected, strict=True):
        # a gradient that is 0 by cancellation is measured against the others
        scale = rms(truth) if rms(truth) > 1e-12 else largest
        unit = torch.finfo(dtype).eps * scale
        assert rms(got - truth) <= factor * max(rms(plain - truth), unit)


def rms(tensor: Tensor) -> float:
    return tensor.double().square().mean().sqrt().item()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("plain", "F.scaled_dot_product_attention({q}, {k0}, {v0})"),
        ("other scale", "F.scaled_dot_product_attention({q}, {k0}, {v0}, scale=0.3)"),
        ("causal", "F.scaled_dot_product_attention({q}, {k0}, {v0}, is_causal=True)"),
        ("causal as a condition",
         "F.scaled_dot_product_attention({q}, {k0}, {v0}, is_causal=True)"),
        ("grouped",
         "F.scaled_dot_product_attention({q}, {k0}, {v0}, is_causal=True, enable_gqa=True)"),
    ],
)  # fmt: skip
def test_inline_calls(name: str, call: str) -> None:
    kernel = SdpaBackend().build(CASES[name].site(), CPU)
    assert (kernel.call, kernel.source) == (call, "")
    assert kernel.imports == ("import torch.nn.functional as F",)


def test_reasons_for_yes() -> None:
    answer = SdpaBackend().can(CASES["table, causal, padding"].site(), CPU)
    assert answer.reasons[1:] == (
        "builds a bias of 16*b*m*n bytes",
        "rows without a key are zeroed afterwards",
    )
    assert SdpaBackend().can(CASES["causal to the end"].site(), CPU).reasons[1] == (
        "builds a mask of m*n bytes"
    )


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (replace(CASES["plain"], outputs=("out", "lse")), "it returns the output only, not lse"),
        (Case(one(score=make("tanh", Dot()))), "the score tanh(qk) is not qk * number + bias"),
        (Case(one(score=make("mul", Dot(), SLOPE)), {"slope": TensorType((HEADS,))}),
         "the score qk * slope[h] is not qk * number + bias"),
        (Case(one(score=make("add", Dot(), make("sign", Dot())))),
         "the score qk + sign(qk) is not qk * number + bias"),
        (Case(one(score=SLOPE), {"slope": TensorType((HEADS,))}),
         "the score slope[h] is not qk * number + bias"),
        (Case(one(mask=make("gt", Dot(), Constant(0.0)))),
         "its mask cannot read qk, as qk > 0.0 does"),
        (Case(Source(All(), QUARTER, weight=SLOPE), {"slope": TensorType((HEADS,))}),
         "it has no factor on its result, here slope[h]"),
        (Case(one(score=plus(make("mul", J_, Extent(symbol("x")))))),
         "no axis of q, k, v or a tensor tells the size x; make it a param"),
    ],
)  # fmt: skip
def test_reasons_for_no(case: Case, reason: str) -> None:
    assert SdpaBackend().can(case.site(), CPU) == No((reason,))


def test_several_sources_are_refused() -> None:
    site = CASES["plain"].site()
    both = replace(
        site, attention=Attention((one(), one())), sources=(site.sources[0], site.sources[0])
    )
    assert SdpaBackend().can(both, CPU) == No(("2 sources; it takes one",))

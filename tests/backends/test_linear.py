"""Linear attention in O(n) against the reference, which computes all pairs."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradgradcheck

import attnc
from attnc.backends.linear import LinearBackend
from attnc.backends.reference import function
from attnc.compiler.kernel import Kernel, No, Site, Target, Yes
from attnc.compiler.sites import site_of

torch.set_num_threads(1)

LoadKernels = Callable[[Site, Kernel], ModuleType]
Entry = Callable[..., Tensor]
SHAPES = {
    "q": "[b, 4, n, 5]",
    "k": "[b, 4, n, 5]",
    "v": "[b, 4, n, 3]",
    "km": "[b, 4, m, 5]",
    "vm": "[b, 4, m, 3]",
    "k1": "[b, 2, n, 5]",
    "v1": "[b, 2, n, 3]",
    "rate": "[4]",
    "own": "[b, 4]",
    "gain": "[b, n]",
    "pad": "[b, m] bool",
    "padn": "[b, n] bool",
}
CASES: Mapping[str, str] = {
    "none": "q, km, vm, normalize = none",
    "ratio": "q, km, vm, normalize = ratio(eps = 1e-6)",
    "floor": "q, km, vm, normalize = ratio(floor = 9.0)",
    "masked": "q, km, vm, normalize = ratio(eps = 1e-6), mask = pad[b, j]",
    "with factors": "q, km, vm, normalize = none, score = -qk * gain[b, i] / rate[h]",
    "shared keys": "q, k1, v1, normalize = ratio",
    "causal": "q, k, v, domain = causal, normalize = none",
    "causal ratio": "q, k, v, domain = causal, normalize = ratio(eps = 1e-6), mask = padn[b, j]",
    "decay": "q, k, v, domain = causal, normalize = none, score = qk * exp(-0.1 * (i - j))",
    "decay by head": "q, k, v, domain = causal, normalize = none, "
    "score = qk * exp(-rate[h] * (i - j)) * 0.5",
    "decay by batch": "q, k, v, domain = causal, normalize = ratio(eps = 1e-3), "
    "score = qk * exp((j - i) / (own[b, h] + 1))",
    "distance": "q, k1, v1, domain = causal, normalize = none, "
    "score = qk / exp(rate[h] * abs(j - i) * 0.1)",
}
REFUSED: Mapping[str, tuple[str, str]] = {
    "softmax": ("q, k, v", "not a normalised exponential"),
    "a bias": ("q, k, v, normalize = none, score = qk + rate[h]", "is not qk times factors"),
    "both ways": (
        "q, k, v, normalize = none, score = qk * exp(-rate[h] * (i - j))", "without an order"
    ),
    "abs both ways": (
        "q, k, v, normalize = none, score = qk * exp(-rate[h] * abs(i - j))", "times factors"
    ),
    "a band": ("q, k, v, domain = band(3, 3), normalize = none", "all keys or of all before"),
    "other lengths": ("q, km, vm, domain = causal, normalize = none", "as many keys as queries"),
    "square": ("q, k, v, normalize = none, score = qk ** 2", "times factors"),
    "no row": ("q, km, vm, normalize = ratio, mask = pad[b, j]", "rows without keys"),
}  # fmt: skip


@cache
def site(call: str) -> Site:
    names = [name for name in SHAPES if re.search(rf"\b{name}\b(?! =)", call)]
    inputs = "\n".join(f"  input {name}: {SHAPES[name]}" for name in names)
    text = f"model m() {{\n{inputs}\n  o = attend({call}, scale = 1)\n  output o_out = o\n}}"
    graph = attnc.check(attnc.loads(text))
    return next(site_of(node, "attend") for node in graph.body.nodes if node.op == "attend")


def built(of: Site, load: LoadKernels) -> Entry:
    backend = LinearBackend()
    answer = backend.can(of, Target())
    assert isinstance(answer, Yes), answer
    return cast(Entry, vars(load(of, backend.build(of, Target())))["attend"])


def operands(of: Site, n: int = 150, m: int = 90, b: int = 2) -> list[Tensor]:
    """Return random arguments in float64; products of q and k are positive."""
    generator = torch.Generator().manual_seed(3)
    shapes = [of.q, *(each for pair in of.sources for each in pair), *of.tensors]
    made = []
    for type_ in shapes:
        shape = [eval(str(size), {}, {"n": n, "m": m, "b": b}) for size in type_.shape]
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64)
        if type_.dtype == "bool":
            drawn = drawn > 0.3
            drawn[0] = False
        made.append(drawn)
    return made


def run(entry: Entry, given: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the result and all gradients, as float64."""
    arguments = [
        x.to(dtype).detach().requires_grad_() if x.is_floating_point() else x for x in given
    ]
    out = entry(*arguments)
    factor = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
    (out.double() * factor).sum().backward()
    grads = [x.grad for x in arguments if x.grad is not None]
    assert len(grads) == sum(x.is_floating_point() for x in given)
    return [x.detach().double() for x in (out, *grads)]


def error(x: Tensor, exact: Tensor) -> float:
    return float((x - exact).norm() / exact.norm().clamp(min=1e-30))


@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients(name: str, load_kernels: LoadKernels) -> None:
    of = site(CASES[name])
    entry, given = built(of, load_kernels), operands(of)
    reference = cast(Entry, function(of))
    exact = run(reference, given, torch.float64)
    for ours, right in zip(run(entry, given, torch.float64), exact, strict=True):
        assert error(ours, right) < 1e-12
    theirs = run(reference, given, torch.float32)
    for ours, eager, right in zip(run(entry, given, torch.float32), theirs, exact, strict=True):
        assert error(ours, right) <= 10 * max(error(eager, right), 1e-7)


@pytest.mark.parametrize("name", ["causal", "decay by head"])
@pytest.mark.parametrize("n", [0, 1, 127, 128, 129])
def test_lengths_around_a_chunk(name: str, n: int, load_kernels: LoadKernels) -> None:
    of = site(CASES[name])
    given = operands(of, n=n)
    exact = run(cast(Entry, function(of)), given, torch.float64)
    torch.testing.assert_close(run(built(of, load_kernels), given, torch.float64), exact)


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_why(name: str) -> None:
    call, message = REFUSED[name]
    answer = LinearBackend().can(site(call), Target())
    assert isinstance(answer, No)
    assert any(message in reason for reason in answer.reasons), answer.reasons


def test_gradients_of_gradients(load_kernels: LoadKernels) -> None:
    of = site(CASES["causal"])
    given = [x.requires_grad_() for x in operands(of, n=4, b=1)]
    assert gradgradcheck(built(of, load_kernels), given)


class Model(nn.Module):
    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.entry = entry
        self.rate = nn.Parameter(torch.rand(4))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.entry(q, k, v, self.rate)


def test_export_saves_and_loads(load_kernels: LoadKernels) -> None:
    of = site(CASES["decay by head"])
    model = Model(built(of, load_kernels))
    q, k, v = (x.float() for x in operands(of)[:3])
    n = torch.export.Dim("n", min=2, max=1000)
    file = io.BytesIO()
    exported = torch.export.export(model, (q, k, v), dynamic_shapes=[{2: n}] * 3)
    torch.export.save(exported, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    longer = [x.float() for x in operands(of, n=400)[:3]]
    torch.testing.assert_close(loaded(*longer), model(*longer))

"""Tiled attention against float64: results, all gradients, and what memory it takes.

An error may be 10 times that of the reference backend in float32, which sums in another order, and
1.5 times that in half precision.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attnc.backends.reference import function
from attnc.backends.tiled import TiledBackend
from attnc.compiler.kernel import Target
from tests.backends.tiled_cases import (
    CASES,
    RESULTS,
    Entry,
    LoadKernels,
    built,
    error,
    named,
    operands,
    run,
    site,
)

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill new tensors with NaN: what a tile forgets to write shows."""
    empty = torch.empty

    def nan(*args: object, **options: object) -> Tensor:
        made: Tensor = empty(*args, **options)  # type: ignore[call-overload]
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", nan)


@pytest.mark.parametrize("name", [*CASES, *RESULTS])
def test_results_and_gradients(name: str, load_kernels: LoadKernels) -> None:
    of = named(name)
    entry, given = built(of, load_kernels), operands(of)
    exact = run(function(of), given, torch.float64)
    for ours, right in zip(run(entry, given, torch.float64), exact, strict=True):
        assert error(ours, right) < 1e-12
    theirs = run(function(of), given, torch.float32)
    for ours, eager, right in zip(run(entry, given, torch.float32), theirs, exact, strict=True):
        assert error(ours, right) <= 10 * max(error(eager, right), 1e-7)


@pytest.mark.parametrize(
    "name",
    ["causal table", "two sources", "sigmoid", "post", "lse", "duplex", "slots", "bilinear",
     "sampled and all", "two over queries"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(name: str, dtype: torch.dtype, load_kernels: LoadKernels) -> None:
    of = named(name)
    entry = built(of, load_kernels)
    given = [x.to(dtype).double() if x.is_floating_point() else x for x in operands(of)]
    exact = run(function(of), given, torch.float64)
    theirs = run(function(of), given, dtype)
    for ours, eager, right in zip(run(entry, given, dtype), theirs, exact, strict=True):
        assert error(ours, right) <= 1.5 * max(error(eager, right), 1e-4)


@pytest.mark.parametrize("sizes", [{"m": 0}, {"b": 0}, {"n": 1, "m": 3}, {"n": 3, "m": 1}])
@pytest.mark.parametrize(
    "call", ["q, k, v, score = qk + bias[h, i, j]", "q, k, v, domain = causal"]
)
def test_few_or_no_keys(sizes: dict[str, int], call: str, load_kernels: LoadKernels) -> None:
    of = site(call)
    given = operands(of, sizes)
    exact = run(function(of), given, torch.float64)
    for ours, right in zip(run(built(of, load_kernels), given, torch.float64), exact, strict=True):
        assert error(ours, right) < 1e-12


@settings(max_examples=12, deadline=None)
@drawn(
    n=st.integers(1, 80), m=st.integers(1, 80), left=st.integers(-50, 50),
    right=st.integers(-50, 50), tile=st.sampled_from([1, 200, 4000]),
)  # fmt: skip
def test_any_band(
    n: int, m: int, left: int, right: int, tile: int, load_kernels: LoadKernels
) -> None:
    of = site(f"q, k, v, domain = band({left}, {right}), score = qk * 0.3 * gain[b, i]")
    given = operands(of, {"n": n, "m": m})
    exact = run(function(of), given, torch.float64)
    found = run(built(of, load_kernels, tile), given, torch.float64)
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-12)


def test_strided_operands(load_kernels: LoadKernels) -> None:
    """As models give them: heads beside each other, q, k and v in one tensor."""
    of = site("q, kn, vn, domain = causal", 1)
    entry = built(of, load_kernels)
    packed = torch.randn(2, 70, 3, 2, 8, dtype=torch.float64, requires_grad=True)

    def loss(call: Entry) -> Tensor:
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        out = call(q, k, v[..., :6])
        assert isinstance(out, Tensor)
        return (out * torch.arange(6)).sum()

    (ours,), (right,) = (torch.autograd.grad(loss(call), packed) for call in (entry, function(of)))
    torch.testing.assert_close(ours, right)


def turned(x: Tensor) -> Tensor:
    """The same numbers, heads side by side for each token in memory."""
    return x.transpose(1, -2).contiguous().transpose(1, -2) if x.dim() > 2 else x


def sliced(x: Tensor) -> Tensor:
    """The same numbers, every second one of a row in memory, NaN between them."""
    if not x.is_floating_point() or x.dim() == 0:
        return x
    wide = x.new_full((*x.shape[:-1], 2 * x.shape[-1] + 1), torch.nan)
    wide[..., 1::2] = x
    return wide[..., 1::2]


@pytest.mark.parametrize(
    "name",
    ["duplex of two", "slots of two", "bilinear", "routed keys with offsets", "shared keys",
     "table by batch", "sampled by distance", "weights by slot", "index over queries of two"],
)  # fmt: skip
def test_operands_of_any_strides(name: str, load_kernels: LoadKernels) -> None:
    of = named(name)
    entry, given = built(of, load_kernels), operands(of)
    exact = run(function(of), given, torch.float64)
    for laid in (turned, sliced):
        found = run(entry, [laid(x) for x in given], torch.float64)
        for ours, right in zip(found, exact, strict=True):
            assert error(ours, right) < 1e-12


# Memory -----------------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """Notes the elements of the largest tensor that any operator gives."""

    elements = 0

    def __torch_dispatch__(  # type: ignore[no-untyped-def]
        self, operator, types, arguments=(), keywords=None
    ):
        result = operator(*arguments, **(keywords or {}))
        for each in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(each, Tensor):
                self.elements = max(self.elements, each.untyped_storage().nbytes() // 8)
        return result


@pytest.mark.parametrize(
    "name",
    ["plain", "causal table", "band", "padding", "groups", "over queries", "post of two", "duplex",
     "slots of two"],
)  # fmt: skip
def test_no_tensor_of_all_pairs_is_made(name: str, load_kernels: LoadKernels) -> None:
    of, n = named(name), 1500
    if name in ("over queries", "post of two"):
        of = site(CASES[name].replace(" + bias[h, i, j]", "").replace(" + extra[b, i, j]", " * t"))
    tile = 2**12
    names = vars(load_kernels(of, TiledBackend().build(of, Target())))
    if "TILE" in names:
        names["TILE"]["cpu"] = tile
    given = operands(of, {"n": n, "m": n, "p": n, "b": 1})
    longest = max(x.numel() for x in given)
    found = names["attend_forward"](*given)
    kept = {"duplex": found[1:], "slots of two": found}.get(name, ())
    results = found[: len(of.attention.outputs)] if kept else (found,)
    grads = [torch.ones_like(each) for each in results]
    for call in (
        lambda: names["attend_forward"](*given),
        lambda: names["attend_backward"](*grads, *given, *kept),
    ):
        with Largest() as seen:
            call()
        assert seen.elements <= max(longest, 32 * 2 * n + tile) < n * n // 8

"""Tiled attention against float64: results, all gradients, and what memory it takes.

An error counts as |x - exact| / |exact|. It may be 10 times that of the reference backend in
float32, which sums in another order, and 1.5 times that in half precision.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import cast

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import attnc
from attnc.api import Compilation
from attnc.backends.reference import function
from attnc.backends.tiled import TiledBackend
from attnc.compiler.kernel import Kernel, No, Site, Target, Yes
from attnc.compiler.sites import site_of

torch.set_num_threads(1)

LoadKernels = Callable[[Site, Kernel], ModuleType]
Entry = Callable[..., Tensor | tuple[Tensor, ...]]
FACTORS = {torch.float32: 10.0, torch.float16: 1.5, torch.bfloat16: 1.5}
SIZES = {"b": 2, "n": 70, "m": 90, "p": 41}
SHAPES = {
    "q": "[b, 2, n, 8]",
    "k": "[b, 2, m, 8]",
    "v": "[b, 2, m, 6]",
    "k1": "[b, 1, m, 8]",
    "v1": "[b, 1, m, 6]",
    "kn": "[b, 2, n, 8]",
    "vn": "[b, 2, n, 6]",
    "k2": "[b, 2, p, 8]",
    "v2": "[b, 2, p, 6]",
    "slope": "[2]",
    "heat": "[2]",
    "t": "[]",
    "gate": "[b, 2, m]",
    "gain": "[b, n]",
    "by_batch": "[b, 2]",
    "extra": "[b, n, m]",
    "bias": "[2, n, m]",
    "table": "[2, 2 * n - 1]",
    "wide_table": "[b, 2, 2 * n - 1]",
    "short": "[2, n]",
    "cells": "[19, 19, 2]",
    "codes": "[n, m] int",
    "few": "[5, 2]",
    "segment": "[b, n] int",
    "pad": "[b, m] bool",
    "reach": "[2] int",
    "qg": "[b, 4, 48, 8]",
    "kg": "[b, 4, 48, 8]",
    "vg": "[b, 4, 48, 6]",
    "kp": "[b, 4, 80, 8]",
    "vp": "[b, 4, 80, 6]",
    "kw": "[b, 4, 96, 8]",
    "vw": "[b, 4, 96, 6]",
    "offsets": "[4, 5, 7]",
    "near": "[4, 12]",
    "route": "[b, 6, 2] int",
    "route_by_head": "[b, 4, 6, 2] int",
    "seen": "[b, 48, 5] int",
    "seen_by_head": "[b, 4, 48, 5] int",
    "warm": "[4]",
    "keep": "[b, 48] bool",
}
GRID = "qg, kg, vg, grid = [6, 8]"
OFFSETS = "score = qk * scale + offsets[h, iy - jy + 2, ix - jx + 3]"

CASES: Mapping[str, str] = {
    "plain": "q, k, v",
    "causal": "q, kn, vn, domain = causal",
    "causal to the end": "q, k, v, domain = causal(m - n)",
    "causal with empty rows": "q, kn, vn, domain = causal(0 - 40)",
    "band": "q, kn, vn, domain = band(5, 9)",
    "wide band": "q, k, v, domain = band(60, 40)",
    "band beyond the keys": "q, kn, vn, domain = band(0 - 30, 60)",
    "shared keys": "q, k1, v1, score = qk * heat[h] + gate[b, h, j]",
    "window by head": "q, k, v, domain = where(abs(i - j) <= reach[h])",
    "steps": "q, k, v, domain = where(i // 7 >= j // 7)",
    "segments": "q, kn, vn, domain = where(segment[b, i] == segment[b, j])",
    "groups": "q, kn, vn, domain = groups(segment)",
    "padding": "q, k, v, mask = pad[b, j]",
    "causal padding": "q, k, v, domain = causal, mask = pad[b, j]",
    "softcap": "q, kn, vn, domain = causal, score = tanh(qk * 0.1) * 5",
    "a choice": "q, k, v, score = where(i > j, qk * 0.25, qk * 0.1 - 1)",
    "logarithm": "q, kn, vn, domain = causal(0 - 1), score = qk * 0.2 - slope[h] * log(i - j)",
    "slopes": "q, k, v, score = qk * 0.25 - slope[h] * abs(i - j)",
    "temperature": "q, k, v, score = qk * exp(min(t, 2.5))",
    "by query and key": "q, k, v, score = qk * 0.25 * gain[b, i] + gate[b, h, j]",
    "table": "q, kn, vn, score = qk * 0.25 + table[h, i - j + n - 1]",
    "table backwards": "q, kn, vn, score = qk * 0.25 + table[h, j - i + n - 1]",
    "causal table": "q, kn, vn, domain = causal, score = qk * 0.25 + short[h, i - j]",
    "table by batch": "q, kn, vn, score = qk * 0.25 + wide_table[b, h, i - j + n - 1]",
    "table of a grid": "q, kn, vn, "
    "score = qk * 0.25 + cells[i // 10 - j // 10 + 9, i % 10 - j % 10 + 9, h]",
    "table by index": "q, k, v, score = qk * 0.25 + few[codes[i, j], h]",
    "two reads": "q, kn, vn, "
    "score = qk * 0.3 + table[h, i - j + n - 1] * t + table[h, j] * slope[h]",
    "bias": "q, k, v, score = qk * 0.25 + bias[h, i, j] + extra[b, i, j]",
    "no product": "q, k, v, score = bias[h, i, j] * 2",
    "constant": "q, kn, vn, domain = causal, score = 1.0",
    "sink": "q, k, v, normalize = softmax(keys, sink = slope[h] * t)",
    "softmax1 with empty rows": "q, kn, vn, domain = causal(0 - 9), "
    "normalize = softmax(keys, sink = 0)",
    "two sources": "q, [source(k, v, score = qk * 0.3 + bias[h, i, j]), "
    "source(k2, v2, score = qk * t)]",
    "two bands": "q, [source(kn, vn, domain = causal), source(k2, v2, domain = band(3, 4))]",
    "sum": "q, [source(k, v, domain = causal), "
    "source(k2, v2, weight = tanh(by_batch[b, h] * t))], join = sum",
    "half a sum": "q, [source(k, v, weight = 0.5), source(k2, v2, weight = t)], join = sum",
    "sigmoid": "q, k, v, mask = pad[b, j], normalize = sigmoid, score = qk * 0.3 - t",
    "relu": "q, k, v, mask = pad[b, j], normalize = relu, score = qk * t",
    "squared relu": "q, kn, vn, domain = causal, normalize = relu(power = 2)",
    "none": "q, kn, vn, domain = causal, normalize = none, score = qk * exp(-0.1 * (i - j))",
    "ratio": "q, k, v, normalize = ratio(eps = 1e-6), score = qk ** 2 + 0.1",
    "ratio with a floor": "q, k, v, mask = pad[b, j], normalize = ratio(floor = 2.0), "
    "score = qk * slope[h]",
    "masked ratio": "q, kn, vn, domain = causal(0 - 3), normalize = ratio, score = qk ** 2 + 0.1",
    "hard": "q, k, v, mask = pad[b, j], normalize = argmax(keys)",
    "over queries": "q, k, v, score = qk * 0.3 + bias[h, i, j], normalize = softmax(queries)",
    "band over queries": "q, k, v, domain = band(9, 5), normalize = softmax(queries)",
    "hard over queries": "q, k, v, normalize = argmax(queries)",
    "post": "q, k, v, mask = pad[b, j], post = w * gate[b, h, j] + extra[b, i, j]",
    "square post": "q, k, v, post = w * w * t",
    "gate after": "q, kn, vn, domain = causal, post = w * gain[b, j], renormalize = true",
    "last row again": "q, k, v, post = w * gate[b, h, j], renormalize = i == n - 1",
    "post of two": "q, [source(k, v, post = w + extra[b, i, j]), source(k2, v2)]",
    "sigmoid shares": "q, k, v, normalize = sigmoid, renormalize = true",
    "hard with a gate": "q, k, v, normalize = argmax(keys), post = w * gate[b, h, j]",
    "windows": f"{GRID}, domain = windows([3, 4])",
    "windows with offsets": f"{GRID}, domain = windows([3, 4]), {OFFSETS}",
    "windows by slot": f"{GRID}, domain = windows([3, 4]), "
    "score = qk * near[h, slot] - near[h, query_slot] * t * slot",
    "windows causal inside": f"{GRID}, domain = windows([3, 4]), mask = ix >= jx",
    "windows with a mask": f"{GRID}, domain = windows([3, 4]), mask = keep[b, j], {OFFSETS}",
    "windows at intervals": f"{GRID}, domain = windows([3, 2], dilation = 2), "
    "score = qk * scale + offsets[h, (iy - jy) // 2 + 2, ix - jx + 3]",
    "windows in a row": "qg, kg, vg, domain = windows(12), score = qk - t * abs(i - j), "
    "normalize = sigmoid",
    "windows over queries": f"{GRID}, domain = windows([3, 4]), normalize = softmax(queries)",
    "hard windows": f"{GRID}, domain = windows([3, 4]), normalize = argmax(keys)",
    "uneven windows": f"{GRID}, domain = windows([4, 3])",
    "shifted windows": f"{GRID}, domain = windows([3, 4], shift = [1, 2]), {OFFSETS}",
    "windows on a ring": f"{GRID}, domain = windows([3, 4], shift = [1, 2], wrap = true)",
    "stripes by head": f"{GRID}, domain = per_heads(stripes(1, 2), stripes(0, 2)), "
    "score = qk * near[h, 2]",
    "two ways": f"{GRID}, domain = per_heads(windows(3), all), score = qk * t",
    "neighbourhood": f"{GRID}, domain = neighborhood(3), score = qk + near[h, slot]",
    "even neighbourhood": f"{GRID}, domain = neighborhood(2), score = qk + near[h, slot]",
    "clamped": f"{GRID}, domain = neighborhood(3, edge = clamp), score = qk + near[h, slot]",
    "clamped at intervals": f"{GRID}, domain = neighborhood(3, edge = clamp, dilation = 2)",
    "neighbourhood at intervals": f"{GRID}, domain = neighborhood(3, dilation = 2)",
    "neighbourhood in a row": "qg, kg, vg, domain = neighborhood(7)",
    "neighbourhood on a padded map": "qg, kp, vp, grid = [6, 8], key_grid = [8, 10], "
    "domain = neighborhood(3)",
    "overlapping": f"{GRID}, domain = overlapping([3, 4], [5, 6])",
    "overlapping on a padded map": "qg, kp, vp, grid = [6, 8], key_grid = [8, 10], "
    "domain = overlapping([3, 4], [5, 6])",
    "routed regions": f"{GRID}, domain = routed(route, regions = [3, 2])",
    "routed regions by head": f"{GRID}, domain = routed(route_by_head, regions = [3, 2]), "
    "score = qk * warm[h]",
    "routed to another map": "qg, kw, vw, grid = [6, 8], key_grid = [6, 16], "
    "domain = routed(route, regions = [3, 2])",
    "regions of one token": f"{GRID}, domain = routed(seen, regions = [6, 8])",
    "routed keys": "qg, kg, vg, domain = routed(seen)",
    "routed keys by head": "qg, kg, vg, domain = routed(seen_by_head), score = qk * warm[h]",
    "blocks": "qg, kg, vg, domain = blocks([20, 28])",
    "blocks of two lengths": "qg, kp, vp, domain = blocks([20, 28], [60, 20])",
    "near and pooled": "qg, [source(kg, vg, grid = [6, 8], domain = neighborhood(3), "
    "score = qk + near[h, slot]), source(kp, vp)]",
}  # fmt: skip
RESULTS: Mapping[str, tuple[int, str]] = {
    "lse": (2, "q, kn, vn, domain = causal(0 - 4), outputs = [lse]"),
    "lse of two": (2, "q, [source(k, v), source(k2, v2, score = qk * t)], outputs = [lse]"),
    "lse with a sink": (2, "q, k, v, normalize = softmax(keys, sink = t), outputs = [lse]"),
    "lse over queries": (2, "q, k, v, normalize = softmax(queries), outputs = [lse]"),
    "received": (2, "q, k, v, domain = causal, outputs = [received]"),
    "received after": (2, "q, k, v, post = w * gate[b, h, j], outputs = [received]"),
    "index": (2, "q, k, v, mask = pad[b, j], normalize = argmax(keys), outputs = [index]"),
    "index over queries": (2, "q, k, v, normalize = argmax(queries), outputs = [index]"),
}


def spec(call: str, results: int = 1) -> str:
    names = [name for name in SHAPES if re.search(rf"\b{name}\b(?! =)", call)]
    inputs = "\n".join(f"  input {name}: {SHAPES[name]}" for name in names)
    bound = [f"r{at}" for at in range(results)]
    outputs = "\n".join(f"  output {name}_out = {name}" for name in bound)
    return f"model m() {{\n{inputs}\n  {', '.join(bound)} = attend({call})\n{outputs}\n}}"


@cache
def site(call: str, results: int = 1) -> Site:
    graph = attnc.check(attnc.loads(spec(call, results)))
    (found,) = (site_of(node, "attend") for node in graph.body.nodes if node.op == "attend")
    return found


def named(name: str) -> Site:
    """Return the site of a case."""
    if name in CASES:
        return site(CASES[name])
    count, call = RESULTS[name]
    return site(call, count)


def built(of: Site, load: LoadKernels, tile: int = 300) -> Entry:
    """Return the entry of the generated file, its tiles made so small that there are several."""
    backend = TiledBackend()
    answer = backend.can(of, Target())
    assert isinstance(answer, Yes), answer
    names = vars(load(of, backend.build(of, Target())))
    if "TILE" in names:
        names["TILE"]["cpu"] = tile
    return cast(Entry, names["attend"])


def operands(of: Site, sizes: Mapping[str, int] | None = None) -> list[Tensor]:
    """Return random arguments in float64, those of expressions as their names need."""
    generator = torch.Generator().manual_seed(5)
    every = {**SIZES, **(sizes or {})}
    shapes = [of.q, *(each for pair in of.sources for each in pair), *of.tensors]
    made = []
    for type_ in shapes:
        shape = [eval(str(size), {}, every) for size in type_.shape]
        drawn_ = torch.randn(shape, generator=generator, dtype=torch.float64)
        if type_.dtype == "int":
            drawn_ = torch.randint(0, 5, shape, generator=generator)
        elif type_.dtype == "bool":
            drawn_ = drawn_ > -0.5
            drawn_[0] = False
        made.append(drawn_)
    return made


def run(entry: Entry, given: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return results and all gradients of a random combination of the results, as float64."""
    arguments = [
        x.detach().to(dtype).requires_grad_() if x.is_floating_point() else x for x in given
    ]
    results = entry(*arguments)
    results = results if isinstance(results, tuple) else (results,)
    generator = torch.Generator().manual_seed(8)
    loss = torch.zeros((), dtype=torch.float64)
    for result in results:
        factor = torch.randn(result.shape, generator=generator, dtype=torch.float64)
        finite = (
            result.masked_fill(result.isneginf(), 0.0) if result.is_floating_point() else result
        )
        loss = loss + (finite.double() * factor.to(dtype).double()).sum()
    torch.autograd.backward(loss)
    floats = [x for x in arguments if x.is_floating_point()]
    grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in floats]
    return [x.detach().double() for x in (*results, *grads)]


def error(x: Tensor, exact: Tensor) -> float:
    assert x.shape == exact.shape
    assert torch.equal(x.isneginf(), exact.isneginf())
    x, exact = x.masked_fill(x.isneginf(), 0.0), exact.masked_fill(exact.isneginf(), 0.0)
    return float((x - exact).norm() / exact.norm().clamp(min=1e-30)) if x.numel() else 0.0


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


@pytest.mark.parametrize("name", ["causal table", "two sources", "sigmoid", "post", "lse"])
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
    "name", ["plain", "causal table", "band", "padding", "groups", "over queries", "post of two"]
)
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
    out = names["attend_forward"](*given)
    for call in (
        lambda: names["attend_forward"](*given),
        lambda: names["attend_backward"](torch.ones_like(out), *given),
    ):
        with Largest() as seen:
            call()
        assert seen.elements <= max(longest, 32 * 2 * n + tile) < n * n // 8


# Boundary to torch ------------------------------------------------------------------------

BOUNDARY = "q, kn, vn, domain = causal, score = qk * 0.25 + short[h, i - j], outputs = [lse]"


@pytest.mark.parametrize("call", [CASES["plain"], CASES["sum"], CASES["table by index"]])
def test_operators_pass_torch_s_own_checks(call: str, load_kernels: LoadKernels) -> None:
    of = site(call)
    names = vars(load_kernels(of, TiledBackend().build(of, Target())))
    given = [x.requires_grad_() if x.is_floating_point() else x for x in operands(of)]
    torch.library.opcheck(names["attend_op"]._opoverload, tuple(given))
    plain = [x.detach() for x in given]
    checks = ("test_schema", "test_faketensor")
    backward = names["attend_backward_op"]._opoverload
    grad = names["attend_op"](*plain)
    torch.library.opcheck(backward, (grad, *plain), test_utils=checks)


class Model(nn.Module):
    """A module that calls an entry, as emitted models do."""

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.entry = entry
        self.table = nn.Parameter(torch.randn(2, 70))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, lse = self.entry(q, k, v, self.table[:, : q.shape[2]])
        return out.transpose(1, 2).flatten(2) + lse.sum()


def streams(n: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(n)
    return [torch.randn(2, 2, n, each, generator=generator) for each in (8, 8, 6)]


def test_torch_compile_traces_through_with_dynamic_lengths(load_kernels: LoadKernels) -> None:
    model = Model(built(site(BOUNDARY, 2), load_kernels))
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (9, 40):
        given = [x.requires_grad_() for x in streams(n)]
        grads = [
            torch.autograd.grad(made(*given).square().sum(), (*given, model.table))
            for made in (model, compiled)
        ]
        for x, y in zip(*grads, strict=True):
            torch.testing.assert_close(x, y)


def test_export_saves_and_loads(load_kernels: LoadKernels) -> None:
    model = Model(built(site(BOUNDARY, 2), load_kernels))
    n = torch.export.Dim("n", min=2, max=64)
    file = io.BytesIO()
    exported = torch.export.export(model, tuple(streams(9)), dynamic_shapes=[{2: n}] * 3)
    torch.export.save(exported, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    torch.testing.assert_close(loaded(*streams(30)), model(*streams(30)))


def test_gradients_of_gradients_are_refused(load_kernels: LoadKernels) -> None:
    of = site(CASES["plain"])
    given = [x.requires_grad_() for x in operands(of)]
    out = built(of, load_kernels)(*given)
    assert isinstance(out, Tensor)
    (grad,) = torch.autograd.grad(out.square().sum(), given[0], create_graph=True)
    with pytest.raises(RuntimeError, match="compile with the reference backend"):
        grad.sum().backward()


# What is refused --------------------------------------------------------------------------

REFUSED: Mapping[str, tuple[int, str, str]] = {
    "weights": (2, "q, k, v, outputs = [weights]", "weights would be stored in full"),
    "two walks": (2, "q, k, v, vq = q, normalize = softmax(keys, queries)", "two walks"),
    "low power": (1, "q, k, v, normalize = relu(power = 0.5)", "infinite gradients"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_why(name: str) -> None:
    results, call, message = REFUSED[name]
    answer = TiledBackend().can(site(call, results), Target())
    assert isinstance(answer, No)
    assert any(message in reason for reason in answer.reasons)


def test_models_of_equal_kernels_stand_side_by_side() -> None:
    """The second one defines the operators anew; the first finds them by name."""
    text = (
        "model {} {{\n input x: [b, n, 8]\n"
        " y = local_attention(x, heads=2, window=2) @f\n output y = y\n}}"
    )
    specs = [attnc.loads(text.format(name)) for name in ("one", "two")]
    kernels = [Compilation(attnc.check(spec)).artefact.files["kernels.py"] for spec in specs]
    first, second = (attnc.compile(spec) for spec in specs)
    assert "custom_op" in kernels[0]
    assert kernels[0] == kernels[1]
    second.load_state_dict(first.state_dict())
    x = torch.randn(2, 9, 8)
    torch.testing.assert_close(first(x), second(x), rtol=0, atol=0)
    first(x).sum().backward()
    assert all(weight.grad is not None for weight in first.parameters())

"""Calls of `attend` for tests of tiled attention, and how their kernels are run and judged.

An error counts as |x - exact| / |exact|.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import cast

import torch
from torch import Tensor

import attnc
from attnc.backends.tiled import TiledBackend
from attnc.compiler.kernel import Kernel, Site, Target, Yes
from attnc.compiler.sites import site_of, site_operands

LoadKernels = Callable[[Site, Kernel], ModuleType]
Entry = Callable[..., Tensor | tuple[Tensor, ...]]
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
    "given": "[b, 2, n, m]",
    "vq": "[b, 2, n, 5]",
    "ug": "[b, 4, 48, 3]",
    "centre": "[b, 48, 2]",
    "centre_by_head": "[b, 4, 48, 2]",
    "by_slot": "[4, 16]",
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
    "slots": "q, k, v, normalize = softmax(queries), renormalize = true",
    "slots within a band": "q, kn, vn, domain = band(5, 9), normalize = softmax(queries), "
    "post = w * gain[b, i] + 0.1, renormalize = i < 30",
    "slots of two": "q, [source(k, v, mask = pad[b, j]), source(k2, v2)], "
    "normalize = softmax(queries), renormalize = true",
    "slots in windows": f"{GRID}, domain = windows([3, 4]), normalize = softmax(queries), "
    "renormalize = true",
    "two over queries": "q, [source(k, v, score = qk * t), source(k2, v2, domain = band(3, 4))], "
    "normalize = softmax(queries)",
    "two over queries, summed": "q, [source(k, v), source(k2, v2, weight = t)], join = sum, "
    "normalize = softmax(queries)",
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
    "sampled": "qg, kg, vg, grid = [6, 8], domain = sampled(centre, 1)",
    "sampled by head": f"{GRID}, domain = sampled(centre_by_head, [0, 1]), "
    "score = qk * 0.3 * fy + by_slot[h, slot] * (1 - fx), mask = jx != 2 and slot < 7",
    "sampled by distance": f"{GRID}, domain = sampled(centre, 1), score = -l1(q, k) * 0.2",
    "bilinear": f"{GRID}, domain = sampled(centre_by_head, 1), normalize = bilinear, "
    "post = w * by_slot[h, slot]",
    "sampled with a sink": f"{GRID}, domain = sampled(centre, 1), "
    "normalize = softmax(keys, sink = warm[h])",
    "sampled, sigmoid": f"{GRID}, domain = sampled(centre, 1), normalize = sigmoid, "
    "renormalize = i < 7",
    "sampled over queries": f"{GRID}, domain = sampled(centre, 1), normalize = softmax(queries)",
    "sampled and all": "qg, [source(kg, vg, grid = [6, 8], domain = sampled(centre, 1)), "
    "source(kp, vp, mask = j > 3)]",
    "sampled plus all": "qg, [source(kg, vg, grid = [6, 8], domain = sampled(centre, 1)), "
    "source(kp, vp, weight = 0.5)], join = sum",
    "routed regions with offsets": f"{GRID}, domain = routed(route, regions = [3, 2]), {OFFSETS}",
    "routed regions, sigmoid": f"{GRID}, domain = routed(route_by_head, regions = [3, 2]), "
    "normalize = sigmoid, mask = keep[b, j]",
    "routed keys with offsets": f"{GRID}, domain = routed(seen_by_head), {OFFSETS}",
    "routed keys beside all": "qg, [source(kg, vg, domain = routed(seen)), source(kp, vp)]",
    "distance": "q, k, v, score = -l1(q, k) * exp(t) + bias[h, i, j]",
    "distance and product": "q, kn, vn, domain = band(5, 9), score = tanh(l1(q, k) * qk * 0.01)",
    "near and pooled": "qg, [source(kg, vg, grid = [6, 8], domain = neighborhood(3), "
    "score = qk + near[h, slot]), source(kp, vp)]",
}  # fmt: skip
RESULTS: Mapping[str, tuple[int, str]] = {
    "lse": (2, "q, kn, vn, domain = causal(0 - 4), outputs = [lse]"),
    "lse of two": (2, "q, [source(k, v), source(k2, v2, score = qk * t)], outputs = [lse]"),
    "lse with a sink": (2, "q, k, v, normalize = softmax(keys, sink = t), outputs = [lse]"),
    "lse over queries": (2, "q, k, v, normalize = softmax(queries), outputs = [lse]"),
    "received": (2, "q, k, v, domain = causal, outputs = [received]"),
    "duplex": (2, "q, k, v, vq = vq, normalize = softmax(keys, queries)"),
    "duplex within a band": (
        2,
        "q, k, v, vq = vq, normalize = softmax(keys, queries), "
        "score = qk * 0.3 + bias[h, i, j], domain = band(5, 9)",
    ),
    "duplex with padding": (
        3,
        "q, k1, v1, vq = vq, normalize = softmax(keys, queries), mask = pad[b, j], outputs = [lse]",
    ),
    "duplex of two": (
        2,
        "q, [source(k, v), source(k2, v2, domain = band(3, 4))], vq = vq, "
        "normalize = softmax(keys, queries)",
    ),
    "duplex of neighbourhoods": (
        2,
        f"{GRID}, vq = ug, domain = neighborhood(3), normalize = softmax(keys, queries)",
    ),
    "received of two": (2, "q, [source(k, v), source(k2, v2)], outputs = [received]"),
    "received of samples": (
        3,
        "qg, kg, vg, grid = [6, 8], domain = sampled(centre, 1), outputs = [received, lse]",
    ),
    "weights by slot": (3, f"{GRID}, domain = neighborhood(3), outputs = [slot_weights, lse]"),
    "weights by slot of windows": (
        2,
        f"{GRID}, domain = windows([3, 4], shift = [1, 2], wrap = true), outputs = [slot_weights]",
    ),
    "weights by slot of a band": (
        2,
        "qg, kg, vg, domain = band(2, 3), normalize = sigmoid, outputs = [slot_weights]",
    ),
    "weights by slot of samples": (
        2,
        f"{GRID}, domain = sampled(centre, 1), "
        "score = -l1(q, k) * 0.3, normalize = bilinear, outputs = [slot_weights]",
    ),
    "lse over queries of two": (
        2,
        "q, [source(k, v), source(k2, v2, domain = band(3, 4))], "
        "normalize = softmax(queries), outputs = [lse]",
    ),
    "index within a band": (
        2,
        "q, kn, vn, domain = band(3, 9), normalize = argmax(keys), outputs = [index]",
    ),
    "index of neighbours": (
        2,
        f"{GRID}, domain = neighborhood(3), normalize = argmax(keys), outputs = [index]",
    ),
    "index over queries within a band": (
        2,
        "q, kn, vn, domain = band(3, 9), normalize = argmax(queries), outputs = [index]",
    ),
    "index of two": (
        2,
        "q, [source(kn, vn, domain = band(3, 9)), source(k2, v2)], "
        "normalize = argmax(keys), outputs = [index]",
    ),
    "index over queries of two": (
        2,
        "q, [source(kn, vn, domain = band(3, 9)), source(k2, v2)], "
        "normalize = argmax(queries), outputs = [index]",
    ),
    "index of routed keys": (
        2,
        "qg, kg, vg, domain = routed(seen), normalize = argmax(keys), outputs = [index]",
    ),
    "received after": (2, "q, k, v, post = w * gate[b, h, j], outputs = [received]"),
    "index": (2, "q, k, v, mask = pad[b, j], normalize = argmax(keys), outputs = [index]"),
    "index over queries": (2, "q, k, v, normalize = argmax(queries), outputs = [index]"),
}


def spec(call: str, results: int = 1) -> str:
    read = call.replace("l1(q, k)", "")
    names = [name for name in SHAPES if re.search(rf"\b{name}\b(?! =)", read)]
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
    kinds = [type_ for _, type_ in site_operands(of)]
    names = [*[""] * (len(kinds) - len(of.tensors)), *of.attention.tensors]
    made = []
    for name, type_ in zip(names, kinds, strict=True):
        shape = [eval(str(size), {}, every) for size in type_.shape]
        drawn_ = torch.randn(shape, generator=generator, dtype=torch.float64)
        if type_.dtype == "int":
            drawn_ = torch.randint(0, 5, shape, generator=generator)
        elif type_.dtype == "bool":
            drawn_ = drawn_ > -0.5
            drawn_[0] = False
        elif name.startswith("centre"):
            drawn_ = 3 + 3 * drawn_
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

"""Streams without a token, on every backend: output 0, gradient 0, lse -inf, index -1."""

from __future__ import annotations

import re

import pytest
import torch

from tests.backends import primitives

torch.set_num_threads(1)

SHAPES = {
    "q": "[b, 2, n, 16]", "k": "[b, 2, m, 16]", "v": "[b, 2, m, 16]", "z": "[b, 2, 8, 16]",
    "keep": "[b, m] bool", "bias": "[2, n, m]",
}  # fmt: skip
SIZES = {"b": 1, "n": 5, "m": 0}
CASES = {
    "o = attend(q, k, v)": "reference sdpa tiled triton",
    "o, lse = attend(q, k, v, mask = keep[b, j], outputs = [lse])": "reference tiled triton",
    "o = attend(q, k, v, score = qk + bias[h, i, j])": "reference sdpa tiled triton",
    "o = attend(q, k, v, normalize = softmax(keys, sink = 0.5))": "reference tiled triton",
    "o = attend(z, k, v)": "reference triton",
    "o, back = attend(k, z, z, vq = v, normalize = softmax(keys, queries))": "reference triton",
    "o = attend(q, k, v, normalize = sigmoid)": "reference tiled triton",
    "o = attend(q, k, v, normalize = ratio(eps = 0.1))": "reference linear triton",
    "o, index = attend(q, k, v, normalize = argmax(keys), outputs = [index])": "reference tiled",
    "o, index = attend(z, k, v, normalize = argmax(keys), mask = keep[b, j], outputs = [index])":
        "reference tiled triton",
    "o, index = attend(k, z, z, normalize = argmax(queries), outputs = [index])": "reference tiled",
    "o, index = attend(z, k, v, normalize = argmax(queries), outputs = [index])":
        "reference tiled triton",
}  # fmt: skip
"""Call -> the backends that compute it."""


@pytest.mark.parametrize(
    ("call", "backend"),
    [(call, backend) for call, backends in CASES.items() for backend in backends.split()],
)
def test_nothing_comes_of_nothing(call: str, backend: str) -> None:
    if backend == "triton" and torch.cuda.is_available():
        pytest.skip("there is a GPU: kernels do not run in the interpreter")
    names = [name for name in SHAPES if re.search(rf"\b{name}\b", call.split("=", 1)[1])]
    results = call.split(" = ")[0].split(", ")
    lines = [*(f"input {name}: {SHAPES[name]}" for name in names), call]
    lines += [f"output {name}_out = {name}" for name in results]
    text = "model m {\n" + "\n".join(lines) + "\n}"
    assert primitives.chosen(text, backend) == {backend}
    operands = []
    for name in names:
        axes = SHAPES[name].removesuffix(" bool")[1:-1].split(", ")
        shape = [SIZES[axis] if axis in SIZES else int(axis) for axis in axes]
        drawn = torch.randn(shape, dtype=torch.float64)
        operands.append(drawn > 0 if "bool" in SHAPES[name] else drawn)
    found = primitives.run(text, backend, torch.float32, operands)
    for name, each in found.items():
        nothing = {"lse_out": -torch.inf, "index_out": -1.0}.get(name, 0.0)
        assert (each == nothing).all(), name

"""One call of `attend` as a spec, a site and a function of inputs with fixed names."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

import attnc
from attnc.backends.reference import function
from attnc.compiler.kernel import Site
from attnc.compiler.sites import site_of

SHAPES = {
    "q": "[b, 2, n, 3]",
    "k": "[b, 2, m, 3]",
    "v": "[b, 2, m, 2]",
    "u": "[b, 2, n, 4]",
    "k2": "[b, 2, p, 3]",
    "v2": "[b, 2, p, 2]",
    "given": "[b, 2, n, m]",
    "s": "[2]",
    "gate": "[b, 2, m]",
    "extra": "[b, n, m]",
    "t": "[]",
}
SIZES = {"b": 2, "n": 4, "m": 5, "p": 3}
Matrix = list[list[float]]
"""By query and key."""


# Specs ------------------------------------------------------------------------------------


def names_in(call: str) -> list[str]:
    return [name for name in SHAPES if re.search(rf"\b{name}\b(?!\s*=)", call)]


def spec(call: str, results: int = 1) -> str:
    inputs = "\n".join(f"  input {name}: {SHAPES[name]}" for name in names_in(call))
    names = [f"r{at}" for at in range(results)]
    outputs = "\n".join(f"  output {name}_out = {name}" for name in names)
    return f"model m() {{\n{inputs}\n  {', '.join(names)} = {call}\n{outputs}\n}}"


@cache
def site(call: str, results: int = 1) -> Site:
    graph = attnc.check(attnc.loads(spec(call, results)))
    (found,) = (site_of(node, "f") for node in graph.body.nodes if node.op == "attend")
    return found


def tensors(call: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    found = {}
    for name in SHAPES:
        axes = [axis.strip() for axis in SHAPES[name][1:-1].split(",") if axis.strip()]
        shape = [SIZES[axis] if axis in SIZES else int(axis) for axis in axes]
        found[name] = torch.randn(shape, generator=generator, dtype=torch.float64)
    return {name: found[name] for name in names_in(call)}


def run(call: str, given: dict[str, Tensor], results: int = 1) -> tuple[Tensor, ...]:
    """Compute a call on inputs by name: operands in order, then tensors as they are captured."""
    made = site(call, results)
    order = [name for name in ("given", "q", "k", "v", "k2", "v2", "u") if name in given]
    captured = [given[name] for name in made.attention.tensors]
    out = function(made)(*(given[name] for name in order), *captured)
    return out if isinstance(out, tuple) else (out,)


def check_gradients(
    call: str, check: Callable[..., bool], wanted: set[str] | None = None, results: int = 1
) -> None:
    given = tensors(call)
    learned = [name for name in given if wanted is None or name in wanted]
    for name in learned:
        given[name].requires_grad_()

    def computed(*values: Tensor) -> tuple[Tensor, ...]:
        found = run(call, {**given, **dict(zip(learned, values, strict=True))}, results)
        return tuple(each for each in found if each.is_floating_point())

    assert check(computed, [given[name] for name in learned], fast_mode=True)

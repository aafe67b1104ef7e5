"""Attentions of the library as models: compiled for a backend, run, and judged against float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor, nn

import attnc
from attnc.api import Compilation
from attnc.compiler.artefact import load_module
from attnc.dsl import library
from attnc.dsl.graph import Graph

PRIMITIVES = [name for name in sorted(library.names()) if library.example(name)]


@cache
def graph(text: str) -> Graph:
    return attnc.check(attnc.loads(text))


@cache
def compilation(text: str, backend: str) -> Compilation:
    return Compilation(graph(text), backend, interpreted=backend == "triton")


def chosen(text: str, backend: str) -> set[str]:
    return {site.chosen for site in compilation(text, backend).plan.sites}


def run(
    text: str,
    backend: str,
    dtype: torch.dtype,
    operands: Sequence[Tensor],
    device: str = "cpu",
    laid: Callable[[Tensor], Tensor] = lambda x: x,
) -> Mapping[str, Tensor]:
    """Results, and the gradients of inputs and weights of a random combination of the results.

    Args:
        operands: floats in float64.
        laid: gives a float operand its strides.
    """
    artefact = compilation(text, backend).artefact
    package = load_module(artefact)
    if backend == "triton" and device == "cpu":  # the tiles that fit every card
        vars(package.kernels)["card_of"] = lambda q: None
    model: nn.Module = getattr(package, artefact.model)()
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for weight in model.state_dict().values():
            weight.copy_((torch.randn(weight.shape, generator=generator) * 0.4).half())
    given = [
        laid(x.to(device, dtype, copy=True)).requires_grad_()
        if x.is_floating_point()
        else x.to(device)
        for x in operands
    ]
    found = model.to(device, dtype)(*given)
    results = found if isinstance(found, dict) else {"out": found}
    loss = torch.zeros((), dtype=torch.float64)
    for each in results.values():
        factor = torch.randn(each.shape, generator=generator, dtype=torch.float64)
        loss = loss + (each.double().cpu() * factor.to(dtype).double()).sum()
    torch.autograd.backward(loss)
    sources = {
        **dict(zip(graph(text).inputs, given, strict=True)),
        **dict(model.named_parameters()),
    }
    grads = {f"d {key}": each.grad for key, each in sources.items() if each.grad is not None}
    return {key: each.detach().cpu().double() for key, each in (results | grads).items()}


def errors(found: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> dict[str, float]:
    """Distances by norm; what cancels, as the bias of keys does, by that of the median result."""
    norms = sorted(float(each.norm()) for each in exact.values())
    usual = norms[len(norms) // 2]
    return {
        key: float((found[key] - each).norm()) / max(float(each.norm()), usual, 1e-30)
        for key, each in exact.items()
    }

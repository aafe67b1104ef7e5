"""Gradients of every attention of the library on the reference, and their gradients, numerically.

Where a choice or a clamp jumps, the inputs drawn stay off the jumps.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from attnc.compiler.artefact import load_module
from attnc.compiler.example import random_inputs
from attnc.dsl import library
from tests.backends.primitives import PRIMITIVES, compilation, graph

torch.set_num_threads(1)

HELD = {"random_feature_attention"}
"""Attentions that detach a number on which their results depend a little: see eps."""

CASES = [
    pytest.param(name, check, id=f"{name}-{check.__name__}")
    for name in PRIMITIVES
    for check in (gradcheck, gradgradcheck)
    if check is gradcheck or name not in HELD
]


@pytest.mark.parametrize(("name", "check"), CASES)
def test_gradients_are_those_of_differences(name: str, check: object) -> None:
    assert callable(check)
    example = library.example(name)
    assert example is not None
    artefact = compilation(example.text, "reference").artefact
    model: nn.Module = getattr(load_module(artefact), artefact.model)().double()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for each in model.state_dict().values():
            each.copy_(torch.randn(each.shape, generator=generator) * 0.4)
    given = random_inputs(graph(example.text).inputs, {"b": 1}, torch.float64)
    names = [name for name, _ in model.named_parameters()]
    weights = [each.detach().requires_grad_() for each in model.parameters()]

    def computed(*tensors: Tensor) -> tuple[Tensor, ...]:
        held = dict(zip(names, tensors[: len(names)], strict=True))
        found = functional_call(model, held, tensors[len(names) :])
        results = found.values() if isinstance(found, dict) else (found,)
        return tuple(each for each in results if each.requires_grad)

    inputs = [each.requires_grad_() if each.is_floating_point() else each for each in given]
    assert check(computed, (*weights, *inputs), fast_mode=True)

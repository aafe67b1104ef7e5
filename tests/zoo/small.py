"""The small model by which a system of the zoo is tested, made once for all its tests.

Its configuration and inputs are those of the system's golden file; a system without one is tested
as its defaults say, on random inputs of the declared types.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

import attnc
from attnc.api import Compilation
from attnc.compiler.artefact import load_module
from attnc.compiler.example import Example, random_inputs
from attnc.dsl.graph import Graph

EVERY = os.environ.get("ATTNC_MODELS") == "all"
"""Whether to test all models, where a few would stand for them: `make models`."""

PARITY = Path(__file__).parents[1] / "golden" / "parity"


def goldens() -> list[Path]:
    """All golden files: `<system>.safetensors`, and `<system>.<case>.safetensors` beside it."""
    return sorted(PARITY.glob("*.safetensors"))


def system_of(golden: Path) -> str:
    """The system that a golden file is about."""
    return golden.name.partition(".")[0]


@dataclass(frozen=True)
class Small:
    """A model, and inputs for it."""

    graph: Graph
    inputs: list[Tensor]

    @cached_property
    def compilation(self) -> Compilation:
        return Compilation(self.graph)

    def model(self) -> nn.Module:
        """A new instance of the emitted class; all have equal weights."""
        artefact = self.compilation.artefact
        torch.manual_seed(0)
        model: nn.Module = getattr(load_module(artefact), artefact.model)()
        return model

    def run(self, model: nn.Module) -> list[Tensor]:
        """What a model gives for the inputs; dropout drops the same at every call."""
        torch.manual_seed(0)
        return tensors(model(*self.inputs))


@cache
def small(name: str) -> Small:
    """The small model of a system."""
    found = [path for path in goldens() if system_of(path) == name]
    spec = attnc.load(f"zoo:{name}")
    if not found:
        graph = attnc.check(spec)
        return Small(graph, random_inputs(graph.inputs))
    example = Example.read(spec, found[0])
    graph = attnc.check(spec, overrides=example.params)
    return Small(graph, example.inputs(graph.inputs, torch.float32, torch.device("cpu")))


def tensors(result: object) -> list[Tensor]:
    """The tensors in what a model gives."""
    if isinstance(result, Tensor):
        return [result]
    items = [*result.values()] if isinstance(result, dict) else result
    assert isinstance(items, (tuple, list))
    return [tensor for item in items for tensor in tensors(item)]

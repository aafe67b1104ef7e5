"""The small model by which a system of the zoo is tested, made once for all its tests.

Its configuration and inputs are those of the system's golden file; a system without one is tested
as its defaults say, on random inputs of the declared types.
"""

from __future__ import annotations

from collections.abc import Mapping
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

PARITY = Path(__file__).parents[1] / "golden" / "parity"


def goldens() -> list[Path]:
    """All golden files: `<system>.safetensors`, and `<system>.<case>.safetensors` beside it."""
    return sorted(PARITY.glob("*.safetensors"))


def system_of(golden: Path) -> str:
    """The system that a golden file is about."""
    return golden.name.partition(".")[0]


@dataclass(frozen=True)
class Small:
    """A system of the zoo in its small configuration."""

    name: str

    @cached_property
    def example(self) -> Example | None:
        found = [path for path in goldens() if system_of(path) == self.name]
        return Example.read(attnc.load(f"zoo:{self.name}"), found[0]) if found else None

    @cached_property
    def graph(self) -> Graph:
        params: Mapping[str, object] = {} if self.example is None else self.example.params
        return attnc.check(f"zoo:{self.name}", overrides=params)

    @cached_property
    def compilation(self) -> Compilation:
        return Compilation(self.graph)

    @cached_property
    def inputs(self) -> list[Tensor]:
        if self.example is None:
            return random_inputs(self.graph.inputs)
        return self.example.inputs(self.graph.inputs, torch.float32, torch.device("cpu"))

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
    return Small(name)


def tensors(result: object) -> list[Tensor]:
    """The tensors in what a model gives."""
    if isinstance(result, Tensor):
        return [result]
    items = [*result.values()] if isinstance(result, dict) else result
    assert isinstance(items, (tuple, list))
    return [tensor for item in items for tensor in tensors(item)]

"""Claims held against what can be counted: by formula, and by torch without data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from attnc.compiler.constants import defaults
from attnc.compiler.cost import flops, model_flops
from attnc.compiler.example import random_inputs
from attnc.dsl.claims import Claim
from attnc.dsl.graph import Graph
from attnc.dsl.state import parameter_count

META = torch.device("meta")
"""Tensors that have a shape and no data."""


@dataclass(frozen=True, slots=True)
class Count:
    """One way to count.

    Attributes:
        how: `checked graph`, `formula`, `torch's counter` ...
        expected: what should come out: the claim, or another count.
    """

    how: str
    found: int | float
    expected: int | float

    @property
    def error(self) -> float:
        """The relative difference."""
        return abs(self.found - self.expected) / (abs(self.expected) or 1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim and what became of it.

    Attributes:
        counts: the first is of the thing claimed; none where it cannot be counted here.
    """

    claim: Claim
    counts: tuple[Count, ...] = ()

    @property
    def ok(self) -> bool | None:
        """Whether all counts agree within the tolerance; none where there are none."""
        if not self.counts:
            return None
        return all(count.error <= self.claim.tolerance for count in self.counts)

    def to_json(self) -> dict[str, object]:
        """Return the verdict as plain data."""
        claim = self.claim
        return {
            "variant": claim.variant,
            "claim": claim.name,
            "value": claim.value,
            "source": claim.source,
            "tolerance": claim.tolerance,
            "at": dict(claim.sizes),
            "ok": self.ok,
            "counts": [
                {"how": each.how, "found": each.found, "expected": each.expected}
                for each in self.counts
            ],
        }


def judge(claims: Iterable[Claim], graph: Graph, module: nn.Module) -> Iterator[Verdict]:
    """Count what the claims are about.

    Args:
        module: the model on the meta device, all of it in plain torch that computes every pair of
            an attention.
    """
    for claim in claims:
        counter = _COUNTERS.get(claim.name)
        yield Verdict(claim, () if counter is None else counter(claim, graph, module))


def _params(claim: Claim, graph: Graph, module: nn.Module) -> tuple[Count, ...]:
    built = sum(each.numel() for each in module.parameters())
    return (
        Count("checked graph", parameter_count(graph), claim.value),
        Count("torch module", built, claim.value),
    )


def _flops(claim: Claim, graph: Graph, module: nn.Module) -> tuple[Count, ...]:
    """The formula counts allowed pairs; torch runs code that computes all of them."""
    every_pair = model_flops(graph, every_pair=True).at(claim.sizes)
    run = torch_flops(graph, module, claim.sizes)
    return (
        Count("formula", flops(graph, claim.sizes), claim.value),
        Count("torch's counter, against the formula for all pairs", run, every_pair),
    )


def _macs(claim: Claim, graph: Graph, module: nn.Module) -> tuple[Count, ...]:
    return tuple(
        Count(count.how, count.found / 2, claim.value if at == 0 else count.expected / 2)
        for at, count in enumerate(_flops(claim, graph, module))
    )


_COUNTERS: Mapping[str, Callable[[Claim, Graph, nn.Module], tuple[Count, ...]]] = {
    "params": _params, "flops": _flops, "macs": _macs,
}  # fmt: skip


def torch_flops(graph: Graph, module: nn.Module, sizes: Mapping[str, int]) -> int:
    """Return what torch's counter says of one forward pass of a module on the meta device."""
    given = [each.to(META) for each in random_inputs(graph.inputs, sizes)]
    with defaults(META, torch.float32), FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(*given)
    return int(counter.get_total_flops())

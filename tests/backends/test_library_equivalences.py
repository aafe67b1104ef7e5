"""Attentions of the library that are one another: where a choice takes everything, or in parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from attnc.compiler.artefact import load_module
from tests.backends.primitives import compilation

torch.set_num_threads(1)

N, M = 9, 7
GRID = "grid=[3, 3]"
INPUTS = {"x": "[b, 9, 8]", "z": "[b, 7, 8]", "every": "[b, 1, 9, 9] int"}
SELF, CROSS = "self_attention(x, heads=2)", "cross_attention(x, x, heads=2)"
EQUAL: Mapping[str, tuple[str, str]] = {
    "all keys named": ("sparse_attention(x, every, heads=2)", SELF),
    "all regions chosen": (
        f"routed_attention(x, heads=2, {GRID}, regions=[3, 1], chosen=3, scale=0.5)", SELF,
    ),
    "one window": (f"window_attention(x, heads=2, {GRID}, window=[3, 3])", SELF),
    "one window, not shifted": (
        f"shifted_window_attention(x, heads=2, {GRID}, window=[3, 3], shift=[0, 0])", SELF,
    ),
    "one group": (
        f"dilated_attention(x, heads=2, {GRID}, group=[3, 3], interval=[1, 1])", SELF,
    ),
    "a stripe as wide as the map": (f"cross_shaped_attention(x, heads=2, {GRID}, stripe=3)", SELF),
    "a neighbourhood of all": (f"neighborhood_attention(x, heads=2, {GRID}, kernel=3)", SELF),
    "a window of all": ("local_attention(x, heads=2, window=9)", CROSS),
    "a causal window of all": (
        'local_attention(x, heads=2, window=9, pattern="causal self")',
        'cross_attention(x, x, heads=2, pattern="causal self")',
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A use of an attention, with the names that its weights have in another one."""

    call: str
    names: Mapping[str, str] = field(default_factory=dict)


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    drawn = {
        "x": torch.randn(2, N, 8, generator=generator),
        "z": torch.randn(2, M, 8, generator=generator),
    }
    keys = torch.rand(2, 1, N, N, generator=generator).argsort(-1)
    return {**{name: each.double() for name, each in drawn.items()}, "every": keys}


def model(call: str, backend: str, results: int = 1) -> tuple[nn.Module, list[Tensor]]:
    """A module of double precision that makes a call, and its inputs."""
    names = [name for name in INPUTS if f"({name}," in call or f" {name}," in call]
    lines = [f"  input {name}: {INPUTS[name]}" for name in names]
    made = [f"y{at}" for at in range(results)]
    lines.append(f"  {', '.join(made)} = {call} @f")
    lines += [f"  output out{at} = {each}" for at, each in enumerate(made)]
    text = "model m {\n" + "\n".join(lines) + "\n}\n"
    artefact = compilation(text, backend).artefact
    built: nn.Module = getattr(load_module(artefact), artefact.model)()
    given = inputs()
    return built.double(), [given[name] for name in names]


def with_weights(built: nn.Module) -> dict[str, Tensor]:
    """Draw the weights of a module and return them."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for each in built.state_dict().values():
            each.copy_(torch.randn(each.shape, generator=generator) * 0.4)
    return dict(built.state_dict())


def results(built: nn.Module, given: list[Tensor]) -> list[Tensor]:
    found = built(*given)
    return [*found.values()] if isinstance(found, dict) else [found]


@pytest.mark.parametrize("backend", ["reference", "tiled"])
@pytest.mark.parametrize("name", EQUAL)
def test_one_is_the_other(name: str, backend: str) -> None:
    one, given = model(EQUAL[name][0], backend)
    other, same = model(EQUAL[name][1], "reference")
    other.load_state_dict(with_weights(one))
    torch.testing.assert_close(results(one, given), results(other, same), rtol=1e-9, atol=1e-12)


PARTS = (
    Part("cross_attention(x, z, heads=2)"),
    Part(
        "cross_attention(z, x, heads=2)", {"q": "k", "k": "q", "v": "u", "proj": "proj_back"}
    ),
)  # fmt: skip


@pytest.mark.parametrize("backend", ["reference", "tiled"])
def test_duplex_is_two_cross_attentions(backend: str) -> None:
    both, given = model("duplex_attention(x, z, heads=2)", backend, results=2)
    weights = with_weights(both)
    for found, part in zip(results(both, given), PARTS, strict=True):
        alone, _ = model(part.call, "reference")
        own = {}
        for key in alone.state_dict():
            block, layer, kind = key.split(".")
            own[key] = weights[f"{block}.{part.names.get(layer, layer)}.{kind}"]
        alone.load_state_dict(own)
        torch.testing.assert_close([found], results(alone, given), rtol=1e-9, atol=1e-12)

"""Real weights for a lowered module: memory, then initial values that depend on names alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from math import prod, sqrt
from typing import cast

import torch
from torch import Tensor, fx, nn

from attnc.compiler.constants import compute_constants
from attnc.dsl.graph import Body, Weight
from attnc.dsl.initial import parse_initial
from attnc.dsl.state import body_weights


def materialise(
    module: fx.GraphModule,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> fx.GraphModule:
    """Give a lowered module memory and initial weights, in place, and return it.

    Each weight is drawn in float32 on the CPU from a stream of its own, which its name and the
    seed decide: edits elsewhere in the spec, the device and the dtype do not change it.
    """
    module.to(dtype)
    module.to_empty(device=device)
    tensors = module.state_dict(keep_vars=True)
    weights = body_weights(cast(Body, module.meta["body"]))
    with torch.no_grad():
        for name in weights:
            tensors[name].copy_(initial_value(name, weights, seed))
    compute_constants(module, device, dtype)
    module.meta["place"] = device, dtype
    return module


def initial_value(name: str, weights: Mapping[str, Weight], seed: int) -> Tensor:
    """Return the initial value of a weight, in float32.

    Args:
        weights: all weights; the bias of a layer takes its bound from the weight beside it.
    """
    rule = parse_initial(weights[name].init)
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    stream = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    tensor = torch.empty(weights[name].shape)
    beside = weights.get(f"{name.rpartition('.')[0]}.weight", weights[name])
    _INITIALISERS[rule.name](tensor, _fans(beside.shape), stream, *rule.numbers)
    return tensor


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return fan_in and fan_out of a weight [out, in, *kernel]."""
    if len(shape) < 2:
        return prod(shape), prod(shape)
    return prod(shape[1:]), shape[0] * prod(shape[2:])


Fans = tuple[int, int]


def _constant(tensor: Tensor, fans: Fans, stream: torch.Generator, value: float) -> None:
    tensor.fill_(value)


def _normal(tensor: Tensor, fans: Fans, stream: torch.Generator, std: float = 1.0) -> None:
    tensor.normal_(0.0, std, generator=stream)


def _trunc_normal(tensor: Tensor, fans: Fans, stream: torch.Generator, std: float) -> None:
    nn.init.trunc_normal_(tensor, std=std, generator=stream)


def _uniform(tensor: Tensor, fans: Fans, stream: torch.Generator, low: float, high: float) -> None:
    tensor.uniform_(low, high, generator=stream)


def _geometric(tensor: Tensor, fans: Fans, stream: torch.Generator, a: float, b: float) -> None:
    """The element i of all N is a * (b / a) ** (i / N)."""
    steps = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
    tensor.copy_(a * (b / a) ** (steps / tensor.numel()))


def _multiples(tensor: Tensor, fans: Fans, stream: torch.Generator, step: float) -> None:
    tensor.copy_(torch.arange(tensor.shape[-1]) * step)


def _linear(tensor: Tensor, fans: Fans, stream: torch.Generator) -> None:
    bound = 1 / sqrt(max(fans[0], 1))
    tensor.uniform_(-bound, bound, generator=stream)


def _xavier_uniform(tensor: Tensor, fans: Fans, stream: torch.Generator) -> None:
    bound = sqrt(6 / max(sum(fans), 1))
    tensor.uniform_(-bound, bound, generator=stream)


_INITIALISERS: Mapping[str, Callable[..., None]] = {
    "zeros": lambda tensor, fans, stream: tensor.zero_(),
    "ones": lambda tensor, fans, stream: tensor.fill_(1.0),
    "constant": _constant,
    "normal": _normal,
    "trunc_normal": _trunc_normal,
    "multiples": _multiples,
    "uniform": _uniform,
    "geometric": _geometric,
    "xavier_uniform": _xavier_uniform,
    "linear": _linear,
    "embedding": _normal,
}

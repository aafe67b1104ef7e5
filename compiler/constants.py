"""Tables that depend on no input and no weight: buffers that a module computes for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import fx, nn


def constants_of(module: fx.GraphModule) -> Mapping[str, fx.GraphModule]:
    """Return the constants of one block by buffer name; each is a module without inputs."""
    return cast(Mapping[str, fx.GraphModule], module.meta.get("constants", {}))


def compute_constants(root: nn.Module, device: torch.device | str, dtype: torch.dtype) -> None:
    """Compute every constant buffer below a module anew, in the model's dtype."""
    with defaults(device, dtype):
        for module in root.modules():
            if isinstance(module, fx.GraphModule):
                for name, constant in constants_of(module).items():
                    module.register_buffer(name, constant(), persistent=False)


@contextmanager
def defaults(device: torch.device | str, dtype: torch.dtype) -> Iterator[None]:
    """Create tensors on a device, fractions in a dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)

"""Attention nodes as modules: the one leaf of a lowered graph that a backend fills in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from attnc.compiler.kernel import Site

Function = Callable[..., object]
"""Computes a site: called as `f(q, k0, v0, ..., *tensors)`; gives `out`, or all outputs."""

Provider = Callable[[Site], Function]
"""Gives the function for a site: a backend at work, or the reference."""


class Attend(nn.Module):
    """An attention node. It has no weights and adds nothing to the state dict.

    Attributes:
        site: what to compute.
        provider: where its function came from; a pass asks it again when it changes the site.
    """

    def __init__(self, site: Site, provider: Provider) -> None:
        super().__init__()
        self.site = site
        self.provider = provider
        self.function = provider(site)

    def forward(self, *tensors: torch.Tensor) -> object:
        """Attend. `tensors`: q [b, h, n, d]; k [b, hk, m, d] and v [b, hk, m, e] of each source."""
        return self.function(*tensors)

    def extra_repr(self) -> str:
        """Name the site in the printed module."""
        return self.site.name

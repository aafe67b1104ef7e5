"""The reference backend: it defines what every attention means, and runs anywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Union

import torch
from torch import Tensor

from attnc.backends.formula import beyond_softmax
from attnc.backends.materialised.generate import Generator
from attnc.backends.reference import gathered
from attnc.backends.torch_function import unknown_sizes
from attnc.compiler.kernel import Answer, Kernel, No, Site, Target, Yes
from attnc.dsl.attention import Attention, SoftmaxKeys
from attnc.dsl.scorelang import allowed, every_row_has_key, scaled_product, slot_count

AttentionFunction = Callable[..., Union[Tensor, tuple[Tensor, ...]]]


class ReferenceBackend:
    """Plain torch that materialises all scores: exact in float64, twice differentiable.

    Where sources are summed, `weights` are those of each source before its factor, and `lse` is
    that of all scores together.
    """

    name = "reference"

    def can(self, site: Site, target: Target) -> Answer:
        """Say yes, on every target, unless an expression needs a size that no shape tells."""
        attention = site.attention
        if attention.join == "sum" and len(attention.sources) > 1 and not _is_summed(attention):
            return No(("sources that are summed are normalised apart; attend to each on its own",))
        unknown = unknown_sizes(site)
        if unknown:
            sizes = ", ".join(str(size) for size in unknown)
            return No((f"no axis of q, k, v or a tensor tells the size {sizes}; make it a param",))
        scores = "materialises all scores"
        if gathered.serves(site):
            count = slot_count(attention.sources[0].domain)
            scores = f"gathers the {count} keys around the centre of each query"
        return Yes((f"plain torch, {scores}", "any device, twice differentiable"))

    def build(self, site: Site, target: Target) -> Kernel:
        """Return an expression where that says it all, else a function; targets are alike."""
        written = inline(site)
        if written is not None:
            return Kernel(self.name, site.name, call=written)
        return Kernel(self.name, site.name, generate(site), ("from torch import Tensor",))


def inline(site: Site) -> str | None:
    """Return plain attention to all keys as an expression with holes `{q} {k0} {v0}`."""
    if len(site.sources) > 1 or site.tensors or site.attention.outputs != ("out",):
        return None
    if site.attention.prologues:
        return None
    (source,), ((k, _),) = site.attention.sources, site.sources
    score = scaled_product(source.score)
    beyond = [*beyond_softmax(site), source.weight, allowed(source)]
    if score is None or score.bias is not None or any(each is not None for each in beyond):
        return None
    if site.q.shape[1] != k.shape[1] or not every_row_has_key(source, site.q.shape[2], k.shape[2]):
        return None
    scale = "" if score.scale == 1 else f" * {score.scale!r}"
    return f"({{q}} @ {{k0}}.mT{scale}).softmax(-1) @ {{v0}}"


def generate(site: Site) -> str:
    """Return the source of the function `site.name(q, k0, v0, ..., *tensors)`."""
    made = gathered.Gathered(site) if gathered.serves(site) else Generator(site)
    return made.source()


def _is_summed(attention: Attention) -> bool:
    """Say whether several sources that are summed have each output asked for."""
    together = (
        {"index", "back"} if attention.normaliser == SoftmaxKeys() else {"index", "back", "lse"}
    )
    return together.isdisjoint(attention.outputs)


def function(site: Site) -> AttentionFunction:
    """Return the site as a function of `(q, k0, v0, k1, v1, ..., *tensors)`, made in memory.

    q: [b, h, n, d], k: [b, hk, m, d], v: [b, hk, m, e]; returns out: [b, h, n, e], or a tuple in
    the order of `site.attention.outputs`.
    """
    return _compiled(site.name, generate(site))


@cache
def _compiled(name: str, source: str) -> AttentionFunction:
    namespace: dict[str, object] = {"torch": torch, "Tensor": Tensor}
    exec(compile(source, f"<reference {name}>", "exec"), namespace)
    made = namespace[name]
    assert callable(made)
    return made

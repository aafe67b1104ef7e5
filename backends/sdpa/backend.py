"""The backend that hands a site to `torch.nn.functional.scaled_dot_product_attention`."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.backends.bare import beyond_bare
from attnc.backends.formula import beyond_softmax
from attnc.backends.sdpa.generate import call, function, mask
from attnc.backends.torch_function import unknown_sizes
from attnc.compiler.kernel import Answer, Kernel, No, Site, Target, Yes
from attnc.dsl.scorelang import allowed, has_dot, scaled_product, simplify, text

IMPORTS = ("import torch.nn.functional as F", "from torch import Tensor")


class SdpaBackend:
    """PyTorch's own fused attention, where it computes exactly what the site says."""

    name = "sdpa"

    def can(self, site: Site, target: Target) -> Answer:
        """Say yes for one source whose score is `qk * number + bias`, and the output alone."""
        wrong = tuple(_obstacles(site))
        return No(wrong) if wrong else Yes(tuple(_merits(site)))

    def build(self, site: Site, target: Target) -> Kernel:
        """Return an inline call where no mask is to be built, else a function."""
        if mask(site) is None:
            return Kernel(self.name, site.name, imports=IMPORTS[:1], call=call(site))
        return Kernel(self.name, site.name, function(site, target), IMPORTS)


def _obstacles(site: Site) -> Iterator[str]:
    attention = site.attention
    if len(attention.sources) > 1:
        yield f"{len(attention.sources)} sources; it takes one"
    yield from beyond_softmax(site)
    yield from beyond_bare(site)
    stored = [name for name in ("weights", "scores", "lse") if name in attention.outputs]
    if stored:
        yield f"it returns the output only, not {', '.join(stored)}"
    for size in unknown_sizes(site):
        yield f"no axis of q, k, v or a tensor tells the size {size}; make it a param"
    for source in attention.sources:
        score = scaled_product(source.score)
        if score is None or score.scale == 0:
            yield f"the score {text(simplify(source.score))} is not qk * number + bias"
        condition = allowed(source)
        if condition is not None and has_dot(condition):
            yield f"its mask cannot read qk, as {text(condition)} does"
        if source.weight is not None:
            yield f"it has no factor on its result, here {text(simplify(source.weight))}"


def _merits(site: Site) -> Iterator[str]:
    yield "one source, softmax over keys, constant scale: F.scaled_dot_product_attention"
    built = mask(site)
    if built is not None:
        yield f"builds a {built.kind} of {built.bytes} bytes"
        if built.can_have_empty_rows:
            yield "rows without a key are zeroed afterwards"

"""The linear backend: weights that are q . k times factors; keys and values are summed first."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.backends.bare import beyond_bare
from attnc.backends.formula import beyond_products, formula
from attnc.backends.linear import shared
from attnc.backends.torch_function import TorchFunction, unknown_sizes
from attnc.backends.torch_scores import ScoreWriter
from attnc.compiler.kernel import Answer, Kernel, No, Site, Target, Yes
from attnc.dsl.attention import Causal, Constant, Ratio, Unnormalised
from attnc.dsl.scorelang import (
    SERVED,
    coordinates,
    fill,
    has_dot,
    is_positive,
    separable,
    simplify,
    text,
)

SPACE = "\n" * 3


class LinearBackend:
    """Plain torch in O(n): a sum of k v for each head, or for each chunk of a causal one."""

    name = "linear"

    def can(self, site: Site, target: Target) -> Answer:
        """Say yes to one source whose weights are q . k times separable factors."""
        wrong = tuple(_obstacles(site))
        return No(wrong) if wrong else Yes(tuple(_merits(site)))

    def build(self, site: Site, target: Target) -> Kernel:
        """Generate the function; it is the same for all targets."""
        (source,) = site.attention.sources
        found = separable(source.score, source.domain)
        assert found is not None
        parts = []
        if isinstance(source.domain, Causal):
            parts.append(shared.CAUSAL)
        parts.append(_function(site))
        source_text = SPACE.join(part.strip("\n") for part in parts) + "\n"
        return Kernel(self.name, site.name, source_text, ("from torch import Tensor",))


def _obstacles(site: Site) -> Iterator[str]:
    attention = site.attention
    if len(attention.sources) > 1:
        yield f"{len(attention.sources)} sources; it takes one"
    if not isinstance(attention.normaliser, (Unnormalised, Ratio)):
        yield "its weights are not a normalised exponential; it takes none and ratio"
    yield from beyond_products(site)
    yield from beyond_bare(site)
    stored = [name for name in ("weights", "scores", "lse") if name in attention.outputs]
    if stored:
        yield f"it gives the output only, not {', '.join(stored)}"
    for size in unknown_sizes(site):
        yield f"no axis of q, k, v or a tensor tells the size {size}; make it a param"
    for source, (k, _) in zip(attention.sources, site.sources, strict=True):
        if not isinstance(source.domain, SERVED):
            yield "sums over keys are those of all keys or of all before a query"
        elif separable(source.score, source.domain) is None:
            score = text(simplify(source.score))
            yield f"the score {score} is not qk times factors of the query and of i - j"
        elif isinstance(source.domain, Causal):
            if source.domain.offset != 0 or k.shape[2] != site.q.shape[2]:
                yield "a causal sum takes as many keys as queries, and no offset"
        elif _rate(site) is not None:
            yield "a decay without an order of time does not split into factors"
        found = separable(source.score, source.domain)
        if found is not None and not all(is_positive(x, site.q.shape[1]) for x in found.bases):
            yield "the base of its decay is not known to be positive"
        mask = source.mask
        if mask is not None and (has_dot(mask) or "i" in coordinates(mask)):
            yield f"the mask {text(simplify(mask))} differs between queries"
        if source.post is not None:
            yield "it has no single weights for a post expression"
        if source.weight is not None:
            yield "it has no factor on its result"
    ratio = attention.normaliser
    masked = any(source.mask is not None for source in attention.sources)
    if isinstance(ratio, Ratio) and masked and not ratio.eps and not ratio.floor:
        yield "rows that sum to 0 cannot be told from rows without keys"


def _rate(site: Site) -> object:
    (source, *_) = site.attention.sources
    found = separable(source.score, source.domain)
    return None if found is None else found.rate


def _merits(site: Site) -> Iterator[str]:
    if isinstance(site.attention.sources[0].domain, Causal):
        yield "O(n): products inside chunks, sums of k v before them"
    else:
        yield "O(n): k v is summed once, then multiplied by every q"


def _function(site: Site) -> str:
    made = TorchFunction(site)
    (source,), ((k, _),) = site.attention.sources, site.sources
    found = separable(source.score, source.domain)
    assert found is not None
    wide = made.working_dtype()
    made.line("dtype = v.dtype")
    made.line(f"q, k, v = q.to({wide}), k.to({wide}), v.to({wide})")
    if k.shape[1] != site.q.shape[1]:
        each = "q.shape[1] // k.shape[1]"
        made.line(f"k, v = (x.repeat_interleave({each}, dim=1) for x in (k, v))")
    writer = ScoreWriter(made, 0)
    if found.factor != Constant(1.0):
        factor = writer.factor(found.factor)
        made.line(f"q = {fill('q * {a}', factor.text)}")
    if source.mask is not None:
        made.line(f"keep = {writer.condition(source.mask)}")
        made.line("keep = keep.expand(*k.shape[:2], 1, k.shape[2]).mT  # [b, h, m, 1]")
        made.line("k = k.masked_fill(~keep, 0.0)")
    ratio = site.attention.normaliser
    if isinstance(ratio, Ratio):
        made.line("v = torch.cat((v, torch.ones_like(v[..., :1])), dim=-1)  # sums of weights")
    made.line(f"out = {_products(site, made, writer)}")
    if isinstance(ratio, Ratio):
        made.line("out, total = out[..., :-1], out[..., -1:]")
        if ratio.floor is not None:
            made.line(f"total = total.clamp(min={ratio.floor!r})")
        made.line(f"out = out / {f'(total + {ratio.eps!r})' if ratio.eps else 'total'}")
    return made.source(formula(site.attention), "out.to(dtype)")


def _products(site: Site, made: TorchFunction, writer: ScoreWriter) -> str:
    (source,) = site.attention.sources
    found = separable(source.score, source.domain)
    assert found is not None
    if not isinstance(source.domain, Causal):
        return "q @ (k.mT @ v)"
    rate = "q.new_zeros(1, 1, 1, 1)"
    if found.rate is not None:
        made.line(f"rate = {writer.floating(found.rate)}")
        rate = "rate[(None,) * (4 - rate.dim())]"
    return f"torch.ops.{shared.NAMESPACE}.causal_sums(q, k, v, {rate})"

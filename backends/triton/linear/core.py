"""What the kernels of linear attention compute, and how a site comes down to it.

The core has the score `qk * c` or `qk * c * exp(rate[b, h] * (i - j))` with a number c and no mask.
What else a score may have is a factor of q or of k, or makes the rate: a few lines of torch before.
"""

from __future__ import annotations

from dataclasses import replace

from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import ScoreWriter
from attnc.backends.triton.layout import settled
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Constant, Coordinate, Dot, Load, ScoreTree
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import Separable, fill, make, separable

RATE = "rate"
"""What the core calls the tensor of rates, [b, h] in float32."""

_BY_HEAD = (Coordinate("b"), Coordinate("h"))


def parts_of(site: Site) -> Separable:
    """Return the score of a site as factors; it must have them."""
    (source,) = site.attention.sources
    found = separable(source.score, source.domain)
    assert found is not None, "refused before"
    return found


def core(site: Site) -> Site:
    """Return what kernels compute of a site: the site itself where there is nothing else."""
    (source,) = site.attention.sources
    found = parts_of(site)
    score: ScoreTree = Dot()
    if isinstance(found.factor, Constant) and found.factor.value != 1:
        score = make("mul", score, found.factor)
    tensors: tuple[TensorType, ...] = ()
    if found.rate is not None:
        tensors = (TensorType(site.q.shape[:2]),)
        distance = make("sub", Coordinate("i"), Coordinate("j"))
        score = make("mul", score, make("exp", make("mul", Load(RATE, _BY_HEAD), distance)))
    if _is_core(site, found, tensors):
        return site
    bare = replace(source, score=score, mask=None)
    names = (RATE,) if tensors else ()
    attention = replace(site.attention, sources=(bare,), tensors=names)
    return replace(site, name=f"{site.name}_core", attention=attention, tensors=tensors)


def _is_core(site: Site, found: Separable, tensors: tuple[TensorType, ...]) -> bool:
    named = site.attention.tensors == (RATE,) and found.rate == Load(RATE, _BY_HEAD)
    plain = found.rate is None and not site.tensors
    unmasked = site.attention.sources[0].mask is None
    fits = isinstance(found.factor, Constant) and unmasked
    return fits and (named or plain) and site.tensors == tensors


def scale_of(site: Site) -> float:
    """Return the number in the score of a core."""
    factor = parts_of(site).factor
    assert isinstance(factor, Constant)
    return float(factor.value)


def entry(site: Site, formula: str) -> str:
    """Return the function that models call: what is not of the core, then the core."""
    (source,) = site.attention.sources
    found, made = parts_of(site), TorchFunction(site)
    writer = ScoreWriter(made, 0)
    arguments = ["q", "k", "v"]
    if not isinstance(found.factor, Constant):
        factor = writer.floating(found.factor)
        made.line(settled(f"q = ({fill('q * {a}', factor)}).to(q.dtype)"))
    if source.mask is not None:
        keep = writer.condition(source.mask)
        made.line(f"keep = {keep}  # [b, h, 1, m]")
        made.line("keep = keep.expand(*k.shape[:2], 1, k.shape[2]).mT")
        made.line("k = k.masked_fill(~keep, 0.0)")
    if found.rate is not None:
        made.line(f"rate = {writer.floating(found.rate)}")
        made.line("rate = rate[(None,) * (4 - rate.dim())].expand(*q.shape[:2], 1, 1)[..., 0, 0]")
        arguments.append(RATE)
    return made.source(formula, made.call(f"{site.name}_core", arguments, "return "))

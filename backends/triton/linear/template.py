"""When linear attention is computed by its sums, and the parts of the file that does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnc.backends.bare import beyond_bare
from attnc.backends.formula import formula
from attnc.backends.triton import shared
from attnc.backends.triton.linear import shared as of_sums
from attnc.backends.triton.linear.configs import tile_table
from attnc.backends.triton.linear.core import core, entry, parts_of
from attnc.backends.triton.linear.launcher import backward_launcher, forward_launcher
from attnc.backends.triton.linear.layout import linear
from attnc.backends.triton.operator import operators, plain_kernel
from attnc.compiler.kernel import Backend, Kernel, Site, Target
from attnc.dsl.attention import Causal, Constant, Ratio, Unnormalised
from attnc.dsl.scorelang import SERVED, coordinates, has_dot, is_positive, separable, text

SPACE = "\n" * 3


def is_linear(site: Site) -> bool:
    """Say whether sums over keys may be taken first, whatever else stands against it."""
    attention = site.attention
    if len(attention.sources) > 1 or attention.given:
        return False
    (source,) = attention.sources
    linear = isinstance(attention.normaliser, (Unnormalised, Ratio))
    served = linear and isinstance(source.domain, SERVED)
    return served and separable(source.score, source.domain) is not None


def reasons_against(site: Site) -> Iterator[str]:
    """Yield why sums over keys are not taken first, of a site that is linear."""
    (source,), ((k, _),) = site.attention.sources, site.sources
    found = parts_of(site)
    yield from beyond_bare(site)
    if isinstance(source.domain, Causal):
        if source.domain.offset != 0 or k.shape[2] != site.q.shape[2]:
            yield "a causal sum takes as many keys as queries, and no offset"
    elif found.rate is not None:
        yield "a decay without an order of time does not split into factors"
    if not all(is_positive(base, site.q.shape[1]) for base in found.bases):
        yield "the base of its decay is not known to be positive"
    if source.mask is not None and (has_dot(source.mask) or "i" in coordinates(source.mask)):
        yield f"the mask {text(source.mask)} differs between queries"
    if source.post is not None:
        yield "a sum over keys has no single weights for a post expression"
    if source.weight is not None:
        yield "it has no factor on its result"
    if site.attention.renormalise is not None:
        yield "it does not divide weights by their sum again"
    if site.attention.outputs != ("out",):
        yield "a sum over keys has the output only"
    if _by_pairs_is_less(site):
        yield "there are so few pairs that computing their weights is less work"


def takes(site: Site) -> bool:
    """Say whether a site is computed by sums."""
    return is_linear(site) and not [*reasons_against(site)]


def objections(site: Site) -> Iterator[str]:
    """Yield why a site is not computed by sums although it is linear."""
    if is_linear(site):
        yield from reasons_against(site)


def _by_pairs_is_less(site: Site) -> bool:
    """Compare products of pairs with those of sums, where both lengths are known."""
    k, v = site.sources[0]
    n, m, d, e = site.q.shape[2], k.shape[2], k.shape[3], v.shape[3]
    if not (isinstance(n, int) and isinstance(m, int)):
        return False
    assert isinstance(d, int) and isinstance(e, int)
    return n * m * (d + e) <= (n + m) * d * e


def reasons_for(site: Site) -> Iterator[str]:
    """Yield what speaks for it."""
    found = parts_of(site)
    if isinstance(site.attention.sources[0].domain, Causal):
        yield "O(n): products inside chunks, a float32 sum of k^T v carried over them"
        yield "parts of a long stream are walked side by side"
    else:
        yield "O(n): k^T v is summed in float32, part by part, then multiplied by every q"
    yield "forward and backward are fused and deterministic"
    rate, factor = found.rate, found.factor
    made = [text(tree) for tree in (factor, rate) if tree is not None]
    if made and not isinstance(factor, Constant):
        yield f"q is multiplied by {made[0]} before"


def build(
    site: Site, target: Target, cards: Sequence[Target], fallback: Backend | None, name: str
) -> Kernel:
    """Generate the kernels, their launchers and operators, and the entry."""
    inner = core(site)
    made = linear(inner)
    problem = made.problem
    plain = plain_kernel(fallback, problem, inner) if fallback else None
    widest = max(problem.dim, problem.width)
    kinds = ("chunks", *(["rates"] if made.decays else [])) if made.causal else ("rows",)
    kernels = [*forward_launcher(made), *backward_launcher(made)]
    parts = [
        *shared.called((*of_sums.HOST, *shared.FUNCTIONS, *of_sums.DEVICE), kernels),
        *shared.of_boundary(problem, plain is not None),
        tile_table(problem.private("tiles"), (target, *cards), widest, kinds),
        *kernels,
        *([plain.source] if plain else []),
    ]
    parts += operators(problem, inner, parts, plain is not None)
    if inner is not site:
        parts.append(entry(site, formula(site.attention)))
    source = SPACE.join(part.strip("\n") for part in parts) + "\n"
    imports = {"from torch import Tensor", *(plain.imports if plain else ())}
    return Kernel(name, site.name, source, tuple(sorted(imports)))

"""The Triton backend: generated kernels, forward and backward, of one of five templates.

That of gathered rows reads the keys that each query has a list of; the resident one keeps one side
in a tile and streams the other once; that of linear attention sums over keys first; one walks tiles
of keys by tiles of queries; that of few wide rows sums over columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnc.backends.formula import formula
from attnc.backends.triton import shared
from attnc.backends.triton.configs import listed_tiles, tile_table, tiles_for
from attnc.backends.triton.gathered import template as gathered
from attnc.backends.triton.gathered.problem import Gathered
from attnc.backends.triton.gram import template as gram
from attnc.backends.triton.launcher import FULL, backward_launcher, forward_launcher
from attnc.backends.triton.linear import template as linear
from attnc.backends.triton.operation import Operation
from attnc.backends.triton.operator import operators, plain_kernel
from attnc.backends.triton.passes import template as several
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.prologue import made_ahead
from attnc.backends.triton.rereads import row_reads
from attnc.backends.triton.resident import grouped, template
from attnc.backends.triton.resident.problem import Resident
from attnc.backends.triton.templates import (
    by_passes,
    by_rows,
    by_sums,
    computed,
    prepared,
    reasons_against,
)
from attnc.backends.triton.turned.problem import Turned, launchers
from attnc.compiler.kernel import Answer, Backend, Kernel, No, Site, Target, Yes

SPACE = "\n" * 3
TWO_PASSES = "two passes: lse of every key over the queries, then weights of known lse"


class TritonBackend:
    """Generates one file of Triton kernels per site, behind a custom operator of torch.

    Attributes:
        fallback: builds what the operator does on the CPU; without it CPU tensors are an error.
        cards: those that files of kernels list tiles for besides the target.
    """

    name = "triton"

    def __init__(self, fallback: Backend | None = None, cards: Sequence[Target] = ()) -> None:
        self.fallback, self.cards = fallback, tuple(cards)

    def can(self, site: Site, target: Target) -> Answer:
        """Say yes on a GPU to what one of the templates computes; the first that does is taken."""
        against = reasons_against(site, target)
        if against:
            return No(tuple(against))
        if by_rows(site):
            return Yes(tuple(gram.reasons_for(site)))
        found = by_passes(site)
        if found:
            return Yes(tuple(several.reasons_for(found)))
        if by_sums(site):
            return Yes(tuple(linear.reasons_for(site)))
        problem = prepared(site)
        if isinstance(problem, Gathered):
            return Yes(tuple(gathered.reasons_for(problem)))
        if isinstance(problem, Resident):
            return Yes(tuple(template.reasons_for(problem, site)))
        if isinstance(problem, Turned):
            return Yes((TWO_PASSES, *_reasons_for(problem.swapped, target)))
        reasons = (*_reasons_for(problem, target), *linear.objections(site))
        tiles = listed_tiles(target, max(problem.dim, problem.width), problem.heavy)
        return Yes(reasons, row_reads(problem, site, tiles["forward"]))

    def build(self, site: Site, target: Target) -> Kernel:
        """Generate the kernels, their launchers and operators.

        Parts of the source stand two blank lines apart; those that are the same for several
        sites are the same text.
        """
        if by_rows(site):
            return gram.build(site, target, self.cards, self.fallback is not None, self.name)
        found = by_passes(site)
        if found:
            each = [self.build(one.site, target) for one in found]
            return several.build(site, found, each, self.name)
        if by_sums(site):
            return linear.build(site, target, self.cards, self.fallback, self.name)
        inner = computed(site)
        problem, parts = _parts(inner, (target, *self.cards), self.fallback is not None)
        plain = plain_kernel(self.fallback, problem, inner) if self.fallback else None
        parts += [plain.source] if plain else []
        parts += operators(problem, inner, parts, plain is not None)
        if inner is not site:
            parts.append(grouped.entry(site, formula(site.attention)))
        source = SPACE.join(part.strip("\n") for part in parts) + "\n"
        imports = {"from torch import Tensor", *(plain.imports if plain else ())}
        return Kernel(self.name, site.name, source, tuple(sorted(imports)))


def _parts(site: Site, targets: Sequence[Target], with_plain: bool) -> tuple[Operation, list[str]]:
    """Return a site prepared by its template, and the sources up to the operators."""
    problem = prepared(site)
    if isinstance(problem, Gathered):
        return problem, gathered.parts(problem, site, targets, with_plain)
    if isinstance(problem, Resident):
        return problem, template.parts(problem, targets, with_plain)
    kernels = [*_kernels(problem, site, targets)]
    return problem, [
        *shared.called(shared.FUNCTIONS, kernels),
        *shared.of_boundary(problem, with_plain, bool(site.attention.prologues)),
        *dict.fromkeys(kernels),
        *([made_ahead(site, problem.private("ahead"))] if site.attention.prologues else []),
    ]


def _kernels(problem: Problem | Turned, site: Site, targets: Sequence[Target]) -> Iterator[str]:
    if isinstance(problem, Problem):
        yield from _tiled(problem, site, targets)
        return
    yield from _tiled(problem.swapped, problem.sites[0], targets)
    yield from _tiled(problem.weights, problem.sites[1], targets, backward=False)
    yield from launchers(problem)


def _tiled(
    problem: Problem, site: Site, targets: Sequence[Target], backward: bool = True
) -> Iterator[str]:
    widest = max(problem.dim, problem.width)
    yield from problem.shared()
    yield tile_table(problem.private("tiles"), targets, widest, problem.heavy, problem.kinds)
    yield from problem.device_functions()
    yield from forward_launcher(problem, site)
    if backward:
        yield from backward_launcher(problem, site)


def _packing(problem: Problem, target: Target) -> Iterator[str]:
    """Yield how many blocks a tile of queries holds, where it is several."""
    blocks, widest = problem.blocks, max(problem.dim, problem.width)
    if blocks is not None and blocks.packs and isinstance(blocks.own.size, int):
        rows = tiles_for(target, widest)["forward"][FULL].queries
        count = rows // blocks.own.size
        if count > 1:
            yield f"{count} blocks of {blocks.own.size} tokens share a tile of {rows} queries"


def _reasons_for(problem: Problem, target: Target) -> Iterator[str]:
    yield "no scores are stored; forward and backward are fused"
    if problem.late:
        yield "a first walk finds lse, for a post expression that is not linear in w"
    if any(stream.inside.left or stream.inside.right for stream in problem.streams):
        yield "tiles without an allowed pair are skipped in closed form"
    if any(stream.blocks for stream in problem.streams):
        yield "only pairs of a block and what it sees are computed"
        yield from _packing(problem, target)
    if any(stream.masked and stream.blocks is None for stream in problem.streams):
        yield "the mask is computed for every pair"
    copied = sorted({read.tensor for s in problem.streams for read in s.copies.values()})
    if copied:
        by_block = all(s.blocks for s in problem.streams if s.copies)
        size = "one block's slots" if by_block else "h * n * m elements"
        yield f"{', '.join(copied)} is laid out by pair, {size}"
    lines = sorted({read.tensor for s in problem.streams for read in s.offsets.values()})
    if lines:
        yield f"{', '.join(lines)} is laid out by i - j, h * 16 * (n + m) elements"
    if problem.group:
        yield "heads that share keys share a tile, which reads them once"
    if problem.learned:
        yield f"gradients of {', '.join(problem.learned)} are deterministic"

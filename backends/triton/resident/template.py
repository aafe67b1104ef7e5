"""The resident template: why it is chosen, and its sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnc.backends.triton import shared
from attnc.backends.triton.resident import shared as own
from attnc.backends.triton.resident.configs import tile_table
from attnc.backends.triton.resident.grouped import group_of
from attnc.backends.triton.resident.launcher import backward_launcher, forward_launcher
from attnc.backends.triton.resident.problem import Resident
from attnc.compiler.kernel import Site, Target


def reasons_for(problem: Resident, site: Site) -> Iterator[str]:
    """Yield why the template is a good choice for a site."""
    one, other = ("keys", "queries") if problem.stays.token == "j" else ("queries", "keys")
    yield f"{problem.count} {one} stay in a tile; the {other} are read once, split over programs"
    if problem.name != site.name:
        yield f"{group_of(site)} heads that share keys are rows of one tile"
    if len(problem.readings) > 1:
        yield "both results come from one product of scores"
    yield "forward and backward are one kernel each, deterministic: no atomics"
    if "scores" in problem.outputs:
        yield "scores are stored because they are asked for"


def parts(problem: Resident, targets: Sequence[Target], with_plain: bool) -> list[str]:
    """Return the sources up to the operators."""
    widest = max(problem.widths.values())
    by_key = problem.stays.token == "j"
    formulas = [each.definition for each in problem.stream.formulas() if each.definition]
    kernels = [*dict.fromkeys(formulas), *forward_launcher(problem), *backward_launcher(problem)]
    return [
        *shared.called((*own.HOST, *shared.FUNCTIONS, *own.DEVICE), kernels),
        *shared.of_boundary(problem, with_plain),
        *problem.base.shared(),
        tile_table(problem.private("tiles"), targets, widest, problem.rows, by_key),
        *kernels,
    ]

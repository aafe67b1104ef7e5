"""The template of gathered rows: what speaks for it, and its sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnc.backends.triton import shared
from attnc.backends.triton.gathered import shared as own
from attnc.backends.triton.gathered.configs import joint_table, tile_table
from attnc.backends.triton.gathered.launcher import backward_launcher, forward_launcher
from attnc.backends.triton.gathered.mixture import Mixture
from attnc.backends.triton.gathered.problem import Gathered
from attnc.compiler.kernel import Site, Target


def reasons_for(problem: Gathered) -> Iterator[str]:
    """Yield why the template is a good choice."""
    slots = " and ".join(dict.fromkeys(str(each.slots) for each in problem.lists.values()))
    if problem.fractions:
        yield "boxes stay in a tile, and the centre learns through their fractions"
    yield f"each query reads the rows of its own {slots} keys; no scores are stored"
    if problem.tiled:
        yield "sources without lists are multiplied by tile in the same pass, under the same sums"
    yield (
        "the backward pass keeps weights and gradients of n * "
        f"{slots} pairs, which sorted by key give those of k and v: deterministic, no atomics"
    )


def parts(
    problem: Gathered, site: Site, targets: Sequence[Target], with_plain: bool
) -> list[str]:  # fmt: skip
    """Return the sources up to the operators."""
    kernels = [
        *_functions(problem),
        *forward_launcher(problem, site),
        *backward_launcher(problem, site),
    ]
    return [
        *shared.called((*own.HOST, *shared.FUNCTIONS, *own.DEVICE), kernels),
        *shared.of_boundary(problem, with_plain),
        *(each for each in problem.shared() if each not in own.DEVICE),
        _tiles(problem, targets),
        *kernels,
    ]


def _tiles(problem: Gathered, targets: Sequence[Target]) -> str:
    name, widest = problem.private("tiles"), max(problem.dim, problem.width)
    if problem.tiled:
        return joint_table(name, targets, widest, problem.heavy)
    return tile_table(name, targets, widest, problem.box)


def _functions(problem: Gathered) -> Iterator[str]:
    """Yield sources of device functions, each once."""
    formulas = [each.definition for each in problem.fractions.values()]
    listed = (each for function in problem.functions.values() for each in function.definitions)
    yield from dict.fromkeys((*problem.device_functions(), *filter(None, formulas), *listed))
    if isinstance(problem.rule, Mixture):
        yield from problem.rule.definitions()

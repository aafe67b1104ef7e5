from __future__ import annotations

import pytest

from attnc import zoo
from attnc.api import Compilation
from attnc.compiler.kernel import Target
from attnc.compiler.plan import Plan, SitePlan
from attnc.compiler.survey import PLAIN, Cell, survey
from tests.zoo.small import small

TARGETS = ("cpu", "cuda:90")


def plans(name: str) -> list[Plan]:
    cpu = small(name).compilation
    return [cpu.plan, Compilation(cpu.graph, TARGETS[1]).plan]


def test_targets_stand_beside_each_other() -> None:
    (cpu, gpu) = plans("crossvit")
    rows = survey([cpu, gpu])
    assert [row.name for row in rows] == [site.site.name for site in cpu.sites]
    assert all([*row.cells] == [*TARGETS] for row in rows)
    assert sum(row.calls for row in rows) == sum(site.calls for site in cpu.sites)


def test_what_one_target_lacks_has_a_row_without_it() -> None:
    cpu, gpu = plans("crossvit")
    fewer = Plan(gpu.target, gpu.sizes, gpu.sites[1:])
    first, *rest = survey([cpu, fewer])
    assert [*first.cells] == ["cpu"]
    assert all([*row.cells] == [*TARGETS] for row in rest)


def test_two_attentions_of_one_block_are_two_rows() -> None:
    (cpu, _) = plans("crossvit")
    (site, *_) = cpu.sites
    twice = Plan(Target(), cpu.sizes, (site, site))
    assert len(survey([twice])) == 2


@pytest.mark.parametrize("name", zoo.names())
def test_what_is_not_fused_says_why(name: str) -> None:
    made = plans(name)
    rows = survey(made)
    assert sum(len(row.cells) for row in rows) == sum(len(plan.sites) for plan in made)
    for row in rows:
        for target, cell in row.cells.items():
            assert (cell.backend == PLAIN) == bool(cell.reasons), (row.name, target)


def test_the_reasons_are_those_of_every_other_backend() -> None:
    (cpu, _) = plans("matchattention")
    found: list[SitePlan] = [site for site in cpu.sites if site.chosen == PLAIN]
    cell = survey([Plan(cpu.target, cpu.sizes, (found[0],))])[0].cells["cpu"]
    assert isinstance(cell, Cell)
    others = [verdict.backend for verdict in found[0].verdicts if not verdict.chosen]
    assert [reason.partition(":")[0] for reason in cell.reasons] == others

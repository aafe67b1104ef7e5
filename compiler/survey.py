"""What becomes of the attentions of one model on several targets, beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attnc.compiler.plan import Plan, SitePlan
from attnc.compiler.plan_text import grouped, operands

PLAIN = "reference"
"""The backend that fuses nothing."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What computes an attention on one target.

    Attributes:
        reasons: why it is not fused, by backend; none where it is.
    """

    backend: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """An attention of a model.

    Attributes:
        places: blocks that call it, numbers in runs.
        calls: in one forward pass.
        what: its operands and scores, one line for each source.
        cells: by target; a target on which it is part of another attention has none.
    """

    name: str
    places: tuple[str, ...]
    calls: int
    what: tuple[str, ...]
    cells: Mapping[str, Cell]


def survey(plans: Sequence[Plan]) -> list[Row]:
    """Return the attentions of a model, planned for several targets.

    Those of equal places are the same one, in order; what is rewritten for one target only has a
    row of its own.
    """
    rows: dict[tuple[object, ...], Row] = {}
    for plan in plans:
        for key, site in _keyed(plan):
            cell = {str(plan.target): _cell(site)}
            row = rows.get(key)
            cells = cell if row is None else {**row.cells, **cell}
            places, what = tuple(grouped(site.paths)), tuple(operands(site.site))
            rows[key] = row = Row(site.site.name, places, site.calls, what, cells)
    return [*rows.values()]


def _keyed(plan: Plan) -> Iterator[tuple[tuple[object, ...], SitePlan]]:
    seen: dict[tuple[str, ...], int] = {}
    for site in plan.sites:
        number = seen[site.paths] = seen.get(site.paths, -1) + 1
        yield (site.paths, number, site.calls), site


def _cell(site: SitePlan) -> Cell:
    if site.chosen != PLAIN:
        return Cell(site.chosen, ())
    others = (each for each in site.verdicts if not each.chosen)
    return Cell(
        PLAIN,
        tuple(f"{each.backend}: {'; '.join(dict.fromkeys(each.reasons))}" for each in others),
    )

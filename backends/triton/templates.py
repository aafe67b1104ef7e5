"""Which template computes a site.

One that gathers rows where queries have lists of keys; else one that keeps a side in a tile, else
one that sums over keys first, else that of tiles by tiles.
"""

from __future__ import annotations

from attnc.backends.triton import refusals
from attnc.backends.triton.gathered import choice as lists
from attnc.backends.triton.gathered import problem as gathered
from attnc.backends.triton.linear import template as linear
from attnc.backends.triton.linear.core import core
from attnc.backends.triton.problem import Problem, digest
from attnc.backends.triton.resident import choice, grouped
from attnc.backends.triton.resident.problem import Resident, prepare
from attnc.backends.triton.rules import rule_of
from attnc.compiler.kernel import Site, Target


def reasons_against(site: Site, target: Target) -> list[str]:
    """Return why no template computes a site on a target; none where one does."""
    of_target = [*refusals.of_target(target)]
    if lists.has_lists(site):
        return [*of_target, *lists.reasons_against(site)]
    by_row = grouped.core(site)
    of_resident = choice.reasons_against(by_row)
    if not of_resident:
        return of_target or [*choice.room(by_row, target)]
    against = refusals.reasons_against(site, target)
    others = of_resident if rule_of(site.attention.normaliser) is None else []
    return [*dict.fromkeys((*against, *others))]


def prepared(site: Site) -> Problem | Resident:
    """Return a site as its template sees it; the template is the same for all targets."""
    if lists.has_lists(site):
        return gathered.prepare(site)
    inner = computed(site)
    if choice.reasons_against(inner):
        return digest(inner)
    keys = choice.keys_stay(inner)
    assert keys is not None
    return prepare(inner, keys)


def by_sums(site: Site) -> bool:
    """Say whether a site, which a template computes, is computed by sums over keys."""
    if lists.has_lists(site):
        return False
    return bool(choice.reasons_against(grouped.core(site))) and linear.takes(site)


def computed(site: Site) -> Site:
    """Return what the launchers in a file are of: a core that the entry calls, or the site."""
    if lists.has_lists(site):
        return site
    if by_sums(site):
        return core(site)
    by_row = grouped.core(site)
    return site if choice.reasons_against(by_row) else by_row

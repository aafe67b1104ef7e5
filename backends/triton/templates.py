"""Which template computes a site.

One that keeps a side in a tile, else one that sums over keys first, else that of tiles by tiles.
"""

from __future__ import annotations

from attnc.backends.triton import refusals
from attnc.backends.triton.linear import template as linear
from attnc.backends.triton.linear.core import core
from attnc.backends.triton.problem import Problem, digest
from attnc.backends.triton.resident import choice
from attnc.backends.triton.resident.problem import Resident, prepare
from attnc.backends.triton.rules import rule_of
from attnc.compiler.kernel import Site, Target


def reasons_against(site: Site, target: Target) -> list[str]:
    """Return why no template computes a site on a target; none where one does."""
    of_target = [*refusals.of_target(target)]
    of_resident = choice.reasons_against(site)
    if not of_resident:
        return of_target or [*choice.room(site, target)]
    against = refusals.reasons_against(site, target)
    others = of_resident if rule_of(site.attention.normaliser) is None else []
    return [*dict.fromkeys((*against, *others))]


def prepared(site: Site) -> Problem | Resident:
    """Return a site as its template sees it; the template is the same for all targets."""
    if choice.reasons_against(site):
        return digest(computed(site))
    keys = choice.keys_stay(site)
    assert keys is not None
    return prepare(site, keys)


def by_sums(site: Site) -> bool:
    """Say whether a site, which a template computes, is computed by sums over keys."""
    return bool(choice.reasons_against(site)) and linear.takes(site)


def computed(site: Site) -> Site:
    """Return what the launchers in a file are of: of linear attention its core, else the site."""
    return core(site) if by_sums(site) else site

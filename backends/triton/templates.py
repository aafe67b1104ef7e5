"""Which template computes a site.

One that gathers rows where queries have lists of keys; else one that keeps a side in a tile, else
one that sums over keys first, else that of tiles by tiles, also with the roles of queries and keys
swapped; where heads are too wide for tiles, one for few wide rows; else several attentions, each of
them by one of these.
"""

from __future__ import annotations

from attnc.backends.bare import bare, beyond_bare
from attnc.backends.epilogue import without_epilogue
from attnc.backends.triton import refusals
from attnc.backends.triton.gathered import choice as lists
from attnc.backends.triton.gathered import problem as gathered
from attnc.backends.triton.gram import template as gram
from attnc.backends.triton.linear import template as linear
from attnc.backends.triton.linear.core import core
from attnc.backends.triton.passes.lower import Pass, passes
from attnc.backends.triton.problem import Problem, digest
from attnc.backends.triton.resident import choice, grouped
from attnc.backends.triton.resident.problem import Resident, prepare
from attnc.backends.triton.rules import rule_of
from attnc.backends.triton.turned.problem import Turned, turned
from attnc.backends.triton.turned.sites import turned_sites
from attnc.compiler.kernel import Site, Target


def reasons_against(site: Site, target: Target) -> list[str]:
    """Return why no template computes a site on a target; none where one does."""
    of_target = [*refusals.of_target(target)]
    inner = bare(site)
    if inner != site and not _is_followed(site):
        beyond = [] if _by_tiles(inner) else [*beyond_bare(site)]
        return [*of_target, *beyond, *refusals.reasons_against(site)]
    if lists.has_lists(site):
        return [*of_target, *lists.reasons_against(site)]
    by_row = grouped.core(site)
    of_resident = choice.reasons_against(by_row)
    if not of_resident:
        return of_target or [*choice.room(by_row, target)]
    if by_turning(site) or by_rows(site) or by_passes(site):
        return of_target
    others = of_resident if rule_of(site.attention) is None else []
    if refusals.is_wide(site) and not site.attention.given:
        others += gram.reasons_against(site)
    parts = [*(turned_sites(site) or ()), *(each.site for each in passes(site))]
    others += [reason for part in parts for reason in refusals.reasons_against(part)]
    return [*dict.fromkeys((*of_target, *refusals.reasons_against(site), *others))]


def _is_followed(site: Site) -> bool:
    """Say whether a template other than that of tiles by tiles computes what follows a result.

    It reads q and k as they are. The others leave the result in sums over programs, or several
    kernels have a part in it.
    """
    inner = bare(site)
    if without_epilogue(site) != inner:
        return False
    by_row = grouped.core(inner)
    in_a_tile = by_row is inner and not choice.reasons_against(inner)
    return lists.has_lists(inner) or (in_a_tile and choice.streams_queries(inner))


def _by_tiles(site: Site) -> bool:
    """Say whether a site is one that no template but that of tiles by tiles computes."""
    if lists.has_lists(site) or not choice.reasons_against(grouped.core(site)):
        return False
    return not (by_turning(site) or by_rows(site) or by_passes(site) or by_sums(site))


def prepared(site: Site) -> Problem | Resident | Turned:
    """Return a site as its template sees it; the template is the same for all targets."""
    if lists.has_lists(site):
        return gathered.prepare(site)
    if by_turning(site):
        return turned(site)
    inner = computed(site)
    if choice.reasons_against(inner):
        return digest(inner, by_offset=True)
    keys = choice.keys_stay(inner)
    assert keys is not None
    return prepare(inner, keys)


def by_turning(site: Site) -> bool:
    """Say whether a site is computed with the roles of queries and keys swapped."""
    sites = None if _is_tiled(site) else turned_sites(site)
    return sites is not None and not any(map(refusals.reasons_against, sites))


def by_rows(site: Site) -> bool:
    """Say whether a site is computed by products of few wide rows."""
    others = _is_tiled(site) or by_turning(site)
    return not others and not [*gram.reasons_against(site)]


def by_passes(site: Site) -> tuple[Pass, ...]:
    """Return the attentions as which a site is computed; nothing where it is computed as one."""
    found = () if _is_tiled(site) or by_turning(site) or by_rows(site) else passes(site)
    return found if all(_is_tiled(each.site) for each in found) else ()


def _is_tiled(site: Site) -> bool:
    """Say whether one walk over tiles computes a site, or lists of keys are walked."""
    in_a_tile = not choice.reasons_against(grouped.core(site))
    return in_a_tile or lists.has_lists(site) or not refusals.reasons_against(site)


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

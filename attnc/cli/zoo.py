"""`attnc zoo`: the systems that come with attnc."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from attnc.cli.files import create
from attnc.cli.options import ForceOption, complete_zoo
from attnc.cli.outcome import Outcome
from attnc.cli.progress import at
from attnc.cli.table import table
from attnc.dsl.diagnostics import Diagnostic, SpecError
from attnc.dsl.load import ZOO, find_system
from attnc.dsl.render import Json
from attnc.zoo import entries, family, names

if TYPE_CHECKING:
    from attnc.compiler.claims import Verdict

OK, FAIL, UNKNOWN = "ok", "FAIL", "not verifiable here"
"""What becomes of a claim."""

CLAIMS = ("", "system", "variant", "claim", "claimed", "counted", "off", "source")

LARGE = 10_000
"""From here on numbers are written in full."""

PatternsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Systems, or patterns as in *former*.",
        autocompletion=complete_zoo,
    ),
]
PatternArgument = Annotated[
    str, typer.Argument(metavar="[PATTERN]", help="Only names that match, as in *former*.")
]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A system of the zoo.", autocompletion=complete_zoo)
]
CopyOption = Annotated[
    str,
    typer.Option("--output", "-o", metavar="FILE", help="Where to write; NAME.yaml by default."),
]


def listed(pattern: PatternArgument = "*") -> Outcome:
    """List the systems, by family."""
    rows = sorted((family(name), name) for name in _matching(pattern))
    data = [{"family": each, "name": name} for each, name in rows]
    return Outcome(table(("family", "name"), rows), data, ok=bool(rows))


def shown(name: NameArgument) -> Outcome:
    """Print the spec of a system."""
    text = _file(name).read_text(encoding="utf-8")
    return Outcome(text, text)


def copied(name: NameArgument, output: CopyOption = "", force: ForceOption = False) -> Outcome:
    """Copy the spec of a system, to change it."""
    path = _file(name)
    target = output or path.name
    create(target, path.read_text(encoding="utf-8"), force)
    return Outcome(result=target, messages=(f"wrote {target}",))


def checked(patterns: PatternsArgument = None) -> Outcome:
    """Check systems with all their variants, and hold their claims against what can be counted."""
    rows: list[tuple[str, Verdict]] = []
    found: list[Diagnostic] = []
    chosen = _chosen([pattern.removeprefix(ZOO) for pattern in patterns or ["*"]])
    for number, name in enumerate(chosen, 1):
        at(name, number, len(chosen))
        try:
            rows += [(name, verdict) for verdict in _judged(name)]
        except SpecError as error:
            found += error.diagnostics
    states = [_state(verdict) for _, verdict in rows]
    return Outcome(
        table(CLAIMS, [_row(*row) for row in rows], right=("claimed", "counted", "off")),
        [cast(Json, {"system": name, **verdict.to_json()}) for name, verdict in rows],
        messages=(_summary(len(chosen), states),),
        ok=FAIL not in states,
        diagnostics=tuple(found),
    )


def _judged(name: str) -> Iterator[Verdict]:
    """Check a system as its defaults say and in every variant; yield what became of its claims."""
    from attnc import api

    spec = api.load(f"zoo:{name}")
    api.check(spec)
    for variant in spec.variants:
        yield from api.check_claims(spec, variant.name)


def _summary(systems: int, states: list[str]) -> str:
    holding = states.count(OK)
    counted = "1 system" if systems == 1 else f"{systems} systems"
    held = "1 claim holds" if holding == 1 else f"{holding} claims hold"
    return f"{counted}, {held}, {states.count(FAIL)} fail, {states.count(UNKNOWN)} {UNKNOWN}"


def _state(verdict: Verdict) -> str:
    return UNKNOWN if verdict.ok is None else OK if verdict.ok else FAIL


def _row(name: str, verdict: Verdict) -> list[str]:
    claim, counts = verdict.claim, verdict.counts
    wrong = [count for count in counts if count.error > claim.tolerance]
    shown = wrong[0] if wrong else counts[0] if counts else None
    found = "" if shown is None else _number(shown.found)
    off = "" if shown is None else f"{100 * shown.error:.2g}%"
    why = claim.source
    if wrong and shown:
        why = f"{shown.how}: {_number(shown.found)}, not {_number(shown.expected)}"
    return [_state(verdict), name, claim.variant, claim.name, _number(claim.value), found, off, why]


def _number(value: int | float) -> str:
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:g}"


def _chosen(patterns: list[str]) -> list[str]:
    """Return the systems that match any of some patterns; a plain name must be one."""
    for name in patterns:
        if not set(name) & set("*?["):
            find_system(name, entries)
    return [name for name in entries() if any(fnmatch(name, pattern) for pattern in patterns)]


def _matching(pattern: str) -> list[str]:
    return [name for name in names() if fnmatch(name, pattern.removeprefix(ZOO))]


def _file(name: str) -> Path:
    """Return the spec file of a system, which goes by its name or by `zoo:NAME`."""
    return find_system(name.removeprefix(ZOO), entries)

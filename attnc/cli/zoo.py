"""`attnc zoo`: the systems that come with attnc."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Annotated

import typer

from attnc.cli.check import check
from attnc.cli.files import create
from attnc.cli.options import ForceOption, complete_zoo
from attnc.cli.outcome import Outcome
from attnc.cli.table import table
from attnc.dsl import codes
from attnc.dsl.diagnostics import UsageError
from attnc.dsl.suggest import did_you_mean
from attnc.zoo import family, find, names

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
    text = _text(name)
    return Outcome(text, text)


def copied(name: NameArgument, output: CopyOption = "", force: ForceOption = False) -> Outcome:
    """Copy the spec of a system, to change it."""
    path = find(name)
    target = output or (path.name if path else name)
    create(target, _text(name), force)
    return Outcome(result=target, messages=(f"wrote {target}",))


def checked(pattern: PatternArgument = "*") -> Outcome:
    """Check the systems, with all their variants."""
    return check([f"zoo:{name}" for name in _matching(pattern)], all_variants=True)


def _matching(pattern: str) -> list[str]:
    return [name for name in names() if fnmatch(name, pattern)]


def _text(name: str) -> str:
    path = find(name)
    if path is None:
        hint = did_you_mean(name, names())
        raise UsageError([codes.UNKNOWN_ZOO.at(None, name=name, hint=hint)])
    return path.read_text(encoding="utf-8")

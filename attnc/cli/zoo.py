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
from attnc.dsl.load import find_system
from attnc.zoo import entries, family, names

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
    text = find_system(name, entries).read_text(encoding="utf-8")
    return Outcome(text, text)


def copied(name: NameArgument, output: CopyOption = "", force: ForceOption = False) -> Outcome:
    """Copy the spec of a system, to change it."""
    path = find_system(name, entries)
    target = output or path.name
    create(target, path.read_text(encoding="utf-8"), force)
    return Outcome(result=target, messages=(f"wrote {target}",))


def checked(pattern: PatternArgument = "*") -> Outcome:
    """Check the systems, with all their variants."""
    return check([f"zoo:{name}" for name in _matching(pattern)], all_variants=True)


def _matching(pattern: str) -> list[str]:
    return [name for name in names() if fnmatch(name, pattern)]

"""`attnc zoo`: the systems that come with attnc."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Annotated

import typer

from attnc import zoo
from attnc.cli.check import check
from attnc.cli.files import create
from attnc.cli.options import ForceOption, complete_zoo
from attnc.cli.outcome import Outcome
from attnc.cli.table import table
from attnc.dsl import codes
from attnc.dsl.diagnostics import UsageError
from attnc.dsl.suggest import did_you_mean

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
    names = [name for name in zoo.names() if fnmatch(name, pattern)]
    rows = [(zoo.family(name), name) for name in names]
    data = [{"family": family, "name": name} for family, name in rows]
    return Outcome(table(("family", "name"), sorted(rows)), data, ok=bool(names))


def shown(name: NameArgument) -> Outcome:
    """Print the spec of a system."""
    text = _text(name)
    return Outcome(text, text)


def copied(name: NameArgument, output: CopyOption = "", force: ForceOption = False) -> Outcome:
    """Copy the spec of a system, to change it."""
    path = zoo.find(name)
    target = output or (path.name if path else name)
    create(target, _text(name), force)
    return Outcome(result=target, messages=(f"wrote {target}",))


def checked(pattern: PatternArgument = "*") -> Outcome:
    """Check the systems, with all their variants."""
    return check(
        [f"zoo:{name}" for name in zoo.names() if fnmatch(name, pattern)], all_variants=True
    )


def _text(name: str) -> str:
    path = zoo.find(name)
    if path is None:
        hint = did_you_mean(name, zoo.names())
        raise UsageError([codes.UNKNOWN_ZOO.at(None, name=name, hint=hint)])
    return path.read_text(encoding="utf-8")

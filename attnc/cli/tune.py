"""`attnc tune`: measure tiles on the GPU at hand, and ship the quickest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnc.cli.outcome import Outcome
from attnc.cli.progress import at
from attnc.cli.table import table
from attnc.dsl import codes
from attnc.dsl.diagnostics import UsageError
from attnc.dsl.render import Json

if TYPE_CHECKING:
    from attnc.backends.triton.tuning import Choice, Subject
    from attnc.compiler.kernel import Target

TargetOption = Annotated[
    str | None,
    typer.Option("--target", metavar="TARGET", help="The card; the one at hand, unless given."),
]
OnlyOption = Annotated[
    str,
    typer.Option(
        "--only", metavar="PATTERN", help="Rows to choose by name: pairs.64.*, resident.*"
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Compile what would be measured, which takes no GPU; write nothing."
    ),
]
FolderOption = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Where to write; attnc's own data, unless given."
    ),
]
NUMBERS = ("registers", "spills", "KiB", "matrix")


def tune(
    target: TargetOption = None,
    only: OnlyOption = "*",
    dry_run: DryRunOption = False,
    output: FolderOption = None,
) -> Outcome:
    """Choose the tiles of Triton's kernels on a GPU by measuring, and write them down."""
    from attnc.backends.triton import tuning
    from attnc.compiler.targets import parse_target

    card = target if target and dry_run else tuning.card_here()
    if target not in (None, card):
        detail = f"tiles of {target} are measured on it; this is {card}. --dry-run goes without"
        raise UsageError([codes.OPTION.at(None, option="--target", detail=detail)])
    found, on = tuning.subjects(card, only) if _listed(card) else [], parse_target(card)
    if not found:
        detail = f"no row of {card} matches {only!r}"
        raise UsageError([codes.OPTION.at(None, option="--only", detail=detail)])
    return _listing(found, on) if dry_run else _tuned(found, on, output)


def _listed(card: str) -> bool:
    from attnc.backends.triton.configs import CAPABILITIES

    return card in CAPABILITIES


def _listing(found: list[Subject], target: Target) -> Outcome:
    """List all that would be tried, with what the kernels take."""
    rows = [row for subject in found for row in _rows(subject, target)]
    header = ("row", "tile", *NUMBERS, "")
    result: list[Json] = [dict(zip(("row", "tile", *NUMBERS, "wrong"), row, strict=True))
                          for row in rows]  # fmt: skip
    return Outcome(table(header, rows, right=NUMBERS), result)


def _rows(subject: Subject, target: Target) -> Iterator[list[str]]:
    from attnc.backends.triton.tuning import resources, wrong_with

    for row in subject.tried():
        at(f"compiling {subject.name} = {[*row]}")
        made = resources(subject, row, target)
        taken = made.values()
        wrong = "; ".join(wrong_with(made, target))
        note = wrong or ("shipped" if row == subject.row else "")
        yield [
            subject.name,
            str([*row]),
            str(max(each.registers for each in taken)),
            str(sum(each.spills for each in taken)),
            f"{max(each.shared for each in taken) / 1024:.0f}",
            str(min(each.tensor_core for each in taken)),
            note,
        ]


def _tuned(found: list[Subject], target: Target, output: str | None) -> Outcome:
    from attnc.backends.triton import cards, tuning

    def has_room(subject: Subject, row: tuple[int, ...]) -> bool:
        at(f"measuring {subject.name} = {[*row]}")
        return not tuning.wrong_with(tuning.resources(subject, row, target), target)

    made = list(tuning.choices(found, has_room, tuning.measured(target)))
    card = str(target)
    folder = Path(output) if output else cards.FOLDER
    path = cards.write(card, tuning.changed(card, made), folder)
    lines = [_line(each) for each in made if each.row != each.subject.row]
    return Outcome(
        table(("row", "was", "is", "time"), lines) if lines else "",
        {"file": str(path), "changed": [list(line) for line in lines]},
        messages=(f"wrote {path}: {len(lines)} of {len(made)} rows changed",),
    )


def _line(choice: Choice) -> list[str]:
    old, new = choice.subject.row, choice.row
    share = f"{choice.times[new] / choice.times[old]:.2f}" if old in choice.times else "had no room"
    return [choice.subject.name, str([*old]), str([*new]), share]

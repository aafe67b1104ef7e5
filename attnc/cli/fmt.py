"""`attnc fmt`: one canonical form, and the way from one notation to the other."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff
from typing import Annotated

import typer

from attnc.cli.files import write
from attnc.cli.notation import notation_of, printed
from attnc.cli.options import NotationOption
from attnc.cli.outcome import Outcome
from attnc.dsl import codes
from attnc.dsl.diagnostics import AttncError, Diagnostic, UsageError
from attnc.dsl.render import Json

PathsArgument = Annotated[
    list[str],
    typer.Argument(metavar="FILE...", help="Spec files to rewrite; - is stdin to stdout."),
]
CheckOption = Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 on a change.")]
DiffOption = Annotated[bool, typer.Option("--diff", help="Print the changes; exit 1 on a change.")]
TargetOption = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write there instead; - is stdout."),
]


@dataclass(frozen=True, slots=True)
class Formatted:
    """A file's text before and after, and where the latter goes."""

    path: str
    before: str
    after: str
    target: str

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return self.before != self.after or self.target != self.path


def fmt(
    paths: PathsArgument,
    to: NotationOption = None,
    check: CheckOption = False,
    diff: DiffOption = False,
    output: TargetOption = None,
) -> Outcome:
    """Rewrite specs in canonical form; with --to, print them in the other notation."""
    if output and len(paths) > 1:
        detail = f"one file at a time, not {len(paths)}"
        raise UsageError([codes.OPTION.at(None, option="--output", detail=detail)])
    done: list[Formatted] = []
    found: list[Diagnostic] = []
    failure = AttncError.exit_code
    for path in paths:
        try:
            done.append(_formatted(path, to, output))
        except UsageError:
            raise
        except AttncError as error:
            found += error.diagnostics
            failure = max(failure, error.exit_code)
    changed = [each for each in done if each.changed]
    if diff or check:
        text = "".join(_diff(each) for each in changed) if diff else ""
        messages = tuple(f"would reformat {each.path}" for each in changed)
    else:
        text = "".join(each.after for each in done if each.target == "-")
        for each in changed:
            if each.target != "-":
                write(each.target, each.after)
        messages = (_count(len(changed), len(done)),)
    return Outcome(
        text,
        [_described(each) for each in done],
        messages=messages,
        ok=not (changed and (diff or check)),
        diagnostics=tuple(found),
        failure=failure,
    )


def _described(each: Formatted) -> Json:
    text = each.after if each.target == "-" else None
    return {"file": each.path, "changed": each.changed, "text": text}


def _formatted(path: str, to: NotationOption, output: str | None) -> Formatted:
    if path.startswith("zoo:"):
        detail = f"{path} is not yours to rewrite; copy it with `attnc zoo copy`"
        raise UsageError([codes.OPTION.at(None, option="fmt", detail=detail)])
    from attnc import api

    spec = api.load(path)
    source = spec.span.source
    own = notation_of(source)
    target = output or (path if to in (None, own) else "-")
    return Formatted(path, source.text, printed(spec, to or own), target)


def _diff(each: Formatted) -> str:
    lines = unified_diff(
        each.before.splitlines(keepends=True), each.after.splitlines(keepends=True),
        each.path, each.target,
    )  # fmt: skip
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _count(changed: int, done: int) -> str:
    def files(count: int) -> str:
        return "1 file" if count == 1 else f"{count} files"

    return f"{files(changed)} reformatted, {files(done - changed)} left unchanged"

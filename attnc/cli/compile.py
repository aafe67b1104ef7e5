"""`attnc compile`: from a spec to a package of plain Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnc.cli.options import (
    ForceOption,
    ResourcesOption,
    SetOption,
    SpecArgument,
    TargetOption,
    VariantOption,
)
from attnc.cli.outcome import Outcome
from attnc.cli.progress import at
from attnc.dsl import codes
from attnc.dsl.diagnostics import UsageError

if TYPE_CHECKING:
    from attnc.compiler.artefact import Artefact

DirectoryOption = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="DIR", help="The package to write; - prints model.py alone."
    ),
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Write nothing; exit 1 where the package would change.")
]
AheadOption = Annotated[
    str,
    typer.Option(
        "--aot",
        metavar="TARGET,...",
        help="Ship machine code of Triton's kernels in bfloat16 for these cards.",
    ),
]
PrintAfterOption = Annotated[
    str | None,
    typer.Option("--print-after", metavar="PASS", help="Print the graph after this pass."),
]
STAGES = {
    "module": "lowering and rewriting the graph",
    "plan": "choosing backends",
    "kernels": "generating kernels",
    "artefact": "printing the package",
}
"""The stages of a compilation, in order, and what each does."""


def compile(
    spec: SpecArgument,
    output: DirectoryOption,
    target: TargetOption = "cpu",
    variant: VariantOption = None,
    overrides: SetOption = None,
    check: CheckOption = False,
    force: ForceOption = False,
    print_after: PrintAfterOption = None,
    resources: ResourcesOption = False,
    aot: AheadOption = "",
) -> Outcome:
    """Compile a spec to a package that needs torch, and not attnc."""
    from attnc import api
    from attnc.compiler.artefact import write

    printed: list[str] = []
    at(f"checking {spec}")
    graph = api.check(spec, variant, overrides or ())
    compilation = api.Compilation(
        graph, target, print_after=print_after, show=lambda text: printed.append(f"{text}\n"),
        resources=resources, ahead=_cards(aot, target),
    )  # fmt: skip
    for stage, what in STAGES.items():
        at(what)
        getattr(compilation, stage)
    artefact = compilation.artefact
    text = "".join(printed)
    if output == "-":
        return Outcome(text + artefact.files["model.py"], dict(artefact.files))
    if check:
        return _compared(artefact, Path(output), text)
    write(artefact, Path(output), force=force)
    return Outcome(
        text,
        {"directory": output, "model": artefact.model, "files": list(artefact.contents)},
        messages=(f"wrote {output}: {', '.join(artefact.contents)}",),
    )


def _cards(text: str, target: str) -> tuple[str, ...]:
    """Return the cards that `--aot` names; kernels are there for a target that has them."""
    cards = tuple(each.strip() for each in text.split(",") if each.strip())
    if cards and target == "cpu":
        detail = "it goes with --target cuda:90 or such"
        raise UsageError([codes.OPTION.at(None, option="--aot", detail=detail)])
    return cards


def _compared(artefact: Artefact, directory: Path, text: str) -> Outcome:
    from attnc.compiler.artefact import differing

    names = differing(artefact, directory)
    messages = tuple(f"{directory / name} would change" for name in names)
    return Outcome(text, {"differ": list(names)}, messages=messages, ok=not names)

"""Arguments and options that several verbs take, spelt once."""

from __future__ import annotations

from typing import Annotated

import typer

from attnc.cli.notation import Notation


def complete_spec(incomplete: str) -> list[str]:
    """Complete `zoo:` names; paths are left to the shell."""
    if not incomplete.startswith("zoo:"):
        return []
    from attnc.zoo import names

    return [f"zoo:{name}" for name in names()]


def complete_zoo(_incomplete: str) -> list[str]:
    """Complete the names of the zoo, without `zoo:`."""
    from attnc.zoo import names

    return names()


SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A spec file, zoo:NAME, or - for stdin.",
        autocompletion=complete_spec,
    ),
]
SpecArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="SPEC...",
        help="Spec files, zoo:NAME, or - for stdin.",
        autocompletion=complete_spec,
    ),
]
VariantOption = Annotated[
    str | None, typer.Option("--variant", metavar="NAME", help="Take the params of this variant.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PARAM=VALUE",
        help="Override a param (a.b=1 reaches inside lists and maps); repeatable.",
    ),
]
OutputOption = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - is stdout.")
]
TargetOption = Annotated[
    str, typer.Option("--target", metavar="TARGET", help="cpu, cuda:80, cuda:90, hip:gfx942 ...")
]
ResourcesOption = Annotated[
    bool,
    typer.Option(
        "--resources",
        help="Compile Triton's kernels for the card: what they take, and the least time.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
NotationOption = Annotated[Notation | None, typer.Option("--to", help="The notation to write.")]

"""`attnc check`: is the spec right?"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from attnc.cli.options import SetOption, SpecArguments, VariantOption
from attnc.cli.outcome import Outcome
from attnc.dsl.diagnostics import AttncError, Diagnostic, UsageError
from attnc.dsl.render import Json

FormatOption = Annotated[
    Literal["text", "github", "sarif"],
    typer.Option("--format", help="Form of the diagnostics; github and sarif go to stdout."),
]
AllVariantsOption = Annotated[
    bool, typer.Option("--all-variants", help="Check each variant besides the defaults.")
]


def check(
    specs: SpecArguments,
    variant: VariantOption = None,
    overrides: SetOption = None,
    all_variants: AllVariantsOption = False,
    format: FormatOption = "text",
) -> Outcome:
    """Check syntax, names and shapes. No weights, no GPU, no torch."""
    found: list[Diagnostic] = []
    dropped = 0
    results: list[Json] = []
    for name in specs:
        try:
            results.append(_check(name, variant, overrides, all_variants))
        except UsageError:
            raise
        except AttncError as error:
            found += error.diagnostics
            dropped += error.dropped
            results.append({"spec": name, "ok": False})
    checked = "1 spec" if len(specs) == 1 else f"{len(specs)} specs"
    return Outcome(
        result=results,
        messages=() if found else (f"{checked} checked, no errors",),
        diagnostics=tuple(found),
        dropped=dropped,
        report=format,
    )


def _check(name: str, variant: str | None, overrides: list[str] | None, all_variants: bool) -> Json:
    from attnc import api

    spec = api.load(name)
    graph = api.check(spec, variant, overrides or ())
    for each in spec.variants if all_variants else ():
        api.check(spec, each.name, overrides or ())
    return {
        "spec": name,
        "ok": True,
        "model": spec.model,
        "inputs": {key: str(type_) for key, type_ in graph.inputs.items()},
        "outputs": {key: str(value.type) for key, value in graph.outputs.items()},
    }

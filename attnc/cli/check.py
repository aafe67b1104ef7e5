"""`attnc check`: is the spec right?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from attnc.cli.options import SetOption, SpecArguments, VariantOption
from attnc.cli.outcome import Outcome
from attnc.dsl.diagnostics import Collector, EnvironmentLacks, SpecError
from attnc.dsl.render import Json

if TYPE_CHECKING:
    from attnc.dsl.graph import Graph

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
    collector = Collector(limit=100 * len(specs))
    results: list[Json] = []
    failure = SpecError.exit_code
    details: list[str] = []
    for name in specs:
        found = Collector()
        result: dict[str, Json] = {}
        try:
            result = _check(name, variant, overrides or [], all_variants, found)
        except EnvironmentLacks as error:
            failure = error.exit_code
            found.found += error.diagnostics
        results.append({"spec": name, "ok": not found.found, **result})
        details.append(f"{name}: {'wrong' if found.found else 'ok'}")
        collector.absorb(found)
    checked = "1 spec" if len(specs) == 1 else f"{len(specs)} specs"
    return Outcome(
        result=results,
        messages=() if collector.found else (f"{checked} checked, no errors",),
        details=tuple(details),
        diagnostics=tuple(collector.found),
        failure=failure,
        dropped=collector.dropped,
        report=format,
    )


def _check(
    name: str, variant: str | None, overrides: list[str], all_variants: bool, found: Collector
) -> dict[str, Json]:
    from attnc import api

    result: dict[str, Json] = {}
    with _collecting(found):
        spec = api.load(name)
        for each in [variant, *(each.name for each in spec.variants if all_variants)]:
            with _collecting(found):
                graph = api.check(spec, each, overrides)
                result = result or _described(graph)
    return result


@contextmanager
def _collecting(found: Collector) -> Iterator[None]:
    """Go on after a wrong spec; what is said twice, for two variants, counts once."""
    try:
        yield
    except SpecError as error:
        for diagnostic in error.diagnostics:
            found.add(diagnostic)
        found.dropped += error.dropped


def _described(graph: Graph) -> dict[str, Json]:
    return {
        "model": graph.body.name,
        "inputs": {name: str(type_) for name, type_ in graph.inputs.items()},
        "outputs": {name: str(value.type) for name, value in graph.outputs.items()},
    }

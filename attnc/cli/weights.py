"""`attnc weights`: official checkpoints, checked from their headers and converted by the spec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from attnc.cli.options import SetOption, SpecArgument, VariantOption
from attnc.cli.outcome import Outcome
from attnc.cli.progress import at
from attnc.cli.table import table
from attnc.dsl.render import Json

if TYPE_CHECKING:
    from attnc.compiler.weights import CheckReport
    from attnc.dsl.graph import Weight
    from attnc.dsl.weightmap import WeightMap

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A safetensors file.")]
SourceOption = Annotated[
    str, typer.Option("--source", metavar="NAME", help="Whose names the file has; else the first.")
]
BackOption = Annotated[
    bool, typer.Option("--back", help="From our names to the official ones.")
]  # fmt: skip
TargetFileOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write.")
]


def check(
    spec: SpecArgument,
    file: FileArgument,
    source: SourceOption = "",
    variant: VariantOption = None,
    overrides: SetOption = None,
) -> Outcome:
    """Say how the tensors of a checkpoint fit the spec, from the file's header alone."""
    from attnc.compiler import weights
    from attnc.compiler.safetensors_header import read_header

    mapping, ours = _sides(spec, source, variant, overrides)
    return _reported(weights.check(mapping, ours, read_header(file).entries))


def convert(
    spec: SpecArgument,
    file: FileArgument,
    output: TargetFileOption,
    back: BackOption = False,
    source: SourceOption = "",
    variant: VariantOption = None,
    overrides: SetOption = None,
) -> Outcome:
    """Write a checkpoint under the spec's names; every tensor must fit."""
    from attnc.compiler.convert import convert

    mapping, ours = _sides(spec, source, variant, overrides)
    at(f"converting {file}")
    report = convert(mapping, ours, file, output, back=back)
    return _reported(report, f"wrote {output}" if report.ok else f"{output} was not written")


def inspect(file: FileArgument) -> Outcome:
    """List the tensors of a safetensors file."""
    from attnc.compiler import weights
    from attnc.compiler.safetensors_header import read_header

    seen = weights.inspect(read_header(file))
    rows = [(entry.name, entry.dtype, str(list(entry.shape))) for entry in seen.entries]
    totals = [
        f"{dtype}: {tensors} tensors, {elements:,} elements, {size:,} bytes"
        for dtype, (tensors, elements, size) in seen.totals.items()
    ]
    listed: Json = [
        {"name": entry.name, "dtype": entry.dtype, "shape": list(entry.shape)}
        for entry in seen.entries
    ]
    return Outcome(
        table(("tensor", "dtype", "shape"), rows),
        {"tensors": listed, "metadata": dict(seen.metadata)},
        messages=tuple(totals),
    )


def _sides(
    spec: str, source: str, variant: str | None, overrides: list[str] | None
) -> tuple[WeightMap, dict[str, Weight]]:
    from attnc import api
    from attnc.dsl.state import weights
    from attnc.dsl.weightmap import weight_map

    graph = api.check(spec, variant, overrides or ())
    return weight_map(graph.spec, graph.params, source), dict(weights(graph))


def _reported(report: CheckReport, *messages: str) -> Outcome:
    rows = [
        (finding.kind, finding.name, finding.detail, finding.nearest or "")
        for finding in report.findings
    ]
    linked = sum(len(link.ours) for link in report.links)
    counts = f"{linked} weights linked, {len(report.unused)} unused, findings: {len(rows)}"
    return Outcome(
        table(("finding", "name", "detail", "nearest"), rows) if rows else "",
        cast(Json, report.to_json()),
        messages=(counts, *messages),
        ok=report.ok,
    )

"""`attnc verify`: does a spec give the numbers of its official implementation?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from attnc.cli.options import SpecArgument, TargetOption
from attnc.cli.outcome import Outcome
from attnc.cli.progress import at
from attnc.cli.table import table
from attnc.dsl.render import Json

if TYPE_CHECKING:
    from attnc.compiler.comparison import Report, Row

GoldenOption = Annotated[
    Path, typer.Option("--golden", metavar="FILE", help="A golden file of the official code.")
]
DtypeOption = Annotated[
    Literal["float64", "float32", "float16", "bfloat16"],
    typer.Option("--dtype", help="What to compute in."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="Where to compute: cpu, cuda.")]


def verify(
    spec: SpecArgument,
    golden: GoldenOption,
    target: TargetOption = "reference",
    dtype: DtypeOption = "float64",
    device: DeviceOption = "cpu",
) -> Outcome:
    """Compare every output with a golden file; exit 1 where one is out of tolerance."""
    from attnc import api

    at(f"computing {spec} on {target} in {dtype}")
    report = api.verify(spec, golden, target=target, dtype=dtype, device=device)
    header = ("", "golden", "ours", "shape", "error", "limit", "why")
    text = table(header, [_row(row) for row in report.rows], right=("error", "limit"))
    return Outcome(
        text, cast(Json, report.to_json()), messages=tuple(_messages(report)), ok=report.ok
    )


def _row(row: Row) -> list[str]:
    error = row.difference.problem or f"{row.difference.relative:.1e}"
    names = ", ".join(row.golden)
    golden = f"{row.run}: {names}" if row.run else names
    state = "ok" if row.ok else "FAIL"
    return [state, golden, row.ours, str(list(row.shape)), error, f"{row.limit:.1e}", row.why]


def _messages(report: Report) -> list[str]:
    ignored = [f"not compared: {name}: {why}" for name, why in report.ignored.items()]
    weights = [
        f"weights: {finding.kind} {finding.name} {finding.detail}".rstrip()
        for check in report.weights
        for finding in check.findings
    ]
    failed = sum(not row.ok for row in report.rows)
    summary = f"{failed} of {len(report.rows)} comparisons out of tolerance"
    first = report.first_divergence
    return [
        *ignored,
        *weights,
        summary,
        *([f"first divergence: {', '.join(first.golden)}"] if first else []),
    ]

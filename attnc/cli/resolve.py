"""`attnc resolve`: the spec with every param settled."""

from __future__ import annotations

from typing import Annotated

import typer

from attnc.cli.files import write
from attnc.cli.notation import notation_of, printed
from attnc.cli.options import (
    NotationOption,
    OutputOption,
    SetOption,
    SpecArgument,
    VariantOption,
)
from attnc.cli.outcome import Outcome
from attnc.dsl.render import Json

OriginsOption = Annotated[
    bool, typer.Option("--origins", help="Note where each value came from.")
]  # fmt: skip
UnrollOption = Annotated[
    bool,
    typer.Option("--unroll", help="Unroll loops, branches and arithmetic: one operation a line."),
]


def resolve(
    spec: SpecArgument,
    variant: VariantOption = None,
    overrides: SetOption = None,
    origins: OriginsOption = False,
    unroll: UnrollOption = False,
    to: NotationOption = None,
    output: OutputOption = "-",
) -> Outcome:
    """Print the spec with all params settled: defaults, the variant, --set."""
    from attnc import api
    from attnc.dsl.resolved import resolved_spec
    from attnc.dsl.unroll import unrolled_spec
    from attnc.dsl.values import shown

    graph = api.check(spec, variant, overrides or ())
    settled = unrolled_spec(graph, origins) if unroll else resolved_spec(graph, origins)
    text = printed(settled, to or notation_of(graph.spec.span.source))
    params: Json = {
        name: {"value": shown(value), "origin": graph.origins[name]}
        for name, value in graph.params.items()
    }
    result: Json = {"spec": text, "params": params}
    if output == "-":
        return Outcome(text, result)
    write(output, text)
    return Outcome(result=result, messages=(f"wrote {output}",))

"""`attnc draw`: a picture of a model as text, in Mermaid's notation."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from attnc.cli.files import write
from attnc.cli.options import OutputOption, SetOption, SpecArgument, VariantOption
from attnc.cli.outcome import Outcome

BlockOption = Annotated[
    str, typer.Option("--block", metavar="PATH", help="Draw the block at this path: blocks.0.")
]
LevelOption = Annotated[
    Literal["block", "op"],
    typer.Option("--level", help="Blocks, weights and attention only; or every operation."),
]


def draw(
    spec: SpecArgument,
    variant: VariantOption = None,
    overrides: SetOption = None,
    block: BlockOption = "",
    level: LevelOption = "block",
    output: OutputOption = "-",
) -> Outcome:
    """Draw a model or one of its blocks as a Mermaid flowchart, shapes at the edges."""
    from attnc import api
    from attnc.dsl.picture import mermaid

    graph = api.check(spec, variant, overrides or ())
    text = mermaid(graph, block, level == "op")
    if output == "-":
        return Outcome(text, text)
    write(output, text)
    return Outcome(result=text, messages=(f"wrote {output}",))

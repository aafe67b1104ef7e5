"""`attnc show`: the parts of a model as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from attnc.cli.options import SetOption, SpecArgument, VariantOption
from attnc.cli.outcome import Outcome
from attnc.cli.sources import build
from attnc.cli.table import si, table
from attnc.dsl.render import Json

if TYPE_CHECKING:
    from attnc.dsl.dims import Size
    from attnc.dsl.graph import Body, Graph
    from attnc.dsl.summary import Part, Summary

DepthOption = Annotated[
    int, typer.Option("--depth", min=1, help="How many levels of blocks to open.")
]
FlopsOption = Annotated[bool, typer.Option("--flops", help="Add FLOPs of one forward pass.")]


def show(
    spec: SpecArgument,
    variant: VariantOption = None,
    overrides: SetOption = None,
    depth: DepthOption = 2,
    flops: FlopsOption = False,
) -> Outcome:
    """Print the parts of a model: shapes, params, FLOPs. Params and FLOPs are those of one."""
    from attnc.dsl.summary import Summary

    graph = build(spec, variant, overrides)
    summary = Summary(graph)
    parts = list(_opened(summary, graph.body, depth))
    header = (
        "module",
        "block",
        "times",
        "output",
        "params",
        *(("FLOPs",) if flops else ()),
        "line",
    )
    rows = [_row(level, part, flops) for level, part in parts]
    rows.append(_total(graph, summary, flops))
    return Outcome(
        table(header, rows, right=("times", "params", "FLOPs")), _result(graph, summary, parts)
    )


def _opened(summary: Summary, body: Body, depth: int, level: int = 0) -> Iterator[tuple[int, Part]]:
    for part in summary.parts(body):
        yield level, part
        if part.body is not None and level + 1 < depth:
            yield from _opened(summary, part.body, depth, level + 1)


def _row(level: int, part: Part, flops: bool) -> list[str]:
    times = str(part.count) if part.count > 1 else ""
    cost = [_flops(part.flops)] if flops else []
    line = f"{part.span.source.name}:{part.span.line}" if part.span else ""
    outputs = ", ".join(part.outputs)
    return [f"{'  ' * level}{part.name}", part.kind, times, outputs, si(part.params), *cost, line]


def _total(graph: Graph, summary: Summary, flops: bool) -> list[str]:
    outputs = ", ".join(str(value.type) for value in graph.outputs.values())
    cost = [_flops(summary.flops(graph.body))] if flops else []
    return ["total", graph.body.name, "", outputs, si(summary.params(graph.body)), *cost, ""]


def _flops(size: Size) -> str:
    """Shorten the numbers of a size: `4512*b*n` becomes `4.51k*b*n`."""
    return re.sub(r"\d{4,}", lambda digits: si(int(digits[0])), str(size))


def _result(graph: Graph, summary: Summary, parts: list[tuple[int, Part]]) -> Json:
    return {
        "model": graph.body.name,
        "inputs": {name: str(type_) for name, type_ in graph.inputs.items()},
        "outputs": {name: str(value.type) for name, value in graph.outputs.items()},
        "params": summary.params(graph.body),
        "flops": str(summary.flops(graph.body)),
        "parts": [
            {
                "level": level,
                "module": part.name,
                "block": part.kind,
                "times": part.count,
                "inputs": list(part.inputs),
                "outputs": list(part.outputs),
                "params": part.params,
                "flops": str(part.flops),
                "at": str(part.span) if part.span else None,
            }
            for level, part in parts
        ],
    }

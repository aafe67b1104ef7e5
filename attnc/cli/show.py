"""`attnc show`: the parts of a model as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from attnc.cli.options import SetOption, SpecArgument, VariantOption
from attnc.cli.outcome import Outcome
from attnc.cli.sizes import SizeOption, parse_sizes
from attnc.cli.table import si, table
from attnc.dsl.render import Json

if TYPE_CHECKING:
    from attnc.cli.parts import Part, Summary
    from attnc.compiler.cost import Flops
    from attnc.dsl.graph import Body, Graph

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
    size: SizeOption = None,
) -> Outcome:
    """Print the parts of a model: shapes, params, FLOPs. Params and FLOPs are those of one."""
    from attnc import api
    from attnc.cli.parts import Summary

    graph = api.check(spec, variant, overrides or ())
    sizes = _sizes(graph, size or [])
    summary = Summary(graph)
    parts = list(_opened(summary, graph.body, depth))
    counted = flops or bool(size)
    header = ("module", "block", "times", "output", "params", *(("FLOPs",) * counted), "line")
    rows = [_row(level, part, counted, sizes) for level, part in parts]
    rows.append(_total(graph, summary, counted, sizes))
    text = table(header, rows, right=("times", "params", "FLOPs"))
    return Outcome(text, _result(graph, summary, parts, sizes))


def _sizes(graph: Graph, given: list[str]) -> Mapping[str, int] | None:
    """Return the sizes to count for; none to count by formula."""
    from attnc.compiler.cost import complete

    sizes = parse_sizes(given)
    return complete(graph.inputs.values(), sizes) if sizes else None


def _opened(summary: Summary, body: Body, depth: int, level: int = 0) -> Iterator[tuple[int, Part]]:
    for part in summary.parts(body):
        yield level, part
        if part.body is not None and level + 1 < depth:
            yield from _opened(summary, part.body, depth, level + 1)


def _row(level: int, part: Part, counted: bool, sizes: Mapping[str, int] | None) -> list[str]:
    times = str(part.count) if part.count > 1 else ""
    cost = [_flops(part.flops, sizes)] if counted else []
    line = f"{part.span.source.name}:{part.span.line}" if part.span else ""
    outputs = ", ".join(part.outputs)
    return [f"{'  ' * level}{part.name}", part.kind, times, outputs, si(part.params), *cost, line]


def _total(
    graph: Graph, summary: Summary, counted: bool, sizes: Mapping[str, int] | None
) -> list[str]:
    outputs = ", ".join(str(value.type) for value in graph.outputs.values())
    cost = [_flops(summary.flops(graph.body), sizes)] if counted else []
    return ["total", graph.body.name, "", outputs, si(summary.params(graph.body)), *cost, ""]


def _flops(flops: Flops, sizes: Mapping[str, int] | None) -> str:
    """Return a number, or a formula with its numbers shortened: `4512*b*n` as `4.51k*b*n`."""
    if sizes is not None:
        return si(flops.at(sizes))
    return re.sub(r"\d{4,}", lambda digits: si(int(digits[0])), str(flops))


def _exactly(flops: Flops, sizes: Mapping[str, int] | None) -> Json:
    return str(flops) if sizes is None else flops.at(sizes)


def _result(
    graph: Graph,
    summary: Summary,
    parts: list[tuple[int, Part]],
    sizes: Mapping[str, int] | None,
) -> Json:
    return {
        "model": graph.body.name,
        "inputs": {name: str(type_) for name, type_ in graph.inputs.items()},
        "outputs": {name: str(value.type) for name, value in graph.outputs.items()},
        "params": summary.params(graph.body),
        "flops": _exactly(summary.flops(graph.body), sizes),
        "parts": [
            {
                "level": level,
                "module": part.name,
                "block": part.kind,
                "times": part.count,
                "inputs": list(part.inputs),
                "outputs": list(part.outputs),
                "params": part.params,
                "flops": _exactly(part.flops, sizes),
                "at": str(part.span) if part.span else None,
            }
            for level, part in parts
        ],
    }

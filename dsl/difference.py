"""What sets two checked models apart: params, weights, and the operations of their blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from typing import cast

from attnc.dsl.graph import Body, Graph, Weight
from attnc.dsl.state import bottom_up, parameter_count, weights
from attnc.dsl.unroll.lines import Outputs, named_lines, numbered_lines
from attnc.dsl.values import shown

ABSENT = "-"
"""Stands where one of the two has nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that both, or only one of them, has.

    Attributes:
        first, second: how the one and the other have it; `ABSENT` for not at all.
        count: how many of its kind changed alike.
    """

    name: str
    first: str
    second: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Block:
    """Two blocks in one place whose operations differ.

    Attributes:
        path: where they are called first; empty for the whole model.
        lines: as `diff -u` writes them, without headers of files.
    """

    path: str
    first: str
    second: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """All that differs."""

    params: tuple[Change, ...]
    totals: tuple[Change, ...]
    weights: tuple[Change, ...]
    blocks: tuple[Block, ...]

    @property
    def is_none(self) -> bool:
        """Whether the two are the same model with the same params."""
        return not (self.params or self.weights or self.blocks)


def difference(first: Graph, second: Graph) -> Difference:
    """Compare two models."""
    params = _shown(first.params), _shown(second.params)
    return Difference(
        tuple(_changes(*params)),
        tuple(_changes(_totals(first), _totals(second), keep_equal=True)),
        tuple(_grouped(_changes(_shapes(weights(first)), _shapes(weights(second))))),
        tuple(_blocks(first, second)),
    )


def _shown(params: Mapping[str, object]) -> dict[str, str]:
    return {name: shown(value) for name, value in params.items()}


def _totals(graph: Graph) -> dict[str, str]:
    bodies = [*bottom_up(graph.body)]
    count = {
        "trained parameters": parameter_count(graph),
        "weights and buffers": len(weights(graph)),
        "different blocks": len(bodies) - 1,
        "operations": _operations(bodies),
    }
    return {name: f"{number:,}" for name, number in count.items()}


def _operations(bodies: list[Body]) -> int:
    """Count the operations of one call of the last body, called blocks included."""
    known: dict[Body, int] = {}
    for body in bodies:
        known[body] = sum(
            1 if node.body is None else known[node.body]
            for node in body.nodes
            if node.op not in ("param", "weight")
        )
    return known[bodies[-1]]


def _shapes(state: Mapping[str, Weight]) -> dict[str, str]:
    kinds = {True: "", False: " buffer"}
    return {name: f"{list(each.shape)}{kinds[each.trainable]}" for name, each in state.items()}


def _changes(
    first: Mapping[str, str], second: Mapping[str, str], keep_equal: bool = False
) -> Iterator[Change]:
    for name in dict.fromkeys([*first, *second]):
        one, other = first.get(name, ABSENT), second.get(name, ABSENT)
        if one != other or keep_equal:
            yield Change(name, one, other)


def _grouped(changes: Iterator[Change]) -> Iterator[Change]:
    """Put weights that differ by numbers in their names, and change alike, together."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for each in changes:
        pattern = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", each.name)
        found.setdefault((pattern, each.first, each.second), []).append(each.name)
    for (pattern, one, other), names in found.items():
        yield Change(pattern if len(names) > 1 else names[0], one, other, len(names))


# Blocks -----------------------------------------------------------------------------------


def _blocks(first: Graph, second: Graph) -> Iterator[Block]:
    """Yield the model, then blocks called from places of one name, each pair once."""
    outputs = first.outputs, second.outputs
    seen: set[tuple[Body, Body]] = set()
    yield from _compared("", (first.body, second.body), outputs, seen)


def _compared(
    path: str,
    bodies: tuple[Body, Body],
    outputs: tuple[Outputs | None, Outputs | None],
    seen: set[tuple[Body, Body]],
) -> Iterator[Block]:
    if bodies in seen:
        return
    seen.add(bodies)
    lines = _differing(bodies, outputs)
    if lines:
        yield Block(path, bodies[0].name, bodies[1].name, lines)
    others = {node.module: cast(Body, node.body) for node in bodies[1].calls()}
    for node in bodies[0].calls():
        if node.module in others:
            inner = f"{path}.{node.module}" if path else cast(str, node.module)
            pair = cast(Body, node.body), others[node.module]
            yield from _compared(inner, pair, (None, None), seen)


def _differing(
    bodies: tuple[Body, Body], outputs: tuple[Outputs | None, Outputs | None]
) -> tuple[str, ...]:
    """Return the difference as the spec names things; by number where that would hide it."""
    numbered = [*map(numbered_lines, bodies, outputs)]
    if numbered[0] == numbered[1]:
        return ()
    return _unified(*map(named_lines, bodies, outputs)) or _unified(*numbered)


def _unified(first: list[str], second: list[str]) -> tuple[str, ...]:
    return tuple([*unified_diff(first, second, n=1, lineterm="")][2:])

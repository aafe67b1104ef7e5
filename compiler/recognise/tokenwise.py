"""Operators that compute each token for itself, and those that move tokens: either may be first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

from attnc.compiler.recognise.factors import named
from attnc.compiler.recognise.rewriting import Block, made
from attnc.dsl.graph import Arg, Node, Value
from attnc.dsl.ops import TABLE
from attnc.dsl.ops.notation import parse


def tokens_of(node: Node) -> str | None:
    """Return the parameter that holds tokens [..., d] of which each is computed alone, if any."""
    match node.op:
        case _ if node.train:
            return None
        case "add" | "subtract" | "multiply" | "divide":
            operands = [name for name in "ab" if _rank(node.args[name]) > 1]
            return operands[0] if len(operands) == 1 else None
        case "dropout":
            return "x" if node.args["p"] == 0 else None
        case "linear" | "negative":
            return "x"
    row = TABLE.get(node.op)
    if row is None or (row.family != "activation" and node.op not in _WITHIN):
        return None
    x = cast(Value, node.args["x"])
    return "x" if node.args.get("axis", -1) in (-1, len(x.shape) - 1) else None


_WITHIN = frozenset({"layer_norm", "rms_norm", "l2_normalize", "split", "chunk"})
"""Operators along an axis, which is of no account to tokens where it is the last one."""


def computed_of(node: Node, x: Value, results: tuple[Value, ...] | None = None) -> Node:
    """Return what a token-wise node computes, of other tokens; with new results unless given."""
    args = {**node.args, cast(str, tokens_of(node)): x}
    if "axis" in args:
        args["axis"] = -1
    found = replace(made(node.op, node, results, **args), module=node.module)
    return found if results else named(found, node)


def moves_tokens(node: Node) -> bool:
    """Say whether a node only moves tokens [..., d] as they are: a `rearrange`, or a `roll`."""
    if node.train:
        return False
    rank = len(cast(Value, node.args["x"]).shape) if node.op in ("rearrange", "roll") else 0
    match node.op:
        case "roll":
            return rank - 1 not in {axis % rank for axis in _axes(node)}
        case "rearrange":
            notation = parse(cast(str, node.args["pattern"])).for_rank(rank)
            return len(notation.left[-1]) == 1 and notation.left[-1] == notation.right[-1]
    return False


def moved(node: Node, x: Value, results: tuple[Value, ...] | None = None) -> Node:
    """Return a `roll` or `rearrange` of another tensor; axes that it does not cut may differ."""
    args = {**node.args, "x": x}
    if node.op == "rearrange":
        left = parse(cast(str, args["pattern"])).for_rank(len(x.shape)).left
        whole = {name for group in left if len(group) == 1 for name in group}
        sizes = cast(Mapping[str, Arg], args["sizes"])
        args["sizes"] = {name: size for name, size in sizes.items() if name not in whole}
    found = made(node.op, node, results, **args)
    return found if results else named(found, node)


def moves_before(value: Value, block: Block) -> tuple[Node, ...]:
    """Return the nodes that bring tokens where they are, the first one first.

    That is a `roll` if there is one, and what cuts what it gives; the last one alone may move
    tokens into the batch.
    """
    found: list[Node] = []
    node = block.makers.get(value)
    while node is not None and moves_tokens(node) and not (found and _moves_batch(node)):
        found.insert(0, node)
        node = None if node.op == "roll" else block.makers.get(cast(Value, node.args["x"]))
    return tuple(found)


def moves_behind(node: Node, block: Block) -> tuple[Node, ...]:
    """Return the nodes that bring the tokens of a result elsewhere, each alone in reading them.

    The first one alone may move tokens out of the batch, and a `roll` is the last.
    """
    found: list[Node] = []
    for reader in readers(node, block):
        if not moves_tokens(reader) or (found and _moves_batch(reader)):
            break
        found.append(reader)
        if reader.op == "roll":
            break
    return tuple(found)


def readers(node: Node, block: Block) -> Iterator[Node]:
    """Yield what reads a result, what reads that, and so on, while each has one reader alone."""
    while len(node.results) == 1:
        reader = block.reader(node.results[0])
        if reader is None:
            return
        yield reader
        node = reader


def _moves_batch(node: Node) -> bool:
    return cast(Value, node.args["x"]).shape[0] != node.results[0].shape[0]


def shifts_of(node: Node) -> Mapping[int, Arg]:
    """Return by how much a `roll` moves along each axis."""
    rank = len(cast(Value, node.args["x"]).shape)
    shifts = node.args["shifts"]
    each = shifts if isinstance(shifts, tuple) else (shifts,)
    return {axis % rank: shift for axis, shift in zip(_axes(node), each, strict=True)}


def _axes(node: Node) -> tuple[int, ...]:
    axes = node.args["axes"]
    return cast(tuple[int, ...], axes if isinstance(axes, tuple) else (axes,))


def _rank(arg: Arg) -> int:
    return len(arg.shape) if isinstance(arg, Value) else 0

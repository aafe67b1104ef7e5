"""Attention to keys joined from several streams reads the streams where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from attnc.compiler.recognise.factors import TOKENS
from attnc.compiler.recognise.rewriting import Block
from attnc.dsl.attention import All, Attention, Source
from attnc.dsl.graph import Arg, Node, Value
from attnc.dsl.scorelang import coordinates


def concatenated_keys(node: Node, block: Block) -> Sequence[Node] | None:
    """Recognise keys and values that are joined along the tokens for one attention alone.

    Then each stream is a source of its own under one softmax, and nothing is copied. That serves
    kernels that stream keys; on the CPU one long product is faster than several short ones.
    """
    if node.op != "attend" or block.target.kind == "cpu":
        return None
    attention = cast(Attention, node.args["attention"])
    streams = cast(tuple[tuple[Value | None, Value], ...], node.args["sources"])
    if len(streams) > 1 or not _is_alike(attention.sources[0], attention):
        return None
    keys, values = (_parts(each, block) for each in streams[0])
    if len(keys) < 2 or [k.shape[TOKENS] for k in keys] != [v.shape[TOKENS] for v in values]:
        return None
    sources = attention.sources * len(keys)
    args: dict[str, Arg] = {
        **node.args,
        "sources": tuple(zip(keys, values, strict=True)),
        "attention": replace(attention, sources=sources),
    }
    return [replace(node, args=args)]


def _parts(stream: Value | None, block: Block) -> tuple[Value, ...]:
    """Return what is joined along the tokens; a single stream is itself."""
    joined = block.own(stream, "concat")
    if joined is None or joined.args["axis"] not in (TOKENS, TOKENS - 4):
        return () if stream is None else (stream,)
    return cast(tuple[Value, ...], joined.args["tensors"])


def _is_alike(source: Source, attention: Attention) -> bool:
    """Say whether the place of a key among all is of no account."""
    trees = (source.score, source.mask, source.post)
    reads = any("j" in coordinates(tree) for tree in trees if tree is not None)
    return source.domain == All() and not reads and not attention.given

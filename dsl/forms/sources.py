"""`source(k, v, ...)`: a key and value stream with its own domain, score, mask and weight."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.dsl import codes, scorelang, tree
from attnc.dsl.attention import All, Constant, Domain, Dot, Grid, ScoreTree, Source, Weight
from attnc.dsl.builder import Builder
from attnc.dsl.dims import Dim
from attnc.dsl.expressions import fail
from attnc.dsl.forms.capture import Extra, noted, typed_capture
from attnc.dsl.forms.form import Form, arguments, sizes, tensor
from attnc.dsl.graph import Value
from attnc.dsl.spans import Span
from attnc.dsl.values import DomainValue, SourceValue, noun

PIECES = ("domain", "score", "scale", "mask", "weight", "post", "grid", "key_grid")
"""What a source says for itself."""


def _source(builder: Builder, expr: tree.Call, label: str | None) -> object:
    positional, named = arguments(expr, "source", PIECES)
    if len(positional) != 2:
        fail(codes.ARGUMENT.at(expr.span, op="source", detail="takes a key and a value tensor"))
    k, v = (tensor(builder, each, what) for each, what in zip(positional, "kv", strict=True))
    return make_source(builder, k, v, named, expr.span)


def make_source(
    builder: Builder, k: Value | None, v: Value, named: Mapping[str, tree.Expr], span: Span
) -> SourceValue:
    """Make a source of tensors and the pieces named for it; k is none where products are given."""
    extra = _scale(builder, k, named, span)
    tensors: dict[str, Value] = {}
    domain = _domain(builder, named.get("domain"), tensors)
    score = _piece(builder, named.get("score"), "float", extra, tensors)
    if score is None:
        score = scorelang.simplify(scorelang.product(Dot(), Constant(extra["scale"])))
    mask = _piece(builder, named.get("mask"), "bool", extra, tensors)
    weight = _piece(builder, named.get("weight"), "float", extra, tensors)
    post = _piece(builder, named.get("post"), "float", {**extra, "w": Weight()}, tensors)
    source = Source(domain, score, mask, weight, post)
    return SourceValue(k, v, source, tuple(tensors.items()), _grid(builder, named))


def _scale(
    builder: Builder, k: Value | None, named: Mapping[str, tree.Expr], span: Span
) -> dict[str, float]:
    """Return the scale by name: d ** -0.5 unless stated, 1 for given products."""
    if "scale" in named:
        value = builder.evaluate(named["scale"])
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            fail(codes.ARGUMENT.at(
                named["scale"].span, op="attend", detail=f"scale is a number, not {noun(value)}",
                hint="put a tensor into the score: score = qk * temperature[h]",
            ))  # fmt: skip
        return {"scale": value}
    width = k.shape[-1] if k is not None and k.shape else 1
    if isinstance(width, Dim):
        fail(codes.ARGUMENT.at(
            span, op="attend", detail=f"width {width} is symbolic", hint="state the scale"
        ))  # fmt: skip
    return {"scale": float(width) ** -0.5}


def _grid(builder: Builder, named: Mapping[str, tree.Expr]) -> Grid | None:
    """Return the grid of the tokens; keys have that of the queries unless stated."""
    if "grid" not in named:
        if "key_grid" in named:
            fail(codes.ARGUMENT.at(
                named["key_grid"].span, op="attend", detail="key_grid goes with grid"
            ))  # fmt: skip
        return None
    queries = sizes(builder, named["grid"], "attend", "grid")
    keys = sizes(builder, named["key_grid"], "attend", "key_grid") if "key_grid" in named else None
    return Grid(queries, keys or queries)


def _domain(builder: Builder, expr: tree.Expr | None, tensors: dict[str, Value]) -> Domain:
    value = DomainValue(All()) if expr is None else builder.evaluate(expr)
    if not isinstance(value, DomainValue):
        where = expr.span if expr is not None else None
        fail(codes.ARGUMENT.at(
            where, op="attend", detail=f"domain is a domain, not {noun(value)}",
            hint="domains are all, causal, band, where, windows, stripes, neighborhood, "
            "overlapping, groups, blocks, routed, sampled, per_heads",
        ))  # fmt: skip
    used = value.tensors
    return scorelang.with_trees(value.domain, lambda each: noted(each, used, tensors))


def _piece(
    builder: Builder,
    expr: tree.Expr | None,
    kind: str,
    extra: Extra,
    tensors: dict[str, Value],
) -> ScoreTree | None:
    captured = None if expr is None else typed_capture(builder, expr, kind, extra)
    return None if captured is None else noted(captured.tree, captured.tensors, tensors)


SOURCE = Form(_source)

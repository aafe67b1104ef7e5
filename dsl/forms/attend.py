"""The operator: `attend(q, k, v)`, `attend(q, [source(k, v)])`, `attend(scores = s, v = v)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from attnc.dsl import codes, scorelang, tree
from attnc.dsl.attention import (
    Attention,
    Constant,
    Normaliser,
    ScoreTree,
    SoftmaxBoth,
    Source,
    Unnormalised,
)
from attnc.dsl.builder import Builder
from attnc.dsl.expressions import fail
from attnc.dsl.forms.agreement import check_agreement
from attnc.dsl.forms.capture import noted, typed_capture
from attnc.dsl.forms.form import Form, arguments, tensor
from attnc.dsl.forms.normalisers import Tensors, normaliser
from attnc.dsl.forms.placing import placed
from attnc.dsl.forms.results import result_types
from attnc.dsl.forms.sources import PIECES, make_source
from attnc.dsl.graph import Arg, Value
from attnc.dsl.values import Fields, SourceValue, noun

_GIVEN = ("scores", "weights")
_ATTEND = (*PIECES, "v", "vq", *_GIVEN, "join", "normalize", "renormalize", "outputs")
_OUTPUTS = ("weights", "slot_weights", "scores", "lse", "index", "received")
_JOINS = ("softmax", "sum")
_STREAMS = "takes q, k, v; or q and a list of sources; or scores = s, v = v; or weights = w, v = v"


def _attend(builder: Builder, expr: tree.Call, label: str | None) -> object:
    positional, named = arguments(expr, "attend", _ATTEND)
    q, sources = _streams(builder, positional, named, expr)
    vq = tensor(builder, named["vq"], "vq") if "vq" in named else None
    tensors: Tensors = {}
    pieces = tuple(_merged(source, placed(source, q, expr.span), tensors) for source in sources)
    rows = _rows(builder, named.get("renormalize"), tensors)
    normalised = _normaliser(builder, named, tensors)
    two_ways = ("back",) if isinstance(normalised, SoftmaxBoth) else ()
    attention = Attention(
        pieces,
        _word(builder, named.get("join"), "join", _JOINS, "softmax"),
        normalised,
        tuple(tensors),
        ("out", *two_ways, *_outputs(named.get("outputs"))),
        rows,
        sources[0].k is None,
    )
    check_agreement(attention, vq is not None, expr.span)
    types = result_types(q, sources, vq, attention, expr.span)
    args: dict[str, Arg] = {
        "q": q,
        "sources": tuple((source.k, source.v) for source in sources),
        "vq": vq,
        "tensors": tuple(tensors.values()),
        "attention": attention,
    }
    results = builder.add("attend", args, types, expr.span)
    return results[0] if len(results) == 1 else Fields(results, attention.outputs)


# Streams ----------------------------------------------------------------------------------


def _streams(
    builder: Builder,
    positional: list[tree.Expr],
    named: Mapping[str, tree.Expr],
    expr: tree.Call,
) -> tuple[Value, list[SourceValue]]:
    """Return q and the sources; where products are given they are q, and there is no k."""
    given = [name for name in _GIVEN if name in named]
    if given:
        if positional or len(given) > 1 or "v" not in named:
            fail(codes.ARGUMENT.at(expr.span, op="attend", detail=_STREAMS))
        pieces = {key: value for key, value in named.items() if key in PIECES}
        v = tensor(builder, named["v"], "v")
        q = tensor(builder, named[given[0]], given[0])
        return q, [make_source(builder, None, v, pieces, expr.span)]
    if not 2 <= len(positional) <= 3 or len(positional) + ("v" in named) not in (2, 3):
        fail(codes.ARGUMENT.at(expr.span, op="attend", detail=_STREAMS))
    q = tensor(builder, positional[0], "q")
    return q, _sources(builder, positional[1:], named, expr)


def _sources(
    builder: Builder,
    positional: list[tree.Expr],
    named: Mapping[str, tree.Expr],
    expr: tree.Call,
) -> list[SourceValue]:
    pieces = {key: value for key, value in named.items() if key in PIECES}
    values = [*positional[1:], *([named["v"]] if "v" in named else [])]
    if values:
        k, v = tensor(builder, positional[0], "k"), tensor(builder, values[0], "v")
        return [make_source(builder, k, v, pieces, expr.span)]
    if pieces:
        fail(codes.ARGUMENT.at(
            expr.span, op="attend", detail=f"{next(iter(pieces))} belongs into each source(...)"
        ))  # fmt: skip
    given = builder.evaluate(positional[0])
    items = list(given) if isinstance(given, (list, tuple)) else [given]
    sources = [item for item in items if isinstance(item, SourceValue)]
    if not sources or len(sources) != len(items):
        fail(codes.ARGUMENT.at(
            positional[0].span, op="attend", detail=f"takes a list of sources, not {noun(given)}",
            hint="write attend(q, [source(k, v), source(k2, v2)])",
        ))  # fmt: skip
    return sources


def _merged(source: SourceValue, piece: Source, tensors: Tensors) -> Source:
    """Return a placed source with its tensors noted under names that all sources share."""
    return replace(
        piece,
        domain=scorelang.with_trees(
            piece.domain, lambda each: noted(each, source.tensors, tensors)
        ),
        score=noted(piece.score, source.tensors, tensors),
        mask=None if piece.mask is None else noted(piece.mask, source.tensors, tensors),
        weight=None if piece.weight is None else noted(piece.weight, source.tensors, tensors),
        post=None if piece.post is None else noted(piece.post, source.tensors, tensors),
    )


# Reduction --------------------------------------------------------------------------------


def _normaliser(builder: Builder, named: Mapping[str, tree.Expr], tensors: Tensors) -> Normaliser:
    if "weights" not in named:
        return normaliser(builder, named.get("normalize"), tensors)
    if "normalize" in named:
        fail(codes.ARGUMENT.at(
            named["normalize"].span, op="attend", detail="weights = w are normalised already",
            hint="write scores = s to normalise",
        ))  # fmt: skip
    return Unnormalised()


def _rows(builder: Builder, expr: tree.Expr | None, tensors: Tensors) -> ScoreTree | None:
    """Return which rows to renormalise: a condition on b, h and i; none for no row."""
    captured = None if expr is None else typed_capture(builder, expr, "bool", {})
    if expr is None or captured is None or captured.tree == Constant(False):
        return None
    rows = captured.tree
    if not scorelang.coordinates(rows) <= {"b", "h", "i"} or scorelang.reads_pair(rows):
        fail(codes.SCORE.at(expr.span, detail="renormalize chooses rows: by b, h and i only"))
    return noted(rows, captured.tensors, tensors)


def _word(
    builder: Builder,
    expr: tree.Expr | None,
    what: str,
    known: Mapping[str, object] | tuple[str, ...],
    default: str,
) -> str:
    """Read a word such as `softmax`; a name in scope stands for its value."""
    if expr is None:
        return default
    word: object = expr.span.text
    if isinstance(expr, tree.Text):
        word = expr.value
    elif isinstance(expr, tree.Name) and expr.id in builder.scope:
        word = builder.scope[expr.id]
    if isinstance(word, str) and word in known:
        return word
    fail(codes.ARGUMENT.at(
        expr.span, op="attend", detail=f"{what} is one of {', '.join(known)}"
    ))  # fmt: skip


def _outputs(expr: tree.Expr | None) -> tuple[str, ...]:
    items = expr.items if isinstance(expr, tree.ListOf) else () if expr is None else (expr,)
    names = []
    for item in items:
        if not isinstance(item, tree.Name) or item.id not in _OUTPUTS or item.id in names:
            fail(codes.ARGUMENT.at(
                item.span, op="attend", detail=f"outputs are {', '.join(_OUTPUTS)}, each once"
            ))  # fmt: skip
        names.append(item.id)
    return tuple(names)


ATTEND = Form(_attend)

"""`attend(q, k, v, ...)` and `attend(q, [source(...), ...], ...)`: the attention operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from attnc.dsl import codes, tree
from attnc.dsl.attention import Attention, Normaliser, SoftmaxKeys, Source, Where
from attnc.dsl.builder import Builder
from attnc.dsl.expressions import fail
from attnc.dsl.forms.capture import noted
from attnc.dsl.forms.form import Form, arguments, tensor
from attnc.dsl.forms.results import result_types
from attnc.dsl.forms.sources import PIECES, make_source
from attnc.dsl.graph import Arg, Value
from attnc.dsl.spans import Span
from attnc.dsl.values import Fields, SourceValue, noun

_ATTEND = (*PIECES, "v", "join", "normalize", "outputs")
_NORMALISERS: Mapping[str, Normaliser] = {
    "softmax": SoftmaxKeys(),
    "softmax(keys)": SoftmaxKeys(),
}
_OUTPUTS = ("weights", "scores", "lse")
_JOINS = ("softmax", "sum")


def _attend(builder: Builder, expr: tree.Call, label: str | None) -> object:
    positional, named = arguments(expr, "attend", _ATTEND)
    if not 2 <= len(positional) <= 3 or len(positional) + ("v" in named) not in (2, 3):
        fail(codes.ARGUMENT.at(
            expr.span, op="attend", detail="takes q, k, v or q and a list of sources"
        ))  # fmt: skip
    q = tensor(builder, positional[0], "q")
    sources = _sources(builder, positional[1:], named, expr)
    tensors: dict[str, Value] = {}
    pieces = tuple(_merged(source, tensors) for source in sources)
    attention = Attention(
        pieces,
        _word(builder, named.get("join"), "join", _JOINS, "softmax"),
        _NORMALISERS[_word(builder, named.get("normalize"), "normalize", _NORMALISERS, "softmax")],
        tuple(tensors),
        ("out", *_outputs(named.get("outputs"))),
    )
    _check_join(attention, expr.span)
    types = result_types(q, sources, attention, expr.span)
    args: dict[str, Arg] = {
        "q": q,
        "sources": tuple((source.k, source.v) for source in sources),
        "tensors": tuple(tensors.values()),
        "attention": attention,
    }
    results = builder.add("attend", args, types, expr.span)
    return results[0] if len(results) == 1 else Fields(results, attention.outputs)


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


def _merged(source: SourceValue, tensors: dict[str, Value]) -> Source:
    """Return the source with its tensors noted under names that all sources share."""
    piece = source.source
    domain = piece.domain
    if isinstance(domain, Where):
        domain = Where(noted(domain.condition, source.tensors, tensors))
    return replace(
        piece,
        domain=domain,
        score=noted(piece.score, source.tensors, tensors),
        mask=None if piece.mask is None else noted(piece.mask, source.tensors, tensors),
        weight=None if piece.weight is None else noted(piece.weight, source.tensors, tensors),
    )


def _check_join(attention: Attention, span: Span) -> None:
    weighted = any(source.weight is not None for source in attention.sources)
    if weighted and attention.join != "sum":
        fail(codes.ARGUMENT.at(
            span, op="attend", detail="weight needs join = sum",
            hint="under one softmax, add log(weight) to the score instead",
        ))  # fmt: skip
    if attention.join == "sum" and len(attention.outputs) > 1:
        fail(codes.ARGUMENT.at(
            span, op="attend", detail="with join = sum there is no single weights, scores or lse",
            hint="attend to each source on its own to get its outputs",
        ))  # fmt: skip


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

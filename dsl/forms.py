"""Forms of the core, whose arguments are not all ordinary values: attend, source, param, domains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from attnc.dsl import codes, scorelang, tree
from attnc.dsl.attention import (
    All,
    Attention,
    Band,
    Causal,
    Constant,
    Domain,
    Dot,
    Normaliser,
    ScoreTree,
    SoftmaxKeys,
    Source,
    Where,
)
from attnc.dsl.builder import Builder
from attnc.dsl.dims import Dim, Size
from attnc.dsl.expressions import fail
from attnc.dsl.graph import Arg, Scalar, TensorType, Value
from attnc.dsl.spans import Span
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.values import Captured, DomainValue, Fields, SourceValue, noun


@dataclass(frozen=True, slots=True)
class Form:
    """A form: how it is built, and which calls of its name it takes."""

    build: Callable[[Builder, tree.Call, str | None], object]
    takes: Callable[[tree.Call], bool] = lambda call: True


# Scores -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Scope:
    """What names mean inside a score: the builder's scope, and tensors noted as they are used."""

    builder: Builder
    extra: Mapping[str, float]
    tensors: dict[str, Value] = field(default_factory=dict)

    def lookup(self, name: str) -> scorelang.Known | None:
        """Return a number, a size or the type of a tensor; none for an unknown name."""
        value = self.extra.get(name, self.builder.scope.get(name))
        if isinstance(value, Value):
            self.tensors[name] = value
            return value.type
        if isinstance(value, (bool, int, float, Dim)):
            return value
        return None


def capture(
    builder: Builder, expr: tree.Expr, extra: Mapping[str, float] | None = None
) -> object:
    """Build the tree of a score, mask or weight expression in the builder's scope.

    A name that stands for a captured expression already, or for none, is passed on.
    """
    if isinstance(expr, tree.Nothing):
        return None
    if isinstance(expr, tree.Name) and isinstance(
        builder.scope.get(expr.id, 0), (Captured, type(None))
    ):
        return builder.scope[expr.id]
    scope = _Scope(builder, extra or {})
    try:
        tree_ = scorelang.build(expr, scope, [*builder.scope, *scope.extra])
    except scorelang.ScoreError as wrong:
        fail(codes.SCORE.at(wrong.span, detail=wrong.detail, hint=wrong.help))
    used = scorelang.loads(tree_)
    kept = tuple((name, value) for name, value in scope.tensors.items() if name in used)
    return Captured(tree_, kept)


def _typed(
    builder: Builder, expr: tree.Expr, kind: str, extra: Mapping[str, float]
) -> Captured | None:
    captured = capture(builder, expr, extra)
    if captured is None or not isinstance(captured, Captured):
        return None
    found = captured.tree.type
    if (found == "bool") != (kind == "bool"):
        what = "a truth value" if kind == "bool" else "a number"
        fail(codes.SCORE.at(expr.span, detail=f"this must be {what}, and is of type {found}"))
    return captured


# Domains ----------------------------------------------------------------------------------


def _causal(builder: Builder, expr: tree.Call, label: str | None) -> object:
    return DomainValue(Causal(*_sizes(builder, expr, "causal", ("offset",))))


def _band(builder: Builder, expr: tree.Call, label: str | None) -> object:
    left, right = _sizes(builder, expr, "band", ("left", "right"))
    return DomainValue(Band(left, right))


def _where(builder: Builder, expr: tree.Call, label: str | None) -> object:
    captured = _typed(builder, expr.arguments[0].value, "bool", {})
    if captured is None:
        return None
    return DomainValue(Where(captured.tree), captured.tensors)


def _sizes(
    builder: Builder, expr: tree.Call, name: str, parameters: tuple[str, ...]
) -> list[Size]:
    found: dict[str, Size] = {}
    for position, argument in enumerate(expr.arguments):
        key = argument.name or (parameters[position] if position < len(parameters) else "")
        if key not in parameters or key in found:
            fail(codes.ARGUMENT.at(
                argument.span, op=name, detail=f"takes {', '.join(parameters)}"
            ))  # fmt: skip
        found[key] = builder.size(argument.value, f"{key} of {name}")
    missing = [key for key in parameters if key not in found]
    if missing:
        fail(codes.ARGUMENT.at(expr.span, op=name, detail=f"argument {missing[0]!r} is missing"))
    return [found[key] for key in parameters]


# Attention --------------------------------------------------------------------------------

_PIECES = ("domain", "score", "scale", "mask", "weight")
_ATTEND = (*_PIECES, "v", "join", "normalize", "outputs")
_NORMALISERS: Mapping[str, Normaliser] = {
    "softmax": SoftmaxKeys(),
    "softmax(keys)": SoftmaxKeys(),
}
_OUTPUTS = ("weights", "scores", "lse")
_JOINS = ("softmax", "sum")


def _source(builder: Builder, expr: tree.Call, label: str | None) -> object:
    positional, named = _arguments(expr, "source", _PIECES)
    if len(positional) != 2:
        fail(codes.ARGUMENT.at(expr.span, op="source", detail="takes a key and a value tensor"))
    k, v = (_tensor(builder, each, what) for each, what in zip(positional, "kv", strict=True))
    return _make_source(builder, k, v, named, expr.span)


def _make_source(
    builder: Builder, k: Value, v: Value, named: Mapping[str, tree.Expr], span: Span
) -> SourceValue:
    extra = _scale(builder, k, named, span)
    tensors: dict[str, Value] = {}
    domain = _domain(builder, named.get("domain"), tensors)
    score = _piece(builder, named.get("score"), "float", extra, tensors)
    if score is None:
        score = scorelang.simplify(scorelang.product(Dot(), Constant(extra["scale"])))
    mask = _piece(builder, named.get("mask"), "bool", extra, tensors)
    weight = _piece(builder, named.get("weight"), "float", extra, tensors)
    return SourceValue(k, v, Source(domain, score, mask, weight), tuple(tensors.items()))


def _scale(
    builder: Builder, k: Value, named: Mapping[str, tree.Expr], span: Span
) -> dict[str, float]:
    """Return the scale by name: d ** -0.5 unless stated."""
    if "scale" in named:
        value = builder.evaluate(named["scale"])
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            fail(codes.ARGUMENT.at(
                named["scale"].span, op="attend", detail=f"scale is a number, not {noun(value)}",
                hint="put a tensor into the score: score = qk * temperature[h]",
            ))  # fmt: skip
        return {"scale": value}
    width = k.shape[-1] if k.shape else 1
    if isinstance(width, Dim):
        fail(codes.ARGUMENT.at(
            span, op="attend", detail=f"width {width} is symbolic", hint="state the scale"
        ))  # fmt: skip
    return {"scale": float(width) ** -0.5}


def _domain(
    builder: Builder, expr: tree.Expr | None, tensors: dict[str, Value]
) -> Domain:
    value = DomainValue(All()) if expr is None else builder.evaluate(expr)
    if not isinstance(value, DomainValue):
        where = expr.span if expr is not None else None
        fail(codes.ARGUMENT.at(
            where, op="attend", detail=f"domain is a domain, not {noun(value)}",
            hint="domains are all, causal, causal(offset), band(left, right), where(condition)",
        ))  # fmt: skip
    if isinstance(value.domain, Where):
        return Where(_noted(value.domain.condition, value.tensors, tensors))
    return value.domain


def _piece(
    builder: Builder,
    expr: tree.Expr | None,
    kind: str,
    extra: Mapping[str, float],
    tensors: dict[str, Value],
) -> ScoreTree | None:
    captured = None if expr is None else _typed(builder, expr, kind, extra)
    return None if captured is None else _noted(captured.tree, captured.tensors, tensors)


def _noted(
    tree_: ScoreTree, used: tuple[tuple[str, Value], ...], tensors: dict[str, Value]
) -> ScoreTree:
    """Add the tensors of a tree to `tensors`; a name taken by another tensor is changed."""
    renamed: dict[str, str] = {}
    for name, value in used:
        chosen, count = name, 0
        while tensors.get(chosen, value) is not value:
            count += 1
            chosen = f"{name}_{count}"
        tensors[chosen] = value
        if chosen != name:
            renamed[name] = chosen
    return scorelang.rename(tree_, renamed) if renamed else tree_


def _attend(builder: Builder, expr: tree.Call, label: str | None) -> object:
    positional, named = _arguments(expr, "attend", _ATTEND)
    if not 2 <= len(positional) <= 3 or len(positional) + ("v" in named) not in (2, 3):
        fail(codes.ARGUMENT.at(
            expr.span, op="attend", detail="takes q, k, v or q and a list of sources"
        ))  # fmt: skip
    q = _tensor(builder, positional[0], "q")
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
    types = _result_types(q, sources, attention, expr.span)
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
    pieces = {key: value for key, value in named.items() if key in _PIECES}
    values = [*positional[1:], *([named["v"]] if "v" in named else [])]
    if values:
        k, v = _tensor(builder, positional[0], "k"), _tensor(builder, values[0], "v")
        return [_make_source(builder, k, v, pieces, expr.span)]
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
        domain = Where(_noted(domain.condition, source.tensors, tensors))
    return replace(
        piece,
        domain=domain,
        score=_noted(piece.score, source.tensors, tensors),
        mask=None if piece.mask is None else _noted(piece.mask, source.tensors, tensors),
        weight=None if piece.weight is None else _noted(piece.weight, source.tensors, tensors),
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


def _result_types(
    q: Value, sources: list[SourceValue], attention: Attention, span: Span
) -> tuple[TensorType, ...]:
    b, h, n, d = _four(q, "q", span)
    total: Size = 0
    width: Size | None = None
    for source in sources:
        kb, kh, m, kd = _four(source.k, "k", span)
        vb, vh, vm, e = _four(source.v, "v", span)
        _same("k", (b, kh, m, d), source.k, kb == b and kd == d, span)
        _same("v", (b, kh, m, e), source.v, vb == b and vh == kh and vm == m, span)
        _same("v", (b, kh, m, width or e), source.v, width in (None, e), span)
        divides = isinstance(h, int) and isinstance(kh, int) and kh > 0 and h % kh == 0
        if kh != h and not divides:
            fail(codes.SHAPE.at(
                span, what="heads of k", expected=f"a divisor of {h}, the heads of q", found=kh
            ))  # fmt: skip
        total, width = total + m, e
    shapes = {
        "out": (b, h, n, width if width is not None else d),
        "weights": (b, h, n, total),
        "scores": (b, h, n, total),
        "lse": (b, h, n),
    }
    return tuple(TensorType(shapes[name]) for name in attention.outputs)


def _four(value: Value, name: str, span: Span) -> tuple[Size, Size, Size, Size]:
    if len(value.shape) != 4:
        fail(codes.RANK.at(
            span, what=f"{name} of attend", expected="[b, h, n, d]", found=value.type
        ))  # fmt: skip
    b, h, n, d = value.shape
    return b, h, n, d


def _same(name: str, expected: tuple[Size, ...], value: Value, holds: bool, span: Span) -> None:
    if not holds:
        fail(codes.SHAPE.at(
            span, what=f"{name} of attend", expected=TensorType(expected), found=value.type
        ))  # fmt: skip


def _tensor(builder: Builder, expr: tree.Expr, name: str) -> Value:
    value = builder.evaluate(expr)
    if not isinstance(value, Value):
        fail(codes.NOT_A_TENSOR.at(
            expr.span, what=f"{name} of attend", detail=f"takes a tensor, not {noun(value)}"
        ))  # fmt: skip
    return value


def _arguments(
    expr: tree.Call, name: str, known: tuple[str, ...]
) -> tuple[list[tree.Expr], dict[str, tree.Expr]]:
    positional = [each.value for each in expr.arguments if each.name is None]
    named: dict[str, tree.Expr] = {}
    for each in expr.arguments:
        if each.name is None:
            continue
        if each.name not in known or each.name in named:
            fail(codes.ARGUMENT.at(
                each.span, op=name, detail=f"has no parameter {each.name!r}"
                if each.name not in known else f"argument {each.name!r} is given twice",
                hint=did_you_mean(each.name, known),
            ))  # fmt: skip
        named[each.name] = each.value
    return positional, named


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


# Weights ----------------------------------------------------------------------------------


def _weight(trainable: bool, default: str) -> Callable[[Builder, tree.Call, str | None], object]:
    def build(builder: Builder, expr: tree.Call, label: str | None) -> object:
        name = "param" if trainable else "buffer"
        positional, named = _arguments(expr, name, ("shape", "init"))
        given = positional[0] if positional else named.get("shape")
        if given is None or len(positional) > 2:
            fail(codes.ARGUMENT.at(expr.span, op=name, detail="takes a shape and an init"))
        shape = _weight_shape(builder, given, name)
        written = positional[1] if len(positional) == 2 else named.get("init")
        init = default if written is None else builder.evaluate(written)
        if not isinstance(init, (str, int, float)) or isinstance(init, bool):
            fail(codes.ARGUMENT.at(
                expr.span, op=name, detail=f'init is a text such as "zeros", not {noun(init)}'
            ))  # fmt: skip
        kind = init if isinstance(init, str) else f"constant({init})"
        path = builder.claim(expr, label, name)
        args: dict[str, Scalar | tuple[int, ...]] = {
            "shape": shape, "init": kind, "trainable": trainable,
        }  # fmt: skip
        types = (TensorType(shape),)
        return builder.add("param", args, types, expr.span, module=path, name=path.split(".")[0])[0]

    return build


def _weight_shape(builder: Builder, expr: tree.Expr, name: str) -> tuple[int, ...]:
    items = builder.evaluate(expr)
    sizes = list(items) if isinstance(items, (list, tuple)) else [items]
    whole = tuple(s for s in sizes if isinstance(s, int) and not isinstance(s, bool) and s >= 0)
    if len(whole) != len(sizes):
        fail(codes.ARGUMENT.at(
            expr.span, op=name,
            detail=f"a weight has fixed sizes, not [{', '.join(map(str, sizes))}]",
            hint="fix the size by a param",
        ))  # fmt: skip
    return whole


FORMS: Mapping[str, Form] = {
    "attend": Form(_attend),
    "source": Form(_source),
    "param": Form(_weight(True, "normal(0.02)")),
    "buffer": Form(_weight(False, "zeros")),
    "causal": Form(_causal),
    "band": Form(_band),
    "where": Form(_where, lambda call: len(call.arguments) == 1),
}

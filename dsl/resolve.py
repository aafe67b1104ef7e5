"""Params: defaults, a variant's overrides, `--set`; every value with its origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import Collector, Note
from attnc.dsl.expressions import Evaluator, Fault, Poisoned, fail
from attnc.dsl.spans import Source, Span
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.values import POISON, OpRef, noun, shown

Overrides = Sequence[str] | Mapping[str, object]
"""`["heads=8", "stages.3.depth=2"]`, or values by path."""


@dataclass(slots=True)
class Resolved:
    """The value of every param, and where it came from, in words."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Override:
    name: str
    path: tuple[str, ...]
    value: object
    text: str


class _ParamEvaluator(Evaluator):
    """Names that are operators count as operators: `act = gelu`."""

    def __init__(self, scope: dict[str, object], functions: Mapping[str, object]) -> None:
        super().__init__(scope)
        self.functions = functions

    def missing(self, expr: tree.Name) -> object:
        """Look among operators and blocks."""
        if expr.id in self.functions:
            return self.functions[expr.id]
        return super().missing(expr)


def resolve(
    spec: tree.Spec,
    variant: str | None,
    overrides: Overrides,
    functions: Mapping[str, object],
    collector: Collector,
) -> Resolved:
    """Give every param its value: default, then the variant's, then `--set`.

    Args:
        functions: operators and blocks that a param may name.
    """
    chosen = _chosen(spec, variant, collector)
    given = _read_overrides(spec, overrides, functions, collector)
    resolved = Resolved()
    evaluator = _ParamEvaluator(resolved.values, functions)
    for param in spec.params:
        name = param.name
        try:
            _resolve_one(param, chosen, given.get(name, []), evaluator, resolved)
        except Fault as fault:
            collector.add(fault.diagnostic)
            resolved.values[name] = POISON
        except Poisoned:
            resolved.values[name] = POISON
    return resolved


def _resolve_one(
    param: tree.Param,
    variant: tree.Variant | None,
    overrides: list[_Override],
    evaluator: _ParamEvaluator,
    resolved: Resolved,
) -> None:
    name, values = param.name, resolved.values
    mine = dict(variant.overrides).get(name) if variant else None
    whole = [override for override in overrides if not override.path]
    if param.default is not None:
        values[name] = evaluator.evaluate(param.default)
        resolved.origins[name] = "default"
        check_param(param, values[name], param.default.span)
    expected = values.get(name)
    if mine is not None and variant is not None:
        with _told(f"variant {variant.name}", param):
            values[name] = check_param(param, evaluator.evaluate(mine), mine.span, expected)
        resolved.origins[name] = f"variant {variant.name}"
    for override in [*whole, *(other for other in overrides if other.path)]:
        changed = _placed(values.get(name), override, override.path)
        declared = _as_declared(changed, expected, evaluator)
        with _told(f"--set {override.text}", param):
            values[name] = check_param(param, declared, None, expected)
        resolved.origins[name] = "--set"
    if name not in values:
        fail(codes.NO_VALUE.at(param.span, name=name))


@contextmanager
def _told(origin: str, param: tree.Param) -> Iterator[None]:
    """Say of a fault where the value came from, and where its param is declared."""
    try:
        yield
    except Fault as fault:
        found = fault.diagnostic
        note = Note("the param is declared here", param.span)
        message = f"{origin}: {found.message}"
        fail(replace(found, message=message, notes=(*found.notes, note)))


def _as_declared(value: object, expected: object, evaluator: _ParamEvaluator) -> object:
    """A text given for an operator names the operator."""
    if isinstance(expected, OpRef) and isinstance(value, str):
        return evaluator.functions.get(value, value)
    return value


def check_param(
    param: tree.Param, value: object, span: Span | None, expected: object = None
) -> object:
    """Return `value`, brought to the declared type (an int to a float), or fail.

    Args:
        expected: the default, whose kind a value must have where no type is declared.
    """
    kind = param.type or _kind(expected)
    if kind == "float" and type(value) is int:
        value = float(value)
    if value is not None and kind and _kind(value) not in (kind, None):
        fail(codes.WRONG_KIND.at(
            span, where=f"param {param.name!r}", expected=_KIND_WORDS[kind], found=noun(value)
        ))  # fmt: skip
    for item in value if isinstance(value, (list, tuple)) else [value]:
        _check_bounds(param, item, span)
        _check_choice(param, item, span)
    if param.fixed and expected is not None and value != expected:
        bound = f"{shown(expected)}, as it is fixed"
        fail(codes.OUT_OF_RANGE.at(span, name=param.name, value=shown(value), bound=bound))
    return value


def _check_bounds(param: tree.Param, number: object, span: Span | None) -> None:
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        return
    low, high = param.minimum, param.maximum
    if low is not None and number < low:
        fail(codes.OUT_OF_RANGE.at(span, name=param.name, value=number, bound=f"at least {low}"))
    if high is not None and number > high:
        fail(codes.OUT_OF_RANGE.at(span, name=param.name, value=number, bound=f"at most {high}"))


def _check_choice(param: tree.Param, value: object, span: Span | None) -> None:
    if param.choices and value not in param.choices:
        allowed = ", ".join(shown(choice) for choice in param.choices)
        fail(codes.OUT_OF_RANGE.at(
            span, name=param.name, value=shown(value), bound=f"one of {allowed}",
            hint=param.doc or did_you_mean(str(value), [str(choice) for choice in param.choices]),
        ))  # fmt: skip


_KINDS: Mapping[type, str] = {
    bool: "bool", int: "int", float: "float", str: "string", list: "list", tuple: "list",
    dict: "map", OpRef: "op",
}  # fmt: skip
_KIND_WORDS = {
    "bool": "true or false", "int": "a whole number", "float": "a number", "string": "a text",
    "list": "a list", "map": "a map", "op": "an operator", "score": "a score expression",
}  # fmt: skip


def _kind(value: object) -> str | None:
    return _KINDS.get(type(value))


def _chosen(spec: tree.Spec, name: str | None, collector: Collector) -> tree.Variant | None:
    known = {param.name for param in spec.params}
    for variant in spec.variants:
        for (key, value), span in zip_longest(variant.overrides, variant.key_spans):
            if key not in known:
                collector.add(codes.UNKNOWN_PARAM.at(
                    span or value.span, name=key, label=f"in variant {variant.name}",
                    hint=did_you_mean(key, known),
                ))  # fmt: skip
    if name is None:
        return None
    for variant in spec.variants:
        if variant.name == name:
            return variant
    names = [variant.name for variant in spec.variants]
    listed = f"variants: {', '.join(names)}" if names else "this spec has no variants"
    collector.add(
        codes.UNKNOWN_VARIANT.at(None, name=name, hint=did_you_mean(name, names) or listed)
    )
    return None


def _read_overrides(
    spec: tree.Spec,
    overrides: Overrides,
    functions: Mapping[str, object],
    collector: Collector,
) -> dict[str, list[_Override]]:
    known = [param.name for param in spec.params]
    grouped: dict[str, list[_Override]] = {}
    pairs: Sequence[tuple[str, object, str]]
    if isinstance(overrides, Mapping):
        pairs = [(path, value, f"{path}={shown(value)}") for path, value in overrides.items()]
    else:
        pairs = [pair for text in overrides if (pair := _parsed(text, functions, collector))]
    for path, value, text in pairs:
        name, *rest = path.split(".")
        if name not in known:
            collector.add(codes.BAD_SET.at(
                None, text=text, detail=f"there is no param {name!r}",
                hint=did_you_mean(name, known) or _listed(known),
            ))  # fmt: skip
            continue
        grouped.setdefault(name, []).append(_Override(name, tuple(rest), value, text))
    return grouped


def _listed(names: list[str]) -> str:
    return f"params: {', '.join(names)}" if names else "this spec has no params"


def _parsed(
    text: str, functions: Mapping[str, object], collector: Collector
) -> tuple[str, object, str] | None:
    from attnc.dsl.text_reader import read_expression

    path, equals, right = text.partition("=")
    if not equals or not path.strip() or not right.strip():
        collector.add(codes.BAD_SET.at(
            None, text=text, detail="an override reads name=value", hint="write --set heads=8"
        ))  # fmt: skip
        return None
    source = Source("--set", text)
    heard = Collector()
    expr = read_expression(source, len(path) + 1, len(text), heard)
    if expr is None:
        detail = heard.found[0].message if heard.found else "the value cannot be read"
        collector.add(codes.BAD_SET.at(None, text=text, detail=detail))
        return None
    try:
        return path.strip(), _TextEvaluator({}, functions).evaluate(expr), text
    except Fault as fault:
        collector.add(codes.BAD_SET.at(None, text=text, detail=fault.diagnostic.message))
        return None


class _TextEvaluator(_ParamEvaluator):
    """On the command line a bare word that is no operator is a text, as in YAML."""

    def missing(self, expr: tree.Name) -> object:
        """Take the word as it stands."""
        return self.functions.get(expr.id, expr.id)


def _placed(old: object, override: _Override, path: tuple[str, ...]) -> object:
    """Return `old` with the item at `path` replaced."""
    if not path:
        return override.value
    key, rest = path[0], path[1:]
    if isinstance(old, Mapping) and key in old:
        return {**old, key: _placed(old[key], override, rest)}
    if (
        isinstance(old, (list, tuple))
        and key.lstrip("-").isdigit()
        and -len(old) <= int(key) < len(old)
    ):
        items = list(old)
        items[int(key)] = _placed(items[int(key)], override, rest)
        return items
    fail(codes.BAD_SET.at(
        None, text=override.text, detail=f"{noun(old)} has no item {key!r}"
    ))  # fmt: skip

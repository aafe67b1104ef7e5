"""The `parity:` data: how a golden file drives a spec.

```yaml
parity:
  source: official                          # of `weights`; the first one where left out
  params: {depth: config.depth, heads: "config.dim // 64"}
  inputs: {image: in.x}
  outputs: {logits: out.logits}
  taps: {"mid.block{k}.branch{i}": "blocks.{k}[{i}]"}
  runs:                                     # the same weights in several ways; adds to the above
    plain: {params: {steered: "false"}, outputs: {logits: out.logits_plain}}
    train: {mode: train, outputs: {aux: out_train.aux}, unused: ["head.*"]}
  tolerance: {"out.x": {relative: 2e-6, why: the official run rounds its tables to float32}}
  ignore: {"out.lr": a number of the training loop}
```
Values of `params`, and tolerances, are expressions over `config` and over `shapes`, which has a
list for each input of the file: `shapes.x[2]`; a param may use those before it. Beside a name,
`{from: name, ops: [...]}` brings a golden tensor to our layout, with the operations of `weights`. A
tap is the path of a module: `path` or `path[1]` is its result, `path(0)` what it is called with, at
its first call. In a tap `{config.key}` stands for a text or number of the configuration. Where a
file holds the weights of several models, `prefix` says which a run loads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import Collector
from attnc.dsl.name_pattern import Pattern
from attnc.dsl.plain_data import Record, evaluated, texts
from attnc.dsl.spans import Span
from attnc.dsl.weight_rules import Rule, make_rules, read_patterns, read_rules

MODES = {"eval": False, "train": True}

_WORD = re.compile(r"\{config\.(\w+)\}")


@dataclass(frozen=True, slots=True)
class Tap:
    """A place inside a model: a result, or an argument, of a module."""

    path: str
    result: int | None = None
    argument: int | None = None

    @classmethod
    def read(cls, text: str) -> Tap:
        """Read `path`, `path[1]` or `path(0)`."""
        found = re.fullmatch(r"(.*?)(?:\[(\d+)\]|\((\d+)\))?", text, re.DOTALL)
        path, result, argument = found.groups() if found else (text, None, None)
        return cls(path or "", _number(result), _number(argument))


@dataclass(frozen=True, slots=True)
class Run:
    """One way to run a model.

    Attributes:
        name: empty where a spec has but one.
        source: of the weights.
        prefix: stands before the names of the weights that this run loads.
        params: values of the spec's params.
        inputs, outputs: name of ours -> the rule that leads from the golden file to it.
        taps: rules from golden names to places.
        training: whether the model runs in training mode.
        unused: official weights that this run never reads.
    """

    name: str
    source: str
    prefix: str
    params: Mapping[str, object]
    inputs: Mapping[str, Rule]
    outputs: Mapping[str, Rule]
    taps: tuple[Rule, ...] = ()
    training: bool = False
    unused: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A relative error that some outputs may have in float64, and the reason."""

    names: tuple[Pattern, ...]
    relative: float
    why: str


@dataclass(frozen=True, slots=True)
class Parity:
    """All runs of a spec, and what is known about the golden outputs.

    Attributes:
        ignored: outputs that no run gives -> the reason.
    """

    runs: tuple[Run, ...]
    tolerances: tuple[Tolerance, ...] = ()
    ignored: tuple[tuple[Pattern, str], ...] = ()

    def tolerance(self, name: str) -> Tolerance | None:
        """Return the tolerance stated for a golden tensor, or none."""
        for tolerance in self.tolerances:
            if any(pattern.match(name) is not None for pattern in tolerance.names):
                return tolerance
        return None

    def why_ignored(self, name: str) -> str | None:
        """Return why an output may stay without comparison, or none."""
        reasons = (why for pattern, why in self.ignored if pattern.match(name) is not None)
        return next(reasons, None)


def read_parity(spec: tree.Spec, names: Mapping[str, object]) -> Parity:
    """Read `parity:` for a golden file.

    Args:
        names: what its expressions may use, `Golden.facts`.

    Raises:
        SpecError: the spec has no such data, or it is wrong.
    """
    collector = Collector()
    if spec.parity is None:
        detail = f"{spec.model} has no `parity`, so no golden file can drive it"
        collector.add(codes.PARITY.at(spec.span, detail=detail))
        collector.raise_if_any()
    record = Record.of(spec.parity or tree.MapOf((), spec.span), "parity", collector)
    base = _without(record, ("runs", "tolerance", "ignore"))
    own = record.record("runs").items or {"": tree.MapOf((), record.span)}
    parity = Parity(
        runs=tuple(_run(name, _merged(base, node), names, collector) for name, node in own.items()),
        tolerances=tuple(_tolerances(record.record("tolerance"), names)),
        ignored=tuple(_ignored(record.record("ignore"))),
    )
    collector.raise_if_any()
    return parity


def _without(record: Record, keys: tuple[str, ...]) -> tree.MapOf:
    kept = [(key, node) for key, node in record.items.items() if key not in keys]
    spans = tuple(record.keys.get(key, record.span) for key, _ in kept)
    return tree.MapOf(tuple(kept), record.span, spans)


def _merged(base: tree.Expr, own: tree.Expr) -> tree.Expr:
    """Return `base` with the entries of `own` added or put in place, map by map."""
    if not isinstance(base, tree.MapOf) or not isinstance(own, tree.MapOf):
        return own
    entries = dict(base.items)
    for key, node in own.items:
        entries[key] = _merged(entries[key], node) if key in entries else node
    spans = _spans(base) | _spans(own)
    return tree.MapOf(tuple(entries.items()), own.span, tuple(spans[key] for key in entries))


def _spans(node: tree.MapOf) -> dict[str, Span]:
    spans = node.key_spans or (node.span,) * len(node.items)
    return {key: span for (key, _), span in zip(node.items, spans, strict=True)}


def _run(name: str, node: tree.Expr, names: Mapping[str, object], collector: Collector) -> Run:
    record = Record.of(node, f"run {name!r} of parity" if name else "parity", collector)
    params = record.record("params")
    mode = record.text("mode", "eval")
    if mode not in MODES:
        detail = f"mode is `eval` or `train`, not {mode!r}"
        collector.add(codes.PARITY.at(record.items["mode"].span, detail=detail))
    run = Run(
        name=name,
        source=record.text("source"),
        prefix=record.text("prefix"),
        params=_params(params, names, collector),
        inputs=_bindings(record.record("inputs"), names),
        outputs=_bindings(record.record("outputs"), names),
        taps=read_rules(_worded(record.take("taps"), names, collector), "taps", names, collector),
        training=MODES.get(mode, False),
        unused=read_patterns(record.take("unused"), "unused", collector),
    )
    record.close()
    return run


def _worded(
    node: tree.Expr | None, names: Mapping[str, object], collector: Collector
) -> tree.Expr | None:
    """Put words of the configuration in place of `{config.key}` in all texts of a node."""
    config = names["config"]
    assert isinstance(config, Mapping)

    def word(found: re.Match[str]) -> str:
        value = config.get(found[1])
        return str(value) if isinstance(value, (str, int)) else found[0]

    def change(part: tree.Expr) -> tree.Expr:
        match part:
            case tree.Text(value, span):
                text = _WORD.sub(word, value)
                if left := _WORD.search(text):
                    detail = f"the configuration holds no text or number {left[1]!r}"
                    collector.add(codes.PARITY.at(span, detail=detail))
                return tree.Text(_WORD.sub("", text), span)
            case tree.ListOf(items):
                return replace(part, items=tuple(map(change, items)))
            case tree.MapOf(items):
                return replace(part, items=tuple((key, change(value)) for key, value in items))
        return part

    return None if node is None else change(node)


def _params(
    record: Record, names: Mapping[str, object], collector: Collector
) -> Mapping[str, object]:
    """Evaluate params in their order; each may use those before it."""
    values: dict[str, object] = {}
    for key, node in record.items.items():
        values[key] = evaluated(node, {**values, **names}, collector)
    return values


def _bindings(record: Record, names: Mapping[str, object]) -> dict[str, Rule]:
    """Read `ours: golden` and `ours: {from: golden, ops: [...]}`."""
    found: dict[str, Rule] = {}
    for name, node in record.items.items():
        target = tree.Text(name, record.keys.get(name, node.span))
        source, ops = node, None
        if isinstance(node, tree.MapOf):
            inner = Record.of(node, f"{name!r} of {record.where}", record.collector)
            source, ops = inner.need("from") or node, inner.take("ops")
            inner.close()
        rules = make_rules((source, target), ops, names, record.collector, node.span)
        if rules:
            found[name] = rules[0]
    return found


def _tolerances(record: Record, names: Mapping[str, object]) -> list[Tolerance]:
    found = []
    for name, node in record.items.items():
        inner = Record.of(node, f"tolerance of {name!r}", record.collector)
        relative, why = inner.need("relative"), inner.need("why")
        value = evaluated(relative, names, record.collector) if relative is not None else 0.0
        reason = texts(why, f"why of {name!r}", record.collector)
        inner.close()
        if not isinstance(value, (int, float)) or not 0 <= value < 1:
            detail = f"the tolerance of {name!r} is a relative error from 0 to 1"
            record.collector.add(codes.PARITY.at(node.span, detail=detail))
        elif reason and _says(reason[0], record):
            which = read_patterns(tree.Text(name, node.span), "tolerance", record.collector)
            found.append(Tolerance(which, float(value), reason[0].value))
    return found


def _ignored(record: Record) -> list[tuple[Pattern, str]]:
    found = []
    for name, node in record.items.items():
        reason = texts(node, f"{name!r} of ignore", record.collector)
        if reason and _says(reason[0], record):
            names = read_patterns(tree.Text(name, node.span), "ignore", record.collector)
            found += [(pattern, reason[0].value) for pattern in names]
    return found


def _says(reason: tree.Text, record: Record) -> bool:
    if reason.value.strip():
        return True
    detail = f"{record.where} states no reason"
    record.collector.add(codes.PARITY.at(reason.span, detail=detail))
    return False


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)

"""Rules between two sets of tensor names: `from`, `to`, and the operations between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import Collector
from attnc.dsl.name_pattern import Pattern, patterns
from attnc.dsl.plain_data import Record, texts, wrong_kind
from attnc.dsl.spans import Span
from attnc.dsl.weight_ops import Op
from attnc.dsl.weight_ops_reader import PER_TENSOR, read_ops

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """Tensors that `sources` name become, by `ops`, the tensors that `targets` name."""

    sources: tuple[Pattern, ...]
    targets: tuple[Pattern, ...]
    ops: tuple[Op, ...]
    span: Span

    def links(self, name: str, side: tuple[Pattern, ...]) -> Iterator[tuple[Names, Names]]:
        """Yield the source and target names that go with `name`, one of those on `side`."""
        for pattern in side:
            values = pattern.match(name)
            if values is None:
                continue
            sources = _filled(self.sources, values)
            targets = _filled(self.targets, values)
            if sources and targets:
                yield sources, targets


def read_rules(
    node: tree.Expr | None, where: str, params: Mapping[str, object], collector: Collector
) -> tuple[Rule, ...]:
    """Read a map `from: to`, or a list of such pairs and of `{from, to, ops}`.

    Args:
        params: what expressions for sizes may use.
    """
    if node is None:
        return ()
    if not isinstance(node, (tree.ListOf, tree.MapOf)):
        wrong_kind(node, where, "rules", collector)
        return ()
    items = node.items if isinstance(node, tree.ListOf) else _pairs(node)
    return tuple(rule for item in items for rule in _read_rule(item, where, params, collector))


def make_rules(
    ends: tuple[tree.Expr | None, tree.Expr | None],
    ops: tree.Expr | None,
    params: Mapping[str, object],
    collector: Collector,
    span: Span,
) -> tuple[Rule, ...]:
    """Make the rules that one `from`, `to` and `ops` stand for.

    Where no operation joins or parts tensors, that is one for each pair of names; else one for
    all.
    """
    left, right = (read_patterns(end, "a rule", collector) for end in ends)
    if not left or not right:
        return ()
    _check_holes(left + right, collector, span)
    made = read_ops(ops, (len(left), len(right)), params, collector, span)
    if made is None:
        return ()
    if all(isinstance(op, PER_TENSOR) for op in made):
        return tuple(Rule((a,), (b,), made, span) for a, b in zip(left, right, strict=True))
    return (Rule(left, right, made, span),)


def read_patterns(node: tree.Expr | None, where: str, collector: Collector) -> tuple[Pattern, ...]:
    """Read one pattern or a list of patterns."""
    found: list[Pattern] = []
    for text in texts(node, where, collector):
        try:
            found += patterns(text.value)
        except ValueError as error:
            collector.add(codes.WEIGHT_RULE.at(text.span, detail=str(error)))
    return tuple(found)


def _read_rule(
    item: tree.Expr, where: str, params: Mapping[str, object], collector: Collector
) -> tuple[Rule, ...]:
    record = Record.of(item, f"a rule of {where}", collector)
    if len(record.items) == 1 and "from" not in record.items:
        ((key, target),) = record.items.items()
        source = tree.Text(key, record.keys.get(key, target.span))
        return make_rules((source, target), None, params, collector, target.span)
    ends = record.need("from"), record.need("to")
    rules = make_rules(ends, record.take("ops"), params, collector, item.span)
    record.close()
    return rules


def _pairs(node: tree.MapOf) -> list[tree.MapOf]:
    spans = node.key_spans or (node.span,) * len(node.items)
    return [
        tree.MapOf((pair,), span.to(pair[1].span), (span,))
        for pair, span in zip(node.items, spans, strict=True)
    ]


def _filled(side: tuple[Pattern, ...], values: Mapping[str, str]) -> Names:
    """Return the names that the values give; none where one of them cannot be written."""
    names = tuple(name for pattern in side if (name := pattern.fill(values)) is not None)
    return names if len(names) == len(side) else ()


def _check_holes(sides: tuple[Pattern, ...], collector: Collector, span: Span) -> None:
    """Report holes that some name of the rule lacks: it could not be read both ways."""
    shared = frozenset.intersection(*(pattern.holes for pattern in sides))
    for pattern in sides:
        for hole in sorted(pattern.holes - shared):
            shown = "*" if hole.startswith("*") else f"{{{hole}}}"
            detail = f"{shown} of {pattern.text!r} stands not in every name of the rule"
            collector.add(codes.WEIGHT_RULE.at(span, detail=detail))

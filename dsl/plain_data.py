"""Reading the plain data of a spec (`paper`, `weights`, `parity`): keys one by one, with spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import Collector, SpecError
from attnc.dsl.spans import Source, Span
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.values import noun

_NOUNS: Mapping[type, str] = {
    tree.Number: "a number", tree.Text: "a text", tree.Flag: "a truth value",
    tree.Nothing: "none", tree.ListOf: "a list", tree.MapOf: "a map",
}  # fmt: skip


@dataclass(slots=True)
class Record:
    """A map of plain data. What `close` finds untaken is reported as unknown.

    Attributes:
        where: what to call it in messages: `parity`.
        span: the whole map.
        items: key -> value.
        keys: key -> where the key stands.
        collector: takes all findings.
    """

    where: str
    span: Span
    items: dict[str, tree.Expr]
    keys: dict[str, Span]
    collector: Collector
    _taken: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, node: tree.Expr, where: str, collector: Collector) -> Record:
        """Open `node`; one that is no map is reported and counts as empty."""
        if not isinstance(node, tree.MapOf):
            wrong_kind(node, where, "a map", collector)
            return cls(where, node.span, {}, {}, collector)
        names = [key for key, _ in node.items]
        spans = dict(zip(names, node.key_spans, strict=False))
        return cls(where, node.span, dict(node.items), spans, collector)

    def take(self, key: str) -> tree.Expr | None:
        """Return the value of `key`, or none."""
        self._taken.add(key)
        return self.items.get(key)

    def need(self, key: str) -> tree.Expr | None:
        """Return the value of `key`; its absence is reported."""
        if key not in self.items:
            self.collector.add(codes.MISSING_KEY.at(self.span, where=self.where, key=key))
        return self.take(key)

    def text(self, key: str, default: str = "") -> str:
        """Return a text."""
        node = self.take(key)
        if node is None or isinstance(node, tree.Text):
            return node.value if node else default
        wrong_kind(node, f"{key!r} of {self.where}", "a text", self.collector)
        return default

    def record(self, key: str) -> Record:
        """Return a map inside this one; an absent one is empty."""
        return Record.of(self.take(key) or tree.MapOf((), self.span), key, self.collector)

    def close(self) -> None:
        """Report the keys that nobody took."""
        for key in self.items.keys() - self._taken:
            self.collector.add(codes.UNKNOWN_KEY.at(
                self.keys.get(key, self.span), key=key, where=self.where,
                hint=did_you_mean(key, self._taken) or f"known: {', '.join(sorted(self._taken))}",
            ))  # fmt: skip


def texts(node: tree.Expr | None, where: str, collector: Collector) -> tuple[tree.Text, ...]:
    """Return one text or a list of texts as a tuple; none is empty."""
    if node is None:
        return ()
    found = []
    for item in node.items if isinstance(node, tree.ListOf) else (node,):
        if isinstance(item, tree.Text):
            found.append(item)
        else:
            wrong_kind(item, where, "a text", collector)
    return tuple(found)


def evaluated(node: tree.Expr, names: Mapping[str, object], collector: Collector) -> object:
    """Evaluate plain data in which every text is an expression over `names`; none on failure."""
    from attnc.dsl.expressions import evaluate

    expr = _expression(node, collector)
    if expr is None:
        return None
    try:
        return evaluate(expr, names)
    except SpecError as error:
        for diagnostic in error.diagnostics:
            collector.add(diagnostic)
        return None


def whole(
    node: tree.Expr, where: str, names: Mapping[str, object], collector: Collector
) -> int | None:
    """Evaluate a whole number >= 0; anything else is reported and gives none."""
    before = len(collector.found)
    value = evaluated(node, names, collector)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if len(collector.found) == before:
        collector.add(codes.WRONG_KIND.at(
            node.span, where=where, expected="a whole number, 0 or more", found=noun(value)
        ))  # fmt: skip
    return None


def wrong_kind(node: tree.Expr, where: str, expected: str, collector: Collector) -> None:
    """Report a value of the wrong kind."""
    found = _NOUNS.get(type(node), "an expression")
    collector.add(codes.WRONG_KIND.at(node.span, where=where, expected=expected, found=found))


def _expression(node: tree.Expr, collector: Collector) -> tree.Expr | None:
    if isinstance(node, tree.ListOf):
        items = [_expression(item, collector) for item in node.items]
        return tree.ListOf(tuple(item for item in items if item is not None), node.span)
    if isinstance(node, tree.MapOf):
        values = [(key, _expression(item, collector)) for key, item in node.items]
        kept = tuple((key, value) for key, value in values if value is not None)
        return tree.MapOf(kept, node.span, node.key_spans)
    return _parsed(node, collector) if isinstance(node, tree.Text) else node


def _parsed(node: tree.Text, collector: Collector) -> tree.Expr | None:
    from attnc.dsl.text_reader import read_expression

    at = node.span.text.find(node.value)  # the span of a quoted text holds its quotes
    if at >= 0:
        start = node.span.start + at
        return read_expression(node.span.source, start, start + len(node.value), collector)
    unescaped = Source(node.span.source.name, node.value)
    return read_expression(unescaped, 0, len(node.value), collector)

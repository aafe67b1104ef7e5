"""YAML 1.2 as nodes with spans, from the events of ruamel.yaml.

Aliases are expanded within bounds; tags, complex keys and further documents are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, Union

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from attnc.dsl import codes
from attnc.dsl.diagnostics import Collector, Note
from attnc.dsl.spans import Source, Span
from attnc.dsl.yaml_errors import explained

DEEPEST = 100
"""Levels of lists and maps within each other."""

_TOO_DENSE = re.compile(rf"(?:[\[{{][ \t\r\n]*+){{{DEEPEST}}}[\[{{]")
"""Looked for at first: ruamel.yaml needs very long for brackets that nest at once."""

MOST_ALIASED = 100_000
"""Nodes that aliases may expand to, all together."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text, or what may be read as a number, truth value or nothing.

    Attributes:
        value: with all quotes, escapes and folds resolved.
        style: empty for plain, else `'`, `"`, `|` or `>`.
        flow: whether it stands within `[...]` or `{...}`.
    """

    value: str
    style: str
    flow: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    flow: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Mapping:
    """A map, in which no key stands twice."""

    pairs: tuple[tuple[Scalar, Node], ...]
    flow: bool
    span: Span


Node = Union[Scalar, Sequence, Mapping]


def compose(source: Source, collector: Collector) -> Node | None:
    """Return the root; none for an empty file, and where the YAML is broken, which is reported."""
    dense = _TOO_DENSE.search(source.text)
    if dense:
        span = Span(source, dense.end() - 1, dense.end())
        collector.add(codes.TOO_DEEP.at(span, limit=DEEPEST))
        return None
    composer = _Composer(source, collector)
    try:
        return composer.root()
    except _Stop:
        return None
    except (YAMLError, ValueError, OverflowError) as error:
        collector.add(explained(error, source, composer.at))
        return None


class _Stop(Exception):
    """Reading on is pointless; why has been reported."""


@dataclass(frozen=True, slots=True)
class _Anchored:
    """A node to refer to, the number of nodes it holds, and how deep they nest."""

    node: Node
    size: int
    height: int


class _Composer:
    def __init__(self, source: Source, collector: Collector) -> None:
        self.source = source
        self.collector = collector
        self.anchors: dict[str, _Anchored | None] = {}
        self.aliased = 0
        self.at = 0
        self.events: Iterator[Event] = YAML(typ="safe", pure=True).parse(source.text)

    def root(self) -> Node | None:
        root: Node | None = None
        for event in self.events:
            if isinstance(event, NodeEvent):
                root = self._node(event, depth=1, flow=False).node
            elif isinstance(event, DocumentStartEvent) and root is not None:
                self._stop("a second document begins here", self._span(event), "keep one")
        return root

    def _node(self, event: NodeEvent, depth: int, flow: bool) -> _Anchored:
        """Read the node that begins with `event`."""
        self.at = event.end_mark.index
        if isinstance(event, AliasEvent):
            return self._alias(event, depth)
        assert isinstance(event, (ScalarEvent, CollectionStartEvent)), "there are no other nodes"
        if event.tag is not None:
            span = self._span(event)
            self._stop(f"{span.text.split()[0]} is a tag; a spec has none", span, "quote the value")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, ScalarEvent):
            scalar = Scalar(event.value, event.style or "", flow, self._span(event))
            made = _Anchored(scalar, 1, 0)
        else:
            made = self._collection(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = made
        return made

    def _alias(self, event: AliasEvent, depth: int) -> _Anchored:
        span = self._span(event)
        if event.anchor not in self.anchors:
            self._stop(f"alias *{event.anchor} has no anchor", span, 'quote the value: "*"')
        anchored = self.anchors[event.anchor]
        if anchored is None:
            detail = f"alias *{event.anchor} stands within what it stands for"
            self._stop(detail, span, "write the value out")
        self.aliased += anchored.size
        if self.aliased > MOST_ALIASED:
            self.collector.add(codes.ALIASES.at(span, limit=MOST_ALIASED))
            raise _Stop
        self._check_depth(depth + anchored.height, span)
        return anchored

    def _collection(self, event: CollectionStartEvent, depth: int) -> _Anchored:
        self._check_depth(depth, self._span(event))
        flow = bool(event.flow_style)
        if isinstance(event, SequenceStartEvent):
            inner = list(self._until(SequenceEndEvent, depth, flow))
            node: Node = Sequence(tuple(item.node for item in inner), flow, self._from(event))
        else:
            inner = list(self._until(MappingEndEvent, depth, flow))
            pairs = self._pairs([item.node for item in inner])
            node = Mapping(pairs, flow, self._from(event))
        size = 1 + sum(item.size for item in inner)
        return _Anchored(node, size, 1 + max((item.height for item in inner), default=0))

    def _until(self, end: type[Event], depth: int, flow: bool) -> Iterator[_Anchored]:
        for event in self.events:
            if isinstance(event, end):
                self.at = event.end_mark.index
                return
            assert isinstance(event, NodeEvent), "collections hold nodes"
            yield self._node(event, depth + 1, flow)

    def _pairs(self, nodes: list[Node]) -> tuple[tuple[Scalar, Node], ...]:
        """Pair keys and values; of a key that stands twice the first is kept."""
        first: dict[str, Scalar] = {}
        pairs = []
        for key, value in zip(nodes[::2], nodes[1::2], strict=True):
            if not isinstance(key, Scalar):
                self._stop("a list or map cannot be a key", key.span, "quote the key")
            if key.value in first:
                note = Note("the first stands here", first[key.value].span)
                self.collector.add(codes.DUPLICATE_KEY.at(key.span, key=key.value, notes=[note]))
                continue
            first[key.value] = key
            pairs.append((key, value))
        return tuple(pairs)

    def _check_depth(self, depth: int, span: Span) -> None:
        if depth > DEEPEST:
            self.collector.add(codes.TOO_DEEP.at(span, limit=DEEPEST))
            raise _Stop

    def _stop(self, detail: str, span: Span, hint: str) -> NoReturn:
        self.collector.add(codes.YAML_SYNTAX.at(span, detail=detail, hint=hint))
        raise _Stop

    def _span(self, event: Event) -> Span:
        return Span(self.source, event.start_mark.index, event.end_mark.index)

    def _from(self, event: Event) -> Span:
        """Return the span from an event up to what was read last."""
        return Span(self.source, event.start_mark.index, max(self.at, event.end_mark.index))

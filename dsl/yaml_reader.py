"""The YAML notation: structure in YAML, statements and expressions in its strings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from attnc.dsl import codes, declarations, tree
from attnc.dsl.brackets import TooDeep
from attnc.dsl.diagnostics import Collector
from attnc.dsl.lexemes import Lexeme
from attnc.dsl.parser import EXPRESSIONS, end_of, lex_part, parse
from attnc.dsl.spans import Source, Span
from attnc.dsl.yaml_comments import Comments
from attnc.dsl.yaml_nodes import Mapping, Node, Scalar, Sequence, compose
from attnc.dsl.yaml_params import Params
from attnc.dsl.yaml_scalars import fragment_of
from attnc.dsl.yaml_statements import Statements
from attnc.dsl.yaml_values import Values

KEYS = (
    "attnc", "model", "doc", "paper", "params", "variants", "inputs", "blocks", "graph", "outputs",
    "weights", "parity",
)  # fmt: skip

_LIBRARY_KEYS = frozenset({"attnc", "doc", "blocks"})

_Made = TypeVar("_Made")


def read_yaml(source: Source, collector: Collector) -> tree.Spec | None:
    """Read a spec, or a library file, in the YAML notation.

    Returns none where anything is wrong; all of it is reported.
    """
    heard = Collector(limit=collector.limit)
    root = compose(source, heard)
    spec: tree.Spec | None = None
    if isinstance(root, Mapping):
        with suppress(TooDeep):
            spec = _SpecReader(heard, Values(heard, Comments(source, root))).spec(root)
    elif root is not None:
        heard.add(codes.WRONG_KIND.at(
            root.span, where="a spec", expected="keys with values", found="another kind of YAML",
            hint="begin with `attnc: 1` and `model: name`",
        ))  # fmt: skip
    elif not heard.found:
        start = Span(source, 0, 0)
        heard.add(codes.MISSING_KEY.at(start, where="the spec", key="model"))
    collector.absorb(heard)
    return None if heard.found else spec


class _SpecReader:
    def __init__(self, collector: Collector, values: Values) -> None:
        self.collector = collector
        self.values = values
        self.statements = Statements(values)
        self.sections: dict[str, tuple[Scalar, Node]] = {}
        self.comments: list[str] = []
        self.params = Params(values)

    def spec(self, root: Mapping) -> tree.Spec:
        for key, value in root.pairs:
            if key.value in KEYS:
                self.sections[key.value] = key, value
            else:
                self.values.unknown(key, "the spec", KEYS)
        library = "blocks" in self.sections and self.sections.keys() <= _LIBRARY_KEYS
        start = Span(root.span.source, root.span.start, root.span.start)
        if "model" not in self.sections and not library:
            self.collector.add(codes.MISSING_KEY.at(start, where="the spec", key="model"))
        spec = tree.Spec(
            version=self._version(),
            model=self._model(),
            span=self.sections["model"][1].span if "model" in self.sections else start,
            doc=self._doc(),
            paper=self._data("paper"),
            params=self._each("params", self.params.param),
            variants=self._each("variants", self.params.variant),
            inputs=self._each("inputs", self._input),
            blocks=self._each("blocks", self.statements.block),
            graph=self._graph(),
            outputs=self._outputs(),
            weights=self._data("weights"),
            parity=self._data("parity"),
            library=library,
        )
        self.comments += self.values.comments.at_end()
        return replace(spec, comments=tuple(self.comments))

    # Keys with one value

    def _head(self, name: str) -> Node | None:
        """Return the value of a key whose comments belong to the whole spec."""
        if name not in self.sections:
            return None
        key, value = self.sections[name]
        self.comments += self.values.comments_of(key, value)
        return value

    def _version(self) -> int:
        node = self._head("attnc")
        if node is not None:
            constant = self.values.constant(node) if isinstance(node, Scalar) else None
            number = constant.value if isinstance(constant, tree.Number) else node.span.text
            declarations.check_version(number, node.span, "attnc: 1", self.collector)
        return declarations.VERSION

    def _model(self) -> str:
        node = self._head("model")
        if isinstance(node, Scalar):
            return node.value if self.values.name(node, "model") else ""
        if node is not None:
            self.values.wrong(node, "model", "a name")
        return ""

    def _doc(self) -> str | None:
        node = self._head("doc")
        return None if node is None else self.values.text(node, "doc")

    # Sections

    def _open(self, name: str) -> Node | None:
        """Return the value of a key; the comments of the key go to the first node within."""
        if name not in self.sections:
            return None
        key, value = self.sections[name]
        self.values.pending = (*self.values.above(key), *self.values.behind_head(key, value))
        return value

    def _close(self) -> None:
        """Keep comments that no node has taken."""
        self.comments += self.values.take_pending()

    def _each(self, name: str, read: Callable[[Scalar, Node], _Made | None]) -> tuple[_Made, ...]:
        node = self._open(name)
        if node is None or self.values.kind(node) == "nothing":
            return ()
        if not isinstance(node, Mapping):
            self.values.wrong(node, name, "a map")
            return ()
        made = [read(key, value) for key, value in node.pairs]
        self._close()
        return tuple(each for each in made if each is not None)

    def _data(self, name: str) -> tree.MapOf | None:
        node = self._open(name)
        found = None if node is None else self.values.data_map(node, name)
        self._close()
        return found

    def _graph(self) -> tuple[tree.Statement, ...]:
        node = self._open("graph")
        found = () if node is None else self.statements.graph(node)
        self._close()
        return found

    # Inputs and outputs

    def _input(self, key: Scalar, node: Node) -> tree.Port | None:
        if not self.values.name(key, "an input"):
            return None
        comments = self.values.comments_of(key, node)
        span = key.span.to(node.span)
        if isinstance(node, Sequence):
            axes = [self._axis(item, key.value) for item in node.items]
            shape = tree.ListOf(tuple(axis for axis in axes if axis is not None), node.span)
            return tree.Port(key.value, shape, span, comments=comments)
        if isinstance(node, Mapping):
            self.values.wrong(node, f"input {key.value!r}", "a shape like [b, n, 64]")
            return None
        port = self._typed_shape(key, node)
        return None if port is None else replace(port, span=span, comments=comments)

    def _typed_shape(self, key: Scalar, node: Scalar) -> tree.Port | None:
        """Read `[b, n] int` with the rule for ports, `name: shape dtype`."""
        name, fragment = fragment_of(key), self.values.fragment(node)
        shape = None if fragment is None else lex_part(fragment, self.collector)
        if fragment is None or shape is None:
            return None
        lexemes = [Lexeme("NAME", key.value, name, 0, len(name.text))]
        if shape and shape[0] not in ("=", "if"):
            lexemes.append(Lexeme("COLON", ":", fragment, 0, 0))
        lexemes += shape
        parsed = parse([*lexemes, end_of(fragment)], "port", self.collector)
        return parsed if isinstance(parsed, tree.Port) else None

    def _axis(self, node: Node, name: str) -> tree.Expr | None:
        if not isinstance(node, Scalar):
            self.values.wrong(node, f"an axis of input {name!r}", "a size")
            return None
        fragment = self.values.fragment(node)
        lexemes = None if fragment is None else lex_part(fragment, self.collector)
        if fragment is None or lexemes is None:
            return None
        parsed = parse([*lexemes, end_of(fragment)], "axis", self.collector)
        return parsed if isinstance(parsed, EXPRESSIONS) else None

    def _outputs(self) -> tuple[tree.Output, ...]:
        if "outputs" not in self.sections or isinstance(self.sections["outputs"][1], Mapping):
            return self._each("outputs", self._output)
        node = self._open("outputs")
        made = []
        if isinstance(node, Sequence):
            made = [self._named_output(item) for item in node.items]
        elif node is not None:
            self.values.wrong(node, "outputs", "a map, or a list of names")
        self._close()
        return tuple(output for output in made if output is not None)

    def _output(self, key: Scalar, node: Node) -> tree.Output | None:
        comments = self.values.comments_of(key, node)
        value = self.values.expression(node)
        if not self.values.name(key, "an output") or value is None:
            return None
        return tree.Output(key.value, value, key.span.to(node.span), comments)

    def _named_output(self, node: Node) -> tree.Output | None:
        if not isinstance(node, Scalar):
            self.values.wrong(node, "outputs", "names, or a map of names to expressions")
            return None
        if not self.values.name(node, "an output"):
            return None
        comments = (*self.values.above(node), *self.values.behind(node))
        return tree.Output(node.value, tree.Name(node.value, node.span), node.span, comments)

"""Names, texts, expressions and plain data in YAML."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import Collector
from attnc.dsl.grammar import words
from attnc.dsl.lexemes import Fragment
from attnc.dsl.lexer import is_name
from attnc.dsl.parser import parse_expression
from attnc.dsl.refusal import Refused
from attnc.dsl.spans import Span
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.yaml_comments import Comments
from attnc.dsl.yaml_nodes import Mapping, Node, Scalar, Sequence
from attnc.dsl.yaml_scalars import fragment_of, resolved

_PAIRS = (("(", ")"), ("[", "]"), ("{", "}"))


@dataclass(slots=True)
class Values:
    """Reads values; what is wrong is reported and gives none.

    Attributes:
        pending: comments that wait for the first node of a section.
    """

    collector: Collector
    comments: Comments
    pending: tuple[str, ...] = ()

    def wrong(self, node: Node, where: str, expected: str, hint: str | None = None) -> None:
        """Report a node of the wrong kind."""
        self.collector.add(codes.WRONG_KIND.at(
            node.span, where=where, expected=expected, found=self.kind(node), hint=hint
        ))  # fmt: skip

    def unknown(self, key: Scalar, where: str, known: Collection[str]) -> None:
        """Report a key that nothing reads."""
        hint = did_you_mean(key.value, known)
        if key.flow and not hint:
            hint = "quote the text before it if the comma belongs to that text"
        self.collector.add(codes.UNKNOWN_KEY.at(key.span, key=key.value, where=where, hint=hint))

    def kind(self, node: Node) -> str:
        """Return what a node is, with its article."""
        match node:
            case Sequence():
                return "a list"
            case Mapping():
                return "a map"
        return {
            tree.Number: "a number", tree.Flag: "true or false", tree.Nothing: "nothing",
        }.get(type(self.constant(node)), "a text")  # fmt: skip

    def name(self, key: Scalar, where: str) -> bool:
        """Check that a key is a name, and no keyword."""
        if is_name(key.value, words()):
            return True
        self.collector.add(codes.WRONG_KIND.at(
            key.span, where=where, expected="a name (letters, digits and _; no keyword)",
            found=f"'{key.value}'",
        ))  # fmt: skip
        return False

    def text(self, node: Node, where: str) -> str | None:
        """Return prose, without blanks around it."""
        if isinstance(node, Scalar) and self.constant(node) is None:
            return node.value.strip()
        self.wrong(node, where, "a text", "quote it")
        return None

    def constant(self, scalar: Scalar) -> tree.Number | tree.Flag | tree.Nothing | None:
        """Return a number, truth value or nothing; none where the scalar is a text."""
        try:
            value = resolved(scalar)
        except Refused as refused:
            self.collector.add(refused.diagnostic)
            return tree.Nothing(scalar.span)
        match value:
            case str():
                return None
            case None:
                return tree.Nothing(scalar.span)
            case bool():
                return tree.Flag(value, scalar.span)
        return tree.Number(value, scalar.span)

    def fragment(self, scalar: Scalar) -> Fragment | None:
        """Return the text of a scalar to parse; none where YAML has cut it off at a comma."""
        if is_torn(scalar):
            self.collector.add(codes.YAML_SYNTAX.at(
                scalar.span, detail="YAML ends this text at the comma",
                hint=f'quote the whole text: "{scalar.value}, ..."',
            ))  # fmt: skip
            return None
        return fragment_of(scalar)

    def expression(self, node: Node, as_text: bool = False) -> tree.Expr | None:
        """Return an expression of the tree.

        Args:
            as_text: a string is a text, and not parsed.
        """
        match node:
            case Sequence(items):
                found = [self.expression(item, as_text) for item in items]
                return tree.ListOf(tuple(item for item in found if item is not None), node.span)
            case Mapping(pairs):
                entries = [(key, self.expression(value, as_text)) for key, value in pairs]
                return tree.MapOf(
                    tuple((key.value, value) for key, value in entries if value is not None),
                    node.span, tuple(key.span for key, _ in pairs),
                )  # fmt: skip
        constant = self.constant(node)
        if constant is not None:
            return _with_sign_apart(constant, node)
        if as_text:
            return tree.Text(node.value, node.span)
        fragment = self.fragment(node)
        return None if fragment is None else parse_expression(fragment, self.collector)

    def data_map(self, node: Node, where: str) -> tree.MapOf | None:
        """Return a map of plain data, with the comments in it."""
        if not isinstance(node, Mapping):
            self.wrong(node, where, "a map")
            return None
        comments, items = [], []
        for key, value in node.pairs:
            comments.append(self.comments_of(key, value))
            items.append((key.value, self.data(value)))
        key_spans = tuple(key.span for key, _ in node.pairs)
        return tree.MapOf(tuple(items), node.span, key_spans, tuple(comments))

    def data(self, node: Node) -> tree.Expr:
        """Return plain data, in which a string is a text."""
        match node:
            case Sequence(items):
                return tree.ListOf(tuple(self._data_item(item) for item in items), node.span)
            case Mapping():
                return self.data_map(node, "data") or tree.MapOf((), node.span)
        return self.constant(node) or tree.Text(node.value, node.span)

    def _data_item(self, item: Node) -> tree.Expr:
        """The comments around a map in braces go to its first entry."""
        around = (*self.above(item), *self.behind(item)) if _is_braced(item) else ()
        made = self.data(item)
        if not around or not isinstance(made, tree.MapOf):
            return made
        first, *others = made.comments
        return replace(made, comments=((*around, *first), *others))

    # Comments

    def above(self, node: Node) -> tuple[str, ...]:
        """Return the comments above a node; those that wait come first."""
        return (*self.take_pending(), *self.comments.above(node.span.start))

    def take_pending(self) -> tuple[str, ...]:
        """Return the comments that wait for a node."""
        waiting, self.pending = self.pending, ()
        return waiting

    def behind(self, node: Node) -> tuple[str, ...]:
        """Return the comment behind a node, or nothing."""
        comment = self.comments.behind(node)
        return () if comment is None else (comment,)

    def behind_head(self, key: Scalar, value: Node) -> tuple[str, ...]:
        """Return the comment behind a key, or behind the brackets that follow it."""
        in_brackets = not isinstance(value, Scalar) and value.flow
        return self.behind(key) or (self.behind(value) if in_brackets else ())

    def comments_of(self, key: Scalar, value: Node) -> tuple[str, ...]:
        """Return the comments of a key and its value, without those that belong to keys within."""
        return (*self.above(key), *self.behind(key), *self._of_value(value))

    def _of_value(self, value: Node) -> tuple[str, ...]:
        if isinstance(value, Scalar) or value.flow:
            return self.behind(value)
        if isinstance(value, Mapping):
            return ()
        loose = [item for item in value.items if isinstance(item, Scalar)]
        found = [(*self.above(item), *self.behind(item)) for item in loose]
        return tuple(comment for comments in found for comment in comments if comment)


def _is_braced(node: Node) -> bool:
    return isinstance(node, Mapping) and node.flow and bool(node.pairs)


def is_torn(scalar: Scalar) -> bool:
    """Whether a comma of a flow collection has cut a text in two: its brackets do not pair up."""
    text = scalar.value
    apart = any(text.count(opening) != text.count(closing) for opening, closing in _PAIRS)
    return scalar.flow and not scalar.style and apart


def _with_sign_apart(constant: tree.Number | tree.Flag | tree.Nothing, scalar: Scalar) -> tree.Expr:
    """Write `-1` as the text notation reads it: the negation of a number."""
    if not isinstance(constant, tree.Number) or not scalar.value.startswith("-"):
        return constant
    span = Span(scalar.span.source, scalar.span.start + 1, scalar.span.end)
    return tree.Unary("-", tree.Number(-constant.value, span), scalar.span)

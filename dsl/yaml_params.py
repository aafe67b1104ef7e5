"""Params and variants in YAML."""

from __future__ import annotations

from dataclasses import dataclass, field

from attnc.dsl import codes, declarations, tree
from attnc.dsl.pieces import ParamHeader
from attnc.dsl.yaml_nodes import Mapping, Node, Scalar
from attnc.dsl.yaml_values import Values

_DEFAULTS = ("default", "expression")
"""Keys for the default of a param: `expression` is parsed even where strings are texts."""


@dataclass(slots=True)
class Params:
    """Reads params, then variants.

    Attributes:
        texts: params whose strings are texts: those of type string, or with choices.
    """

    values: Values
    texts: set[str] = field(default_factory=set)

    def param(self, key: Scalar, node: Node) -> tree.Param | None:
        """Read `name: value` or `name: {default: value, min: 1}`."""
        if not self.values.name(key, "a param"):
            return None
        comments = self.values.comments_of(key, node)
        span = key.span.to(node.span)
        if not isinstance(node, Mapping):
            default = self._default(node, as_text=False)
            return tree.Param(key.value, default, span, comments=comments)
        if _holds_texts(node):
            self.texts.add(key.value)
        header = ParamHeader(
            key.value, None, self._given_default(key.value, node), self._facts(key.value, node),
            span, (*comments, *self._comments_within(node)),
        )  # fmt: skip
        return declarations.param(header, self.values.collector)

    def _given_default(self, name: str, node: Mapping) -> tree.Expr | None:
        given = [(key, value) for key, value in node.pairs if key.value in _DEFAULTS]
        if len(given) > 1:
            (first, _), (second, _) = given
            where = f"param {name!r}"
            self.values.collector.add(codes.WRONG_KIND.at(
                second.span, where=where, expected="one default",
                found=f"both {first.value!r} and {second.value!r}",
            ))  # fmt: skip
        for key, value in given:
            return self._default(value, as_text=key.value == "default" and name in self.texts)
        return None

    def _default(self, node: Node, as_text: bool) -> tree.Expr | None:
        """Return a default; none where nothing is written: a value must be given then."""
        if isinstance(node, Scalar) and not node.value and not node.style:
            return None
        return self.values.expression(node, as_text)

    def _facts(self, name: str, node: Mapping) -> tree.MapOf:
        known = []
        for key, value in node.pairs:
            if key.value in declarations.PARAM_FACTS:
                known.append((key, value))
            elif key.value not in _DEFAULTS:
                allowed = (*_DEFAULTS, *declarations.PARAM_FACTS)
                self.values.unknown(key, f"param {name!r}", allowed)
        return tree.MapOf(
            tuple((key.value, self.values.data(value)) for key, value in known), node.span,
            tuple(key.span for key, _ in known),
        )  # fmt: skip

    def _comments_within(self, node: Mapping) -> tuple[str, ...]:
        found = [self.values.comments_of(key, value) for key, value in node.pairs]
        return tuple(comment for comments in found for comment in comments if comment)

    def variant(self, key: Scalar, node: Node) -> tree.Variant | None:
        """Read `name: {param: value, doc: ..., claims: {...}}`."""
        if not self.values.name(key, "a variant"):
            return None
        where = f"variant {key.value!r}"
        comments = [*self.values.above(key), *self.values.behind_head(key, node)]
        pairs = node.pairs if isinstance(node, Mapping) else ()
        if not isinstance(node, Mapping) and self.values.kind(node) != "nothing":
            self.values.wrong(node, where, "a map")
        doc: str | None = None
        claims: tree.MapOf | None = None
        overrides = []
        for name, value in pairs:
            if name.value == "claims":
                behind = self.values.behind_head(name, value)
                self.values.pending = (*self.values.above(name), *behind)
                claims = self.values.data_map(value, f"claims of {where}")
                comments += self.values.take_pending()
                continue
            comments += self.values.comments_of(name, value)
            if name.value == "doc":
                doc = self.values.text(value, f"doc of {where}")
            elif self.values.name(name, f"an override in {where}"):
                overrides.append((name, self._override(name.value, value)))
        kept = [(name, value) for name, value in overrides if value is not None]
        return tree.Variant(
            key.value, tuple((name.value, value) for name, value in kept), claims, key.span, doc,
            tuple(comments), tuple(name.span for name, _ in kept),
        )  # fmt: skip

    def _override(self, name: str, node: Node) -> tree.Expr | None:
        texts = name in self.texts
        match node:
            case Mapping(((Scalar("expression"), value),)) if texts:
                return self.values.expression(value)
        return self.values.expression(node, as_text=texts)


def _holds_texts(node: Mapping) -> bool:
    return any(
        key.value == "choices"
        or (key.value == "type" and isinstance(value, Scalar) and value.value == "string")
        for key, value in node.pairs
    )

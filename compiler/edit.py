"""Changing the scores and weights of an attention of a compiled model, by expressions of a spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from attnc.compiler.kernel import Site
from attnc.dsl import codes
from attnc.dsl.attention import Constant, Coordinate, ScoreTree, Source, Weight
from attnc.dsl.diagnostics import Collector, SpecError
from attnc.dsl.dims import Dim
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import (
    Known,
    ScoreError,
    build,
    loads,
    make,
    rename,
    replaced,
    simplify,
    size_tree,
)
from attnc.dsl.spans import Source as Text
from attnc.dsl.text_reader import read_expression


@dataclass(frozen=True)
class Edit:
    """What to change in an attention, as a spec would write it.

    Attributes:
        score: the new score, an expression in which `s` is the score as it was, besides all that
            a score may read: `s + bias[h, j]`.
        post: what to do with a weight `w` after it is normalised: `w * gain[b, h, j]`.
        rows: the queries that change, negative numbers from the end; none for all.
        renormalize: divide the weights of these rows by their sum over keys afterwards.
        tensors: what the expressions read, by name; float tensors may need a gradient.
    """

    score: str | None = None
    post: str | None = None
    rows: Sequence[int] | None = None
    renormalize: bool = False
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


_DTYPES = {"bool": "bool", "int8": "int", "int16": "int", "int32": "int", "int64": "int"}


def edited(site: Site, edit: Edit, params: Mapping[str, object]) -> tuple[Site, list[Tensor]]:
    """Return the site as edited, and the tensors that join its operands behind all others.

    Args:
        params: of the spec, which the expressions may read.

    Raises:
        SpecError: an expression is wrong (E106 ... E2xx), or names a tensor that is not given.
    """
    return _Editor(site, edit, params).result()


@dataclass
class _Editor:
    site: Site
    edit: Edit
    params: Mapping[str, object]
    used: dict[str, Tensor] = field(default_factory=dict)

    def result(self) -> tuple[Site, list[Tensor]]:
        attention = self.site.attention
        sources = tuple(map(self._source, attention.sources))
        renormalise = attention.renormalise
        if self.edit.renormalize:
            renormalise = make("or", renormalise or Constant(False), self._chosen())
        types = (TensorType(tuple(each.shape), _kind(each)) for each in self.used.values())
        changed = replace(
            attention,
            sources=sources,
            renormalise=None if renormalise is None else simplify(renormalise),
            tensors=(*attention.tensors, *map(self._name, self.used)),
        )
        site = replace(self.site, attention=changed, tensors=(*self.site.tensors, *types))
        return site, [*self.used.values()]

    def _source(self, source: Source) -> Source:
        score = self._changed(self.edit.score, "s", source.score)
        post = self._changed(self.edit.post, "w", source.post or Weight())
        return replace(source, score=score, post=None if post == Weight() else post)

    def _changed(self, text: str | None, name: str, before: ScoreTree) -> ScoreTree:
        """Return what an expression makes of the tree that `name` stands for in it."""
        if text is None:
            return before
        built = self._built(text, name)
        after = replaced(built, lambda part: before if isinstance(part, Weight) else part)
        if self.edit.rows is not None:
            after = make("where", self._chosen(), after, before)
        return simplify(after)

    def _chosen(self) -> ScoreTree:
        """Return the condition that a query is among the rows."""
        if self.edit.rows is None:
            return Constant(True)
        n = self.site.q.shape[2]
        numbers = (row if row >= 0 else n + row for row in self.edit.rows)
        equal = (make("eq", Coordinate("i"), size_tree(number)) for number in numbers)
        chosen: ScoreTree = Constant(False)
        for each in equal:
            chosen = make("or", chosen, each)
        return chosen

    def _built(self, text: str, name: str) -> ScoreTree:
        collector = Collector()
        expr = read_expression(Text("<edit>", text), 0, len(text), collector)
        collector.raise_if_any()
        assert expr is not None
        scope = _Scope(name, self.edit.tensors, self.params)
        try:
            tree = build(expr, scope, scope.names)
        except ScoreError as wrong:
            raise SpecError(
                [codes.SCORE.at(wrong.span, detail=wrong.detail, hint=wrong.help)]
            ) from None
        for used in loads(tree):
            self.used[used] = self.edit.tensors[used]
        return rename(tree, {used: self._name(used) for used in loads(tree)})

    def _name(self, tensor: str) -> str:
        """Return what a tensor is called in the site: no two have one name."""
        while tensor in self.site.attention.tensors:
            tensor += "_"
        return tensor


@dataclass(frozen=True)
class _Scope:
    """What names mean in an edit: the value before, the tensors given, the spec's params."""

    before: str
    tensors: Mapping[str, Tensor]
    params: Mapping[str, object]

    @property
    def names(self) -> list[str]:
        return [self.before, *self.tensors, *self.params]

    def lookup(self, name: str) -> Known | None:
        """Return what a name stands for; none where it is unknown."""
        if name == self.before:
            return Weight()
        if name in self.tensors:
            tensor = self.tensors[name]
            return TensorType(tuple(tensor.shape), _kind(tensor))
        value = self.params.get(name)
        return value if isinstance(value, (bool, int, float, Dim)) else None


def _kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex"
    return _DTYPES.get(str(tensor.dtype).removeprefix("torch."), "float")

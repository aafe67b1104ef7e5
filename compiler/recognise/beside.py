"""Tensors beside the result of an attention as its kernels read them: by axes of the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from attnc.compiler.recognise.factors import Factors, written
from attnc.compiler.recognise.rewriting import made
from attnc.dsl.attention import Coordinate, Load
from attnc.dsl.dims import Size
from attnc.dsl.graph import Node, Value
from attnc.dsl.ops.notation import Group
from attnc.dsl.ops.shape_rules import count
from attnc.dsl.scorelang import ELEMENT


@dataclass(frozen=True, slots=True)
class Beside:
    """A tensor that a kernel reads beside the result.

    Attributes:
        value: whose axes are those of the result by which it differs.
        view: what makes it of a tensor of the block; none where it is one.
        load: an element.
    """

    value: Value
    view: Node | None
    load: Load


@dataclass(frozen=True, slots=True)
class Views:
    """How tensors beside a result [b, h, n, d], or a rearrangement of it, are views by its axes.

    Attributes:
        read: the groups of names that are the axes of what is read.
        axes: those of b, h, n and d.
        sizes: of every name.
        node: what stands for the views.
    """

    read: tuple[Group, ...]
    axes: tuple[Group, ...]
    sizes: Mapping[str, Size]
    node: Node | None

    @classmethod
    def of(cls, x: Value, heads: Factors | None) -> Views:
        """Return the views beside a result, or beside what a rearrangement makes of it."""
        if heads is not None:
            return cls(heads.right, heads.left, heads.sizes, heads.node)
        axes = tuple((name,) for name in ELEMENT)
        return cls(axes, axes, dict(zip(ELEMENT, x.shape, strict=True)), None)

    def beside(self, name: str, value: Value, source: Node) -> Beside | None:
        """Return what a kernel reads of a tensor; none where it has axes of another kind."""
        spare = len(self.read) - len(value.shape)
        if spare < 0:
            return None
        own = [count(self.sizes[each] for each in group) for group in self.read[spare:]]
        left = tuple(
            group if size == full else ()
            for group, size, full in zip(self.read[spare:], value.shape, own, strict=True)
        )
        full_or_one = (size in (1, full) for size, full in zip(value.shape, own, strict=True))
        names = {each for group in left for each in group}
        right = tuple(group for group in self.axes if names.intersection(group))
        whole = sum(map(len, right)) == len(names) and all(right)
        if not all(full_or_one) or not whole:
            return None
        axes = [c for c, group in zip(ELEMENT, self.axes, strict=True) if group in right]
        load = Load(name, tuple(map(Coordinate, axes)))
        view = None if left == right else self._view(name, value, left, right, source)
        return Beside(value if view is None else view.results[0], view, load)

    def _view(
        self, name: str, x: Value, left: tuple[Group, ...], right: tuple[Group, ...], source: Node
    ) -> Node:
        if not right:
            node = made("reshape", source, x=x, shape=())
        else:
            inner = {each for group in left for each in group[1:]}
            sizes = {each: size for each, size in self.sizes.items() if each in inner}
            pattern = f"{written(left)} -> {written(right)}"
            node = made("rearrange", self.node or source, x=x, pattern=pattern, sizes=sizes)
        return replace(node, results=(replace(node.results[0], name=name),))

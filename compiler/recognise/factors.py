"""Rearrangements of q, k and v by the factors of their axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from attnc.compiler.recognise.rewriting import Block, made
from attnc.dsl.attention import All, Attention, SoftmaxKeys
from attnc.dsl.dims import Shape, Size
from attnc.dsl.graph import Node, Value
from attnc.dsl.ops.notation import Group, parse
from attnc.dsl.ops.shape_rules import count

BATCH, HEADS, TOKENS, WIDTH = RANKS = range(4)


@dataclass(frozen=True, slots=True)
class Factors:
    """A rearrangement by its factors.

    Attributes:
        node: it.
        left: the groups before the arrow.
        right: those behind it; of q, k and v the last four, [b, h, n, d].
        sizes: of every factor.
        lead: the axis in front that is then taken apart.
        taken: what takes it apart, and which of its results this is; none where nothing does.
    """

    node: Node
    left: tuple[Group, ...]
    right: tuple[Group, ...]
    sizes: Mapping[str, Size]
    lead: Group = ()
    taken: tuple[Node, int] | None = None

    @classmethod
    def of(cls, node: Node) -> Factors | None:
        """Read a node; none where sizes do not come out."""
        x, sizes = cast(Value, node.args["x"]), {**cast(Mapping[str, Size], node.args["sizes"])}
        notation = parse(cast(str, node.args["pattern"])).for_rank(len(x.shape))
        for group, size in zip(notation.left, x.shape, strict=True):
            known = count(sizes[name] for name in group if name in sizes)
            sizes.update((name, size // known) for name in group if name not in sizes)
            if count(sizes[name] for name in group) != size:
                return None
        return cls(node, notation.left, notation.right, sizes)

    def order(self, groups: tuple[Group, ...]) -> tuple[Shape, Shape]:
        """Return the sizes of the factors of batch and tokens."""
        batch, tokens = groups[BATCH], groups[TOKENS]
        return tuple(self.sizes[name] for name in batch), tuple(self.sizes[name] for name in tokens)

    def again(
        self,
        x: Value,
        left: tuple[Group, ...],
        right: tuple[Group, ...],
        results: tuple[Value, ...] | None = None,
    ) -> Node:
        """Return the same rearrangement of a tensor with other groups."""
        given = cast(Mapping[str, Size], self.node.args["sizes"])
        stated = given if left == self.left else {name for group in left for name in group[1:]}
        sizes = {name: size for name, size in self.sizes.items() if name in stated}
        pattern = f"{written(left)} -> {written(right)}"
        node = made("rearrange", self.node, results, x=x, pattern=pattern, sizes=sizes)
        return node if results else named(node, self.node)


def is_plain(attention: Attention) -> bool:
    """Say whether the attention is to all pairs of one source, and gives its result alone."""
    source = attention.sources[0]
    return (
        (len(attention.sources), attention.outputs) == (1, ("out",))
        and source.domain == All()
        and source.weight is None
        and attention.renormalise is None
        and attention.normaliser == SoftmaxKeys()
        and not attention.given
    )


def factors(value: object, block: Block) -> Factors | None:
    """Return the rearrangement that q, k or v comes from, alone or with others."""
    node, apart = block.maker(value, "rearrange"), block.maker(value, "unbind")
    if apart is not None and apart.args["axis"] == 0 and not apart.train:
        node = block.maker(apart.args["x"], "rearrange")
    found = None if node is None or node.train else Factors.of(node)
    if found is None or len(found.right) != len(RANKS) + (apart is not None):
        return None
    if apart is None:
        return found
    place = apart.results.index(cast(Value, value))
    return replace(found, lead=found.right[0], right=found.right[1:], taken=(apart, place))


def named(node: Node, like: Node) -> Node:
    """Return a node whose results are called as those of another."""
    pairs = zip(node.results, like.results, strict=True)
    return replace(node, results=tuple(replace(new, name=old.name) for new, old in pairs))


def written(groups: tuple[Group, ...]) -> str:
    """Return one side of a pattern."""
    return " ".join(
        group[0] if len(group) == 1 else f"({' '.join(group)})" if group else "1"
        for group in groups
    )

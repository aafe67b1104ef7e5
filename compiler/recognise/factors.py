"""Rearrangements of q, k and v by the factors of their axes, and windows among these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from attnc.compiler.recognise.rewriting import Block, made
from attnc.dsl import scorelang
from attnc.dsl.attention import All, Attention, Grid, ScoreTree, SoftmaxKeys, Windows
from attnc.dsl.dims import Shape, Size
from attnc.dsl.graph import Node, Value
from attnc.dsl.ops.notation import Group, parse
from attnc.dsl.ops.shape_rules import count

BATCH, HEADS, TOKENS, WIDTH = RANKS = range(4)


@dataclass(frozen=True, slots=True)
class Parted:
    """Tokens of a grid that are parted into windows; factors are told by their places.

    Attributes:
        batch: the factors of the batch that number no windows.
        tokens: all factors of tokens in raster order, each with the axis where it was.
        domain: on the grid.
        numbers: factor of the batch -> the tree of the number of the query's window along an axis.
    """

    batch: tuple[int, ...]
    tokens: tuple[tuple[int, int], ...]
    domain: Windows
    numbers: Mapping[int, ScoreTree]


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

    def regrouped(self, groups: tuple[Group, ...], parted: Parted) -> tuple[Group, ...]:
        """Return the groups [b, h, n, d] with the windows among the tokens."""
        return (
            tuple(groups[BATCH][place] for place in parted.batch), groups[HEADS],
            tuple(groups[axis][place] for axis, place in parted.tokens), groups[WIDTH],
        )  # fmt: skip

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
        pattern = f"{_written(left)} -> {_written(right)}"
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


def parted_tokens(queries: Factors) -> Parted | None:
    """Read the windows of queries: each factor of tokens beside one of the batch, or alone."""
    batch, inside, sizes = queries.right[BATCH], queries.right[TOKENS], queries.sizes
    mixed = [group for group in queries.left if {*group} & {*inside}]
    order = [name for group in mixed for name in group]
    if [name for name in order if name in inside] != [*inside]:
        return None
    if not {*order} <= {*batch, *inside} or not {*order} & {*batch}:
        return None
    axes = [axis for group in mixed for axis in _axes(group, inside)]
    if not all(axis.token for axis in axes):
        return None
    steps = tuple(1 if axis.is_apart or not axis.number else sizes[axis.number] for axis in axes)
    grid = tuple(count(sizes[name] for name in (axis.number, axis.token) if name) for axis in axes)
    size = tuple(sizes[axis.token] for axis in axes)
    domain = Windows(size, (0,) * len(grid), steps, grid=Grid(grid, grid))
    numbers = {
        batch.index(axis.number): _number(domain, place, axis.is_apart)
        for place, axis in enumerate(axes)
        if axis.number
    }
    tokens = tuple(
        (BATCH, batch.index(name)) if name in batch else (TOKENS, inside.index(name))
        for name in order
    )
    return Parted(tuple(x for x in range(len(batch)) if x not in numbers), tokens, domain, numbers)


@dataclass(frozen=True, slots=True)
class _Axis:
    """An axis of the grid.

    Attributes:
        number: the factor that numbers windows; empty where the axis is a window.
        token: the factor of tokens in a window; empty where there is none.
        is_apart: windows stand apart; else they interleave.
    """

    number: str
    token: str
    is_apart: bool = True


def _axes(group: Group, inside: Group) -> list[_Axis]:
    """Part a group into axes, the last one first: `(i y j)` is a whole axis, then windows."""
    rest, axes = list(group), list[_Axis]()
    while rest:
        last = rest.pop()
        if rest and (last in inside) != (rest[-1] in inside):
            first = rest.pop()
            axes.append(_Axis(first, last) if last in inside else _Axis(last, first, False))
        else:
            axes.append(_Axis("", last) if last in inside else _Axis(last, ""))
    return axes[::-1]


def _number(domain: Windows, axis: int, is_apart: bool) -> ScoreTree:
    """Return the number of the query's window along an axis."""
    assert domain.grid is not None
    place = scorelang.along("i", domain.grid.queries, axis)
    size = (domain.size if is_apart else domain.dilation)[axis]
    assert size is not None
    return scorelang.make("floordiv" if is_apart else "mod", place, scorelang.size_tree(size))


def named(node: Node, like: Node) -> Node:
    """Return a node whose results are called as those of another."""
    pairs = zip(node.results, like.results, strict=True)
    return replace(node, results=tuple(replace(new, name=old.name) for new, old in pairs))


def _written(groups: tuple[Group, ...]) -> str:
    return " ".join(
        group[0] if len(group) == 1 else f"({' '.join(group)})" if group else "1"
        for group in groups
    )

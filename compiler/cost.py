"""What a model costs: FLOPs and bytes, symbolic in the sizes of its inputs; needs no torch.

FLOPs are counted as torch.utils.flop_counter counts them: a multiply-add is two, and products of
matrices, convolutions and attention count; biases, norms and activations do not. Attention is
counted for the pairs that its domain allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from math import prod

from attnc.compiler.kernel import Site
from attnc.compiler.pairs import AnyPairs, Pairs, number, pairs_by_heads
from attnc.compiler.sites import site_of, site_operands
from attnc.dsl import codes, scorelang
from attnc.dsl.attention import Apply, Sampled, Source
from attnc.dsl.attention_types import output_types
from attnc.dsl.diagnostics import UsageError
from attnc.dsl.dims import Size, symbols
from attnc.dsl.graph import Body, Graph, Node, TensorType
from attnc.dsl.ops import TABLE
from attnc.dsl.prologues import Prologue, Rotated
from attnc.dsl.state import bottom_up

BYTES: Mapping[str, int] = {"int": 8, "bool": 1}
"""Bytes of an element of a dtype other than `float` and `complex`, which follow the model's."""

VIEWS = frozenset({"layout", "slicing"})
"""Families of operators whose results mostly share the memory of their inputs."""


@dataclass(frozen=True, slots=True)
class Flops:
    """A number of floating-point operations.

    Attributes:
        plain: of all that is no attention.
        attention: FLOPs for each pair of query and key, by the pairs.
    """

    plain: Size = 0
    attention: Mapping[AnyPairs, Size] = field(default_factory=dict)

    def __add__(self, other: Flops) -> Flops:
        attention = dict(self.attention)
        for pair, count in other.attention.items():
            attention[pair] = attention.get(pair, 0) + count
        return Flops(self.plain + other.plain, attention)

    def at(self, sizes: Mapping[str, int]) -> int:
        """Return the number; `sizes` has a value for every symbol."""
        per_pair = self.attention.items()
        attention = sum(number(each, sizes) * pair.count(sizes) for pair, each in per_pair)
        return number(self.plain, sizes) + attention

    def __str__(self) -> str:
        terms = [f"({each})*{pair}" for pair, each in self.attention.items()]
        return " + ".join([str(self.plain), *terms] if self.plain != 0 else terms) or "0"


def flops(graph: Graph, sizes: Mapping[str, int], *, training: bool = False) -> int:
    """Return the FLOPs of one forward pass.

    Args:
        sizes: the value of each symbolic size of the inputs: `{"b": 1}`.
        training: count also what runs in training mode only.

    Raises:
        UsageError: a symbolic size has no value (E403).
    """
    return model_flops(graph, training=training).at(complete(graph.inputs.values(), sizes))


def macs(graph: Graph, sizes: Mapping[str, int], *, training: bool = False) -> int:
    """Return the multiply-adds of one forward pass: half the FLOPs; see `flops`."""
    return flops(graph, sizes, training=training) // 2


def model_flops(graph: Graph, *, training: bool = False, every_pair: bool = False) -> Flops:
    """Return the FLOPs of one forward pass as a formula of the sizes of the inputs.

    Args:
        every_pair: count what the reference runs: whole matrices of scores whatever the domain
            allows, but of sampled boxes the slots; products of q and k where scores read them.
    """
    done: dict[Body, Flops] = {}
    for body in bottom_up(graph.body):
        counted = (node for node in body.nodes if training or not node.train)
        parts = (node_flops(node, done, every_pair) for node in counted)
        done[body] = reduce(Flops.__add__, parts, Flops())
    return done[graph.body]


def node_flops(node: Node, bodies: Mapping[Body, Flops], every_pair: bool = False) -> Flops:
    """Return the FLOPs of one node. `bodies` has those of the bodies it calls."""
    if node.body is not None:
        return bodies[node.body]
    if node.op == "attend":
        return site_flops(site_of(node), every_pair)
    row = TABLE.get(node.op)
    return Flops() if row is None else Flops(row.flops(node.args, node.results))


def site_flops(site: Site, every_pair: bool = False) -> Flops:
    """Return the FLOPs of an attention: for each allowed pair of each head 2 (d + e).

    Given products have no d; values of the query side add theirs to e.
    """
    b, h, n, d = site.q.shape
    back = 0 if site.vq is None else site.vq.shape[3]
    total = Flops()
    for source, (k, v) in zip(site.attention.sources, site.sources, strict=True):
        m = k.shape[2]
        groups = (_computed(source, n, m),) if every_pair else pairs_by_heads(source, n, m)
        reads_dot = not every_pair or scorelang.has_dot(source.score)
        product = d if reads_dot and not site.attention.given else 0
        per_pair = 2 * b * (h // len(groups)) * (product + v.shape[3] + back)
        for group in groups:
            total += Flops(0, {group: per_pair})
    return total


def _computed(source: Source, n: Size, m: Size) -> Pairs:
    slots = scorelang.slot_count(source.domain) if isinstance(source.domain, Sampled) else None
    return Pairs(n, m if slots is None else slots)


# Bytes ------------------------------------------------------------------------------------


def type_bytes(type_: TensorType, float_bytes: int) -> Size:
    """Return the bytes of a tensor; `float_bytes` are those of an element of the model's dtype."""
    fractions = {"float": float_bytes, "complex": 2 * float_bytes}
    return prod(type_.shape, start=1) * fractions.get(type_.dtype, BYTES.get(type_.dtype, 0))


def saved_bytes(site: Site, float_bytes: int) -> Size:
    """Return the memory traffic that an epilogue saves: what is neither written nor read by it.

    Where gradients are wanted the result before it is written all the same.
    """
    tree = site.attention.epilogue
    if tree is None:
        return 0
    (result,) = output_types(replace(site.attention, outputs=("out",)), site.q, site.sources, None)
    tensors = dict(zip(site.attention.tensors, site.tensors, strict=True))
    activations = {
        part for part in scorelang.subtrees(tree)
        if isinstance(part, Apply) and len(part.arguments) == 1
    }  # fmt: skip
    between = [result] * len(scorelang.loads(tree))
    between += [tensors[name] for part in activations for name in scorelang.loads(part)]
    return 2 * _total(type_bytes(each, float_bytes) for each in between)


def passes_saved(prologue: Prologue, reads: int) -> int:
    """Return the memory traffic that a prologue saves, in bytes of its operand; below 0 it costs.

    In the kernel a row goes through once more for each step and each time that it is read: for the
    partners of its columns, or for its size. Tables of a rotation are read either way.

    Args:
        reads: how often a forward pass reads each row.
    """
    return passes_apart(prologue) - reads * sum(1 + table for table in _tables(prologue))


def passes_apart(prologue: Prologue) -> int:
    """Return what a prologue by itself moves: each step writes its rows, which are read again."""
    return sum(2 + table for table in _tables(prologue))


def _tables(prologue: Prologue) -> list[int]:
    """Return for each step the elements of tables that a row reads, by its own."""
    return [1 + step.by_column if isinstance(step, Rotated) else 0 for step in prologue.steps]


def ahead_bytes(site: Site, prologue: Prologue, reads: int, float_bytes: int) -> tuple[Size, Size]:
    """Return the bytes that a prologue saves in a forward pass, and what gradients take more.

    For gradients it is done once more by itself; see `passes_saved`.
    """
    rows = next(each for name, each in site_operands(site) if name == prologue.operand)
    size = type_bytes(rows, float_bytes)
    return passes_saved(prologue, reads) * size, passes_apart(prologue) * size


def activation_bytes(
    graph: Graph, sizes: Mapping[str, int], *, float_bytes: int = 4, training: bool = False
) -> int:
    """Return the bytes of all tensors that one forward pass computes.

    That is what eager training would keep, each result stored once; results of layout and
    slicing operators are taken to be views.

    Raises:
        UsageError: a symbolic size has no value (E403).
    """
    done: dict[Body, Size] = {}
    for body in bottom_up(graph.body):
        counted = (node for node in body.nodes if training or not node.train)
        done[body] = _total(_node_bytes(node, done, float_bytes) for node in counted)
    return number(done[graph.body], complete(graph.inputs.values(), sizes))


def _node_bytes(node: Node, bodies: Mapping[Body, Size], float_bytes: int) -> Size:
    if node.body is not None:
        return bodies[node.body]
    row = TABLE.get(node.op)
    if node.op in ("param", "weight") or (row is not None and row.family in VIEWS):
        return 0
    return _total(type_bytes(result.type, float_bytes) for result in node.results)


def _total(parts: Iterable[Size]) -> Size:
    total: Size = 0
    for part in parts:
        total = total + part
    return total


def complete(types: Iterable[TensorType], sizes: Mapping[str, int]) -> Mapping[str, int]:
    """Return `sizes` if they give every symbolic size of the inputs a value.

    Args:
        types: of the inputs.

    Raises:
        UsageError: one has none (E403).
    """
    wanted = {name for type_ in types for size in type_.shape for name in symbols(size)}
    missing = sorted(wanted - sizes.keys())
    if missing:
        example = " ".join(f"{name}=1" for name in missing)
        raise UsageError([codes.SIZE_VALUE.at(None, names=", ".join(missing), example=example)])
    return sizes

"""Norms of rows and rotations before an attention are part of it, where that moves fewer bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from attnc.compiler.cost import passes_saved
from attnc.compiler.recognise.opened import opened
from attnc.compiler.recognise.rewriting import Block, Edits
from attnc.compiler.recognise.rotations import rotation, same
from attnc.compiler.sites import Streams
from attnc.dsl.attention import Attention
from attnc.dsl.graph import Arg, Node, TensorType, Value
from attnc.dsl.prologues import NORMS, Normed, Prologue, Rotated, Step, prologue_tensors


def prologues(node: Node, block: Block) -> Edits | None:
    """Recognise what alone makes q or k, row by row, of rows that are read in its place.

    Of q, and of the k of each source, by themselves: as far as the kernel that computes the
    attention does it while it reads rows, and saves bytes so.
    """
    if node.op != "attend" or node.train or block.target.kind == "cpu":
        return None
    verdict = block.verdict(node)
    done = {each.operand for each in cast(Attention, node.args["attention"]).prologues}
    for operand, value in _operands(node):
        reads = None if verdict is None or operand in done else verdict.reads.get(operand)
        if reads is None:
            continue
        found = _Steps(block, cast(Attention, node.args["attention"]), _captured(node))
        rows = found.read(value)
        if rows is value or passes_saved(found.prologue(operand), reads) <= 0:
            continue
        attend = _attend(node, operand, rows, found)
        after = block.verdict(attend)
        if verdict is not None and after is not None and after.backend == verdict.backend:
            return {**found.edits, node: [*found.weights, attend]}
    return None


def _captured(node: Node) -> Mapping[str, Value]:
    names = cast(Attention, node.args["attention"]).tensors
    return dict(zip(names, cast(tuple[Value, ...], node.args["tensors"]), strict=True))


def _operands(node: Node) -> Iterator[tuple[str, Value]]:
    yield "q", cast(Value, node.args["q"])
    for number, (k, _) in enumerate(cast(Streams, node.args["sources"])):
        if k is not None:
            yield f"k{number}", k


def _attend(node: Node, operand: str, rows: Value, found: _Steps) -> Node:
    """Return the attention that reads rows in the place of an operand."""
    attention = cast(Attention, node.args["attention"])
    sources = tuple(
        (rows if operand == f"k{number}" else k, v)
        for number, (k, v) in enumerate(cast(Streams, node.args["sources"]))
    )
    args: Mapping[str, Arg] = {
        **node.args,
        "q": rows if operand == "q" else node.args["q"],
        "sources": sources,
        "tensors": (*cast(tuple[Value, ...], node.args["tensors"]), *found.tensors.values()),
        "attention": replace(
            attention,
            tensors=(*attention.tensors, *found.tensors),
            prologues=(*attention.prologues, found.prologue(operand)),
        ),
    }
    return replace(node, args=args)


@dataclass
class _Steps:
    """Reads steps back from the nodes that compute them.

    Attributes:
        attention: what they stand before.
        known: name -> tensor of the attention.
        makers: value -> the node that computes it, those in opened blocks too.
        steps: in the order in which they are done.
        tensors: name -> what they read.
        weights: nodes that read the weights of norms.
        edits: calls of blocks, and the nodes that stand for them.
    """

    block: Block
    attention: Attention
    known: Mapping[str, Value]
    steps: list[Step] = field(default_factory=list)
    tensors: dict[str, Value] = field(default_factory=dict)
    weights: list[Node] = field(default_factory=list)
    edits: dict[Node, Sequence[Node]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.makers = dict(self.block.makers)

    def prologue(self, operand: str) -> Prologue:
        """Return them as what becomes of an operand."""
        return Prologue(operand, tuple(self.steps))

    def read(self, value: Value) -> Value:
        """Return the rows before all steps; the value itself where there are none."""
        before = self._normed(value) or self._rotated(value)
        return value if before is None else self.read(before)

    def _normed(self, value: Value) -> Value | None:
        node = self.block.own(value, *_NORMS)
        if node is None or node.train or node.args["axis"] not in (-1, len(value.shape) - 1):
            return None
        x, eps = cast(Value, node.args["x"]), node.args["eps"]
        if not isinstance(eps, float):  # that of the dtype, whichever it will be
            return None
        kind = _NORMS[node.op]
        weight, bias = (
            self._weight(node, name) if node.args.get(name) else None for name in ("weight", "bias")
        )
        self.steps.insert(0, Normed(kind, eps, weight, bias))
        return x

    def _rotated(self, value: Value) -> Value | None:
        if any(isinstance(step, Rotated) for step in self.steps):
            return None
        call = self.block.own(value, "block")
        nodes = () if call is None else opened(call)
        self.makers |= {made: node for node in nodes for made in node.results}
        found = rotation(value, self.makers) if self.block.uses.get(value) == 1 else None
        if found is None:
            return None
        if call is not None:
            self.edits[call] = nodes
        cos, sin = self._tensor("cos", found.cos), self._tensor("sin", found.sin)
        self.steps.insert(0, Rotated(cos, sin, found.neighbours, found.by_column))
        return found.x

    def _weight(self, norm: Node, name: str) -> str:
        """Return what the weight or bias of a norm is called, read beside it."""
        x = cast(Value, norm.args["x"])
        made = Value(f"{norm.module}_{name}".replace(".", "_"), TensorType((x.shape[-1],)), x.spans)
        self.weights.append(Node("weight", {}, (made,), f"{norm.module}.{name}", spans=norm.spans))
        return self._tensor(made.name, made)

    def _tensor(self, name: str, value: Value) -> str:
        """Return what a tensor is called: as one that the attention has, or by a new name."""
        prologues = self.attention.prologues
        for each in prologue_tensors(prologues):
            if same(value, self.known[each], self.makers):
                return each
        while name in self.known or name in self.tensors:
            name += "_"
        self.tensors[name] = value
        return name


_NORMS: Mapping[str, str] = {op: kind for kind, op in NORMS.items()}
"""Operator -> kind of norm."""

"""The checked graph: what elaboration gives and the compiler lowers.

A `Body` is one block elaborated for given arguments and port shapes. Repeated blocks with
equal arguments and shapes share one Body object; their weights differ by path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Union

from attnc.dsl.attention import Attention
from attnc.dsl.dims import Shape, Size
from attnc.dsl.spans import SpanChain
from attnc.dsl.tree import Spec

Scalar = Union[int, float, bool, str, None]


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and kind of a tensor: dtype is `float` (the model's), `int`, `bool` or `complex`."""

    shape: Shape
    dtype: str = "float"

    def __str__(self) -> str:
        text = "[" + ", ".join(str(size) for size in self.shape) + "]"
        return text if self.dtype == "float" else f"{text} {self.dtype}"


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor of the graph, told apart by identity; `name` is what the spec calls it."""

    name: str
    type: TensorType
    spans: SpanChain = field(repr=False, default=())

    @property
    def shape(self) -> Shape:
        """The sizes of all axes."""
        return self.type.shape


Arg = Union[Value, Size, Scalar, Attention, tuple["Arg", ...], Mapping[str, "Arg"]]


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter or buffer.

    Attributes:
        init: `zeros`, `ones`, `normal(0.02)`, `trunc_normal(0.02)`, `linear` (the default of
            torch.nn.Linear and the convolutions), `embedding`, `constant` ...
        trainable: false for a buffer such as a running mean.
    """

    shape: tuple[int, ...]
    init: str = "linear"
    trainable: bool = True
    dtype: str = "float"

    @property
    def is_count(self) -> bool:
        """Whether it counts batches, as batch norms do: torch starts at 0 where a file lacks it."""
        return not self.trainable and self.dtype == "int" and self.shape == ()


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation.

    Attributes:
        op: a row of the operator table, or one of the four of the core: `block` (args: `ports`, the
            arguments in port order; `body` says which), `param` (args: shape, init; the weight at
            `module`), `weight` (reads weight `module` of an instance), `attend` (args: `q`,
            `sources` ((k, v), ...), `vq` or none, `tensors` (values in the order of
            attention.tensors), `attention`; k is none where attention.given).
        args: every parameter of the row, defaults filled in.
        results: one value per result.
        module: path inside the body of the sub-module or weight that belongs to this node:
            `fc1`, `blocks.3`; none where the node has no weights. Nodes with one path share them.
        body: the body called, where op is `block`.
        train: true for a node that runs in training mode only.
        spans: where it stands in its file.
    """

    op: str
    args: Mapping[str, Arg]
    results: tuple[Value, ...]
    module: str | None = None
    body: Body | None = None
    train: bool = False
    spans: SpanChain = field(repr=False, default=())


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A block for given arguments and port shapes, or the whole model.

    Attributes:
        name: the block's name in the spec; the model's name for the top.
        doc: its doc comment.
        arguments: the compile-time arguments, by name.
        ports: name -> a value, a tuple of values for a list of tensors, or none.
        nodes: in order of execution; every value is a port or made by an earlier node.
        outputs: the results, a value or a (nested) tuple of values.
        exits: early exits of the top: name -> value.
        dims: names of sizes that port annotations bind, for readable code: `d` -> 384.
        definition: the span of the block's declaration.
    """

    name: str
    doc: str | None
    arguments: Mapping[str, object]
    ports: Mapping[str, Arg]
    nodes: tuple[Node, ...]
    outputs: Arg
    exits: Mapping[str, Value] = field(default_factory=dict)
    dims: Mapping[str, Size] = field(default_factory=dict)
    definition: SpanChain = ()

    def calls(self) -> Iterator[Node]:
        """Yield the nodes that call another body."""
        return (node for node in self.nodes if node.op == "block")


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A whole model, checked.

    Attributes:
        spec: the surface tree it came from.
        params: the resolved value of every param.
        origins: param -> where its value came from, in words: `default`, `variant small`, `--set`.
        variant: the variant chosen, or none.
        body: the top; its ports are the inputs, its outputs a tuple in the order of `outputs`.
        inputs: name -> type.
        outputs: name -> value of the top body.
    """

    spec: Spec
    params: Mapping[str, object]
    origins: Mapping[str, str]
    variant: str | None
    body: Body
    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, Value]

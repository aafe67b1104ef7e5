"""Checked graphs built by hand, as elaboration would build them."""

from collections.abc import Mapping
from typing import cast

import pytest

from attnc.dsl.attention import All, Attention, Constant, Domain, Dot, Source
from attnc.dsl.dims import Size, symbol
from attnc.dsl.graph import Arg, Body, Graph, Node, TensorType, Value
from attnc.dsl.liveness import values
from attnc.dsl.ops import TABLE
from attnc.dsl.ops.row import REQUIRED
from attnc.dsl.scorelang import product
from attnc.dsl.spans import Source as Text
from attnc.dsl.spans import Span
from attnc.dsl.tree import Spec


class Block:
    """A body under construction. Ports are given by name and shape, `"b"` being a symbol."""

    def __init__(self, name: str, /, **ports: object) -> None:
        self.name = name
        self.ports = {port: self._port(port, shape) for port, shape in ports.items()}
        self.nodes: list[Node] = []

    def _port(self, name: str, shape: object) -> Arg:
        match shape:
            case None:
                return None
            case TensorType():
                return Value(name, shape)
            case list():
                items = enumerate(shape)
                return tuple(self._port(f"{name}_{at}", item) for at, item in items)
        return Value(name, TensorType(sizes(*cast(tuple[object, ...], shape))))

    def __getitem__(self, port: str) -> Value:
        return cast(Value, self.ports[port])

    def op(self, op: str, *given: Arg, module: str | None = None, **named: Arg) -> Value:
        """Add a row of the operator table that has one result."""
        return self.ops(op, *given, module=module, **named)[0]

    def ops(
        self, op: str, *given: Arg, module: str | None = None, **named: Arg
    ) -> tuple[Value, ...]:
        """Add a row of the operator table."""
        row = TABLE[op]
        args: dict[str, Arg] = {}
        positional = list(given)
        for parameter in row.parameters:
            name = parameter.name.lstrip("*")
            if parameter.name.startswith("**"):
                args[name] = {key: named[key] for key in named if key not in args}
            elif parameter.name.startswith("*"):
                args[name] = tuple(positional)
            elif name in named:
                args[name] = named[name]
            elif positional:
                args[name] = positional.pop(0)
            else:
                assert parameter.default is not REQUIRED, f"{op} lacks {name}"
                args[name] = cast(Arg, parameter.default)
        return self._add(op, args, row.infer(args), module)

    def attend(
        self,
        q: Value,
        *streams: Value,
        attention: Attention | None = None,
        domain: Domain | None = None,
        tensors: tuple[Value, ...] = (),
    ) -> tuple[Value, ...]:
        """Add an attention of the streams k, v, k, v, ...; scaled dot product unless stated."""
        score = product(Dot(), Constant(cast(int, q.shape[3]) ** -0.5))
        sources = tuple(zip(streams[::2], streams[1::2], strict=True))
        attention = attention or Attention(tuple(Source(domain or All(), score) for _ in sources))
        b, h, n, _ = q.shape
        shapes: Mapping[str, tuple[Size, ...]] = {
            "out": (b, h, n, streams[1].shape[3]),
            "weights": (b, h, n, streams[0].shape[2]),
            "lse": (b, h, n),
        }
        types = tuple(TensorType(shapes[name]) for name in attention.outputs)
        args: dict[str, Arg] = {
            "q": q, "sources": sources, "tensors": tensors, "attention": attention,
        }  # fmt: skip
        return self._add("attend", args, types, None)

    def param(
        self, path: str, *shape: int, init: str = "normal(0.02)", train: bool = True
    ) -> Value:
        """Add a weight, or a buffer."""
        args: dict[str, Arg] = {"shape": shape, "init": init, "trainable": train}
        return self._add("param", args, (TensorType(shape),), path)[0]

    def weight(self, path: str, *shape: int) -> Value:
        """Read a weight of an instance."""
        return self._add("weight", {}, (TensorType(shape),), path)[0]

    def call(self, body: Body, *ports: Arg, path: str) -> tuple[Value, ...]:
        """Call another body."""
        types = tuple(value.type for value in values(body.outputs))
        return self._add("block", {"ports": ports}, types, path, body)

    def _add(
        self,
        op: str,
        args: Mapping[str, Arg],
        types: tuple[TensorType, ...],
        module: str | None,
        body: Body | None = None,
    ) -> tuple[Value, ...]:
        results = tuple(Value(f"{op}_{len(self.nodes)}", type_) for type_ in types)
        self.nodes.append(Node(op, args, results, module, body))
        return results

    def done(self, outputs: Arg, **arguments: object) -> Body:
        """Return the body."""
        return Body(self.name, None, arguments, self.ports, tuple(self.nodes), outputs)

    def graph(self, **outputs: Value) -> Graph:
        """Return the body as a whole model."""
        span = Span(Text("test", ""), 0, 0)
        spec = Spec(self.name, span)
        inputs = {name: cast(Value, port).type for name, port in self.ports.items()}
        return Graph(spec, {}, {}, None, self.done(tuple(outputs.values())), inputs, outputs)


def sizes(*shape: object) -> tuple[Size, ...]:
    """Read a shape in which texts are symbols."""
    return tuple(symbol(size) if isinstance(size, str) else cast(Size, size) for size in shape)


@pytest.fixture
def block() -> type[Block]:
    """The class that builds bodies."""
    return Block

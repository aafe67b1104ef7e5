"""Windows that are cut around a block that attends within each are cut inside the block."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from attnc.compiler.recognise.early import early_windows
from attnc.compiler.recognise.maps import ports
from attnc.compiler.recognise.rewriting import Block, Edits, edited, is_whole
from attnc.compiler.recognise.tokenwise import moved, moves_before, moves_behind
from attnc.compiler.recognise.windows import windows_in_batch
from attnc.dsl.dims import Size
from attnc.dsl.graph import Arg, Body, Node, Value


def windows_around(node: Node, block: Block) -> Edits | None:
    """Recognise windows that are cut before a block is called, and put together behind it.

    The block then takes and gives tokens where they are. None unless an attention in it becomes
    one over windows. All calls of one block by which the same is done share what it becomes.
    """
    call = None if block.target.kind == "cpu" else _Call.of(node, block)
    body = None if call is None else _over_windows(call.inside(), block)
    if call is None or body is None:
        return None
    edits = call.edits(body)
    for other in block.body.nodes:
        like = _Call.of(other, block) if other.body is node.body and other is not node else None
        if like is not None and like.signature == call.signature:
            more = {**edits, **like.edits(body)}
            edits = more if is_whole(edited(block.body, more)) else edits
    return edits


def _over_windows(body: Body, block: Block) -> Body | None:
    """Return a body with attentions over windows; none if there are no such attentions."""
    found = None
    for recogniser in (early_windows, windows_in_batch):
        for node in body.nodes:
            edits = recogniser(node, Block.of(body, block.machine))
            if edits:
                body = edited(body, edits)
                found = body if recogniser is windows_in_batch else found
    return found


class _Call:
    """A call of a block with what moves tokens around it.

    Attributes:
        before: port -> what brings its tokens where they are, the first one first.
        behind: what brings those of the result elsewhere.
    """

    def __init__(
        self, node: Node, before: dict[Value, tuple[Node, ...]], behind: tuple[Node, ...]
    ) -> None:
        self.node, self.before, self.behind = node, before, behind

    @classmethod
    def of(cls, node: Node, block: Block) -> _Call | None:
        """Return a call that has moves on both sides."""
        if node.op != "block" or node.train or len(node.results) != 1:
            return None
        body = cast(Body, node.body)
        if body.exits or not isinstance(body.outputs, Value):
            return None
        before = {port: moves_before(each, block) for port, each in ports(node).items()}
        before = {port: moves for port, moves in before.items() if moves}
        behind = moves_behind(node, block)
        return cls(node, before, behind) if before and behind else None

    @property
    def signature(self) -> object:
        """What is the same for calls that can share a block."""

        def text(move: Node) -> tuple[object, ...]:
            given = {name: each for name, each in move.args.items() if name != "x"}
            return move.op, repr(given), cast(Value, move.args["x"]).type

        before = {port: [*map(text, moves)] for port, moves in self.before.items()}
        return before, [*map(text, self.behind)]

    def inside(self) -> Body:
        """Return the block with the moves in it."""
        body = cast(Body, self.node.body)
        taken = {port: _first(moves) for port, moves in self.before.items()}
        outer = {port: replace(each, name=port.name) for port, each in taken.items()}
        nodes: list[Node] = []
        for port, moves in self.before.items():
            x = outer[port]
            for move in moves:
                nodes.append(moved(move, x, (port,) if move is moves[-1] else None))
                x = nodes[-1].results[0]
        nodes += body.nodes
        x = cast(Value, body.outputs)
        for move in self.behind:
            nodes.append(moved(move, x))
            x = nodes[-1].results[0]
        given: dict[str, Arg] = {
            name: outer.get(port, port) if isinstance(port, Value) else port
            for name, port in body.ports.items()
        }
        sizes = {size for port in given.values() for size in _sizes(port)}
        dims = {name: size for name, size in body.dims.items() if size in sizes}
        return replace(body, ports=given, nodes=tuple(nodes), outputs=x, dims=dims)

    def edits(self, body: Body) -> dict[Node, tuple[Node, ...]]:
        """Return the call of a block with the moves in it instead."""
        named = cast(Body, self.node.body).ports.values()
        taken = {port: _first(moves) for port, moves in self.before.items()}
        given = tuple(
            taken.get(port, each) if isinstance(port, Value) else each
            for port, each in zip(
                named, cast(tuple[Arg, ...], self.node.args["ports"]), strict=True
            )
        )
        args = {**self.node.args, "ports": given}
        call = replace(self.node, args=args, body=body, results=self.behind[-1].results)
        return {self.node: (call,), **dict.fromkeys(self.behind, ())}


def _first(moves: tuple[Node, ...]) -> Value:
    return cast(Value, moves[0].args["x"])


def _sizes(port: Arg) -> tuple[Size, ...]:
    return port.shape if isinstance(port, Value) else ()

"""softmax(q k^T * scale + bias) v, written with matmul and softmax, is an attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from attnc.compiler.recognise.rewriting import Block, made
from attnc.dsl.attention import (
    All,
    Attention,
    Constant,
    Coordinate,
    Dot,
    Load,
    ScoreTree,
    SoftmaxKeys,
    SoftmaxQueries,
    Source,
)
from attnc.dsl.graph import Arg, Node, TensorType, Value
from attnc.dsl.scorelang import COORDINATES, loads, make, product, simplify
from attnc.dsl.scorelang.construct import as_float

RANK = len(COORDINATES)
SINGLE = ("b", "i", "j")
"""The axes of scores of a single head."""


def products(node: Node, block: Block) -> Sequence[Node] | None:
    """Recognise `matmul(softmax(s), v)`, s being a product of matrices with what scores may have.

    Operands are [b, h, n, d], or [b, n, d] for a single head.
    """
    softmax = block.own(node.args["a"], "softmax") if node.op == "matmul" else None
    if softmax is None:
        return None
    v, weights = node.args["b"], softmax.results[0]
    axis = softmax.args["axis"]
    found = _Score(block, COORDINATES if len(weights.shape) == RANK else SINGLE)
    if not isinstance(v, Value) or axis not in _NORMALISERS or len(v.shape) < 3:
        return None
    score = found.read(softmax.args["x"])
    if score is None or not found.agrees(weights, v):
        return None
    return _attention(node, found, score, v, _NORMALISERS[axis])


_NORMALISERS: Mapping[object, type[SoftmaxKeys] | type[SoftmaxQueries]] = {
    -1: SoftmaxKeys, -2: SoftmaxQueries,
}  # fmt: skip


@dataclass
class _Score:
    """Reads a score back from the nodes that compute it; each must serve it alone.

    Attributes:
        axes: the coordinates that the axes of scores stand for.
        q: [b, h, n, d] or [b, n, d], once the product was found.
        keys: [b, h, d, m] or [b, d, m], k transposed.
        tensors: name -> what the score loads.
    """

    block: Block
    axes: tuple[str, ...]
    q: Value | None = None
    keys: Value | None = None
    tensors: dict[str, Value] = field(default_factory=dict)

    def read(self, arg: Arg) -> ScoreTree | None:
        """Return the score; none where a step is not one that scores have."""
        node = self.block.own(arg, *_STEPS)
        return None if node is None else _STEPS[node.op](self, node)

    def agrees(self, scores: Value, v: Value) -> bool:
        """Say whether q, k and v have the same batch and heads, and nothing was broadcast."""
        if self.q is None or self.keys is None or len(scores.shape) != len(self.axes):
            return False
        if any(each.type.dtype != "float" for each in (self.q, self.keys, v)):
            return False
        batches = {each.shape[:-2] for each in (self.q, self.keys, v, scores)}
        pairs = (self.q.shape[-2], self.keys.shape[-1])
        return len(batches) == 1 and scores.shape[-2:] == pairs and v.shape[-2] == pairs[1]

    def dot(self, node: Node) -> ScoreTree | None:
        q, keys = node.args["a"], node.args["b"]
        if self.q is not None or not isinstance(q, Value) or not isinstance(keys, Value):
            return None
        self.q, self.keys = q, keys
        return Dot()

    def arithmetic(self, node: Node) -> ScoreTree | None:
        """Read `s + t`, `s * t` ... where t is a number or a tensor that broadcasts."""
        a, b = node.args["a"], node.args["b"]
        left = self.read(a) if self._is_scores(a) else None
        right = self.read(b) if left is None and self._is_scores(b) else None
        other = self._operand(b if left is not None else a)
        if other is None or (left is None and right is None):
            return None
        if left is not None and node.op == "divide" and isinstance(other, Constant):
            return product(left, Constant(1 / other.value)) if other.value else None
        operands = (left, other) if left is not None else (other, right)
        return make(_FUNCTIONS[node.op], *cast(tuple[ScoreTree, ...], operands))

    def chosen(self, node: Node) -> ScoreTree | None:
        """Read `where(c, s, x)`."""
        return self._filled(node.args["condition"], node.args["a"], node.args["b"])

    def filled(self, node: Node) -> ScoreTree | None:
        """Read `masked_fill(s, c, x)`, which is `where(c, x, s)`."""
        return self._filled(node.args["mask"], node.args["x"], node.args["value"], is_other=True)

    def _filled(self, at: Arg, scores: Arg, value: Arg, is_other: bool = False) -> ScoreTree | None:
        condition, score, other = self._operand(at), self.read(scores), self._operand(value)
        if condition is None or score is None or other is None:
            return None
        return make("where", condition, *((other, score) if is_other else (score, other)))

    def _is_scores(self, arg: Arg) -> bool:
        return self.block.own(arg, *_STEPS) is not None

    def _operand(self, arg: Arg) -> ScoreTree | None:
        """Return a number, or an element of a tensor at the pair that it broadcasts to."""
        if isinstance(arg, (int, float)) and not isinstance(arg, bool):
            return Constant(float(arg))
        if (
            not isinstance(arg, Value)
            or arg.type.dtype == "complex"
            or len(arg.shape) > len(self.axes)
        ):
            return None
        name = next((name for name, known in self.tensors.items() if known is arg), arg.name)
        while self.tensors.get(name, arg) is not arg:
            name += "_"
        self.tensors[name] = arg
        names = self.axes[len(self.axes) - len(arg.shape) :]
        indices = (
            Constant(0) if size == 1 else Coordinate(axis)
            for axis, size in zip(names, arg.shape, strict=True)
        )
        return Load(name, tuple(indices), arg.type.dtype)


_STEPS: Mapping[str, Callable[[_Score, Node], ScoreTree | None]] = {
    "matmul": _Score.dot,
    "add": _Score.arithmetic,
    "subtract": _Score.arithmetic,
    "multiply": _Score.arithmetic,
    "divide": _Score.arithmetic,
    "where": _Score.chosen,
    "masked_fill": _Score.filled,
}
_FUNCTIONS = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div"}


def _attention(
    node: Node,
    found: _Score,
    score: ScoreTree,
    v: Value,
    normaliser: type[SoftmaxKeys] | type[SoftmaxQueries],
) -> Sequence[Node]:
    """Return the attention, with what brings its operands to [b, h, n, d] and its result back."""
    assert found.q is not None and found.keys is not None
    back = found.block.maker(found.keys, "transpose")
    ahead = [made("transpose", node, x=found.keys)]
    k: Arg = ahead[0].results[0]
    if back is not None and {back.args["a"], back.args["b"]} == {-1, -2}:
        ahead, k = [], back.args["x"]
    streams: list[Arg] = [found.q, k, v]
    results, behind = node.results, list[Node]()
    if len(found.axes) < RANK:
        wide = [made("unsqueeze", node, x=each, axis=1) for each in streams]
        ahead, streams = [*ahead, *wide], [each.results[0] for each in wide]
        b, n, e = results[0].shape
        results = (replace(results[0], type=TensorType((b, 1, n, e))),)
        behind = [made("squeeze", node, node.results, x=results[0], axis=1)]
    source = Source(All(), as_float(simplify(score)))
    tensors = {name: found.tensors[name] for name in loads(source.score)}
    args: Mapping[str, Arg] = {
        "q": streams[0],
        "sources": ((streams[1], streams[2]),),
        "vq": None,
        "tensors": tuple(tensors.values()),
        "attention": Attention((source,), normaliser=normaliser(), tensors=tuple(tensors)),
    }
    return [*ahead, replace(node, op="attend", args=args, results=results), *behind]

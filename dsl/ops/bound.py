"""What the names of a signature stand for, and its size expressions."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence

from attnc.dsl.dims import Dim, Shape, Size
from attnc.dsl.graph import Arg, Value

Rule = Callable[..., Arg]
"""A shape rule, called as `rule(bound, *arguments)`; gives a size, a shape or a tuple of shapes."""

_ARITHMETIC: Mapping[type[ast.operator], Callable[[Size, Size], Size]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


class Bound:
    """What the names of a signature stand for: arguments, sizes, and tuples of sizes for stars."""

    __slots__ = ("_names", "_rules")

    def __init__(self, args: Mapping[str, Arg], rules: Mapping[str, Rule]) -> None:
        self._names: dict[str, Arg] = dict(args)
        self._rules = rules

    def __getitem__(self, name: str) -> Arg:
        return self._names[name]

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def get(self, name: str, default: Arg = None) -> Arg:
        """Return what a name stands for, or the default for an unknown one."""
        return self._names.get(name, default)

    def add(self, name: str, value: Arg) -> None:
        """Let `name` stand for `value`."""
        self._names[name] = value

    def value(self, name: str) -> Value:
        """Return a tensor."""
        value = self._names[name]
        assert isinstance(value, Value)
        return value

    def shape(self, name: str) -> Shape:
        """Return the sizes of a star or a list of sizes; of a tensor its shape."""
        return shape_of(self._names[name])

    def size(self, name: str) -> Size:
        """Return a size."""
        return as_size(self._names[name])

    def integer(self, name: str) -> int:
        """Return a whole number."""
        value = self._names[name]
        assert isinstance(value, int)
        return value

    def text(self, name: str) -> str:
        """Return a text."""
        value = self._names[name]
        assert isinstance(value, str)
        return value

    def evaluate(self, node: ast.expr) -> Arg:
        """Evaluate an expression of a signature."""
        match node:
            case ast.Constant(value=int() as value):
                return value
            case ast.Name(id=name):
                return self._names[name]
            case ast.BinOp(left=left, op=op, right=right):
                sizes = as_size(self.evaluate(left)), as_size(self.evaluate(right))
                return _ARITHMETIC[type(op)](*sizes)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self._rules[name](self, *map(self.evaluate, arguments))
        raise ValueError(f"no expression of a signature: {ast.dump(node)}")

    def evaluate_shape(self, axes: Sequence[ast.expr]) -> Shape:
        """Evaluate the axes of a pattern."""
        shape: list[Size] = []
        for axis in axes:
            if isinstance(axis, ast.Starred):
                shape.extend(shape_of(self.evaluate(axis.value)))
            else:
                shape.append(as_size(self.evaluate(axis)))
        return tuple(shape)


def shape_of(value: Arg) -> Shape:
    """Return the shape of a tensor, a tuple of sizes as it is, and no axes for a number."""
    if isinstance(value, Value):
        return value.shape
    return tuple(map(as_size, value)) if isinstance(value, tuple) else ()


def as_size(value: Arg) -> Size:
    """Narrow an argument that is a size."""
    assert isinstance(value, (int, Dim))
    return value


def tensors_in(value: Arg) -> tuple[Value, ...]:
    """Return the tensors in an argument, which may be a tuple of them."""
    items = value if isinstance(value, tuple) else (value,)
    return tuple(item for item in items if isinstance(item, Value))

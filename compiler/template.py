"""Operator templates become FX nodes: `F.gelu({x}, approximate={approximate})` is a call."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.node import Argument, Target

_HOLE = re.compile(r"\{(\w+)\}")
_PREFIX = "hole_"

NAMES: Mapping[str, object] = {"torch": torch, "F": F, "nn": nn}
"""What a template may name besides its holes."""

OPERATORS: Mapping[type[ast.AST], Callable[..., object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.MatMult: operator.matmul,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True, slots=True)
class Module:
    """What the hole `{module}` stands for: calling it calls the sub-module at `path`."""

    path: str


@cache
def _parsed(text: str) -> ast.expr:
    return ast.parse(_HOLE.sub(rf"{_PREFIX}\1", text), mode="eval").body


class Writer:
    """Writes the expression of a template as nodes at the end of an FX graph.

    Attributes:
        graph: where nodes go.
        hole: gives what stands in for a hole: a node, a number, a tuple of those, a `Module`.
    """

    def __init__(self, graph: fx.Graph, hole: Callable[[str], object]) -> None:
        self.graph, self.hole = graph, hole
        self._root: ast.expr | None = None
        self._name = ""

    def write(self, text: str, name: str) -> object:
        """Return the result of a template: a node, or a tuple of nodes for several results.

        Args:
            name: for the node of the whole expression.

        Raises:
            TypeError: the template uses syntax that templates do not have.
        """
        self._root, self._name = _parsed(text), name
        return self._value(self._root)

    def _value(self, tree: ast.expr) -> object:
        if type(tree) not in _RULES:
            raise TypeError(f"templates have no {type(tree).__name__}")
        return _RULES[type(tree)](self, tree)

    def _constant(self, tree: ast.Constant) -> object:
        return tree.value

    def _named(self, tree: ast.Name) -> object:
        if tree.id.startswith(_PREFIX):
            return self.hole(tree.id.removeprefix(_PREFIX))
        return NAMES[tree.id]

    def _attribute(self, tree: ast.Attribute) -> object:
        """`torch.float32` is looked up now, `x.real` when the module runs."""
        return self._apply(tree, getattr, self._value(tree.value), tree.attr)

    def _call(self, tree: ast.Call) -> object:
        op, target, receiver = self._callee(tree.func)
        keywords = {str(each.arg): self._value(each.value) for each in tree.keywords}
        return self._create(tree, op, target, (*receiver, *self._items(tree.args)), keywords)

    def _callee(self, tree: ast.expr) -> tuple[str, object, tuple[object, ...]]:
        """Return the FX op, its target, and the tensor whose method it is."""
        if isinstance(tree, ast.Attribute):
            base = self._value(tree.value)
            if isinstance(base, fx.Node):
                return "call_method", tree.attr, (base,)
            return "call_function", getattr(base, tree.attr), ()
        function = self._value(tree)
        if isinstance(function, Module):
            return "call_module", function.path, ()
        return "call_function", function, ()

    def _subscript(self, tree: ast.Subscript) -> object:
        return self._apply(tree, operator.getitem, self._value(tree.value), self._value(tree.slice))

    def _slice(self, tree: ast.Slice) -> object:
        parts = (tree.lower, tree.upper, tree.step)
        return slice(*(None if part is None else self._value(part) for part in parts))

    def _tuple(self, tree: ast.Tuple) -> object:
        return self._items(tree.elts)

    def _list(self, tree: ast.List) -> object:
        return [*self._items(tree.elts)]

    def _binary(self, tree: ast.BinOp) -> object:
        left, right = self._value(tree.left), self._value(tree.right)
        return self._apply(tree, OPERATORS[type(tree.op)], left, right)

    def _unary(self, tree: ast.UnaryOp) -> object:
        return self._apply(tree, OPERATORS[type(tree.op)], self._value(tree.operand))

    def _compare(self, tree: ast.Compare) -> object:
        left, right = self._value(tree.left), self._value(tree.comparators[0])
        return self._apply(tree, OPERATORS[type(tree.ops[0])], left, right)

    def _apply(self, tree: ast.expr, function: Callable[..., object], *arguments: object) -> object:
        """Compute now where all operands are known, else when the module runs."""
        if nodes_in(arguments):
            return self._create(tree, "call_function", function, arguments, {})
        return function(*arguments)

    def _items(self, trees: list[ast.expr]) -> tuple[object, ...]:
        items: list[object] = []
        for tree in trees:
            if isinstance(tree, ast.Starred):
                items.extend(cast(tuple[object, ...], self._value(tree.value)))
            else:
                items.append(self._value(tree))
        return tuple(items)

    def _create(
        self,
        tree: ast.expr,
        op: str,
        target: object,
        arguments: tuple[object, ...],
        keywords: dict[str, object],
    ) -> fx.Node:
        return self.graph.create_node(
            op,
            cast(Target, target),
            cast(tuple[Argument, ...], arguments),
            cast(dict[str, Argument], keywords),
            name=self._name if tree is self._root else None,
        )


def nodes_in(argument: object) -> list[fx.Node]:
    """Return the nodes inside an argument, however nested."""
    found: list[fx.Node] = []
    fx.node.map_arg(cast(Argument, argument), found.append)
    return found


_RULES: Mapping[type[ast.AST], Callable[..., object]] = {
    ast.Constant: Writer._constant,
    ast.Name: Writer._named,
    ast.Attribute: Writer._attribute,
    ast.Call: Writer._call,
    ast.Subscript: Writer._subscript,
    ast.Slice: Writer._slice,
    ast.Tuple: Writer._tuple,
    ast.List: Writer._list,
    ast.BinOp: Writer._binary,
    ast.UnaryOp: Writer._unary,
    ast.Compare: Writer._compare,
}

"""The statements of one body: one for each node, in order, each tensor under a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import cast

from attnc.dsl import tree
from attnc.dsl.attention import Attention
from attnc.dsl.dims import symbols
from attnc.dsl.graph import Body, Node, Value
from attnc.dsl.ops import TABLE
from attnc.dsl.unroll.attend import HIDDEN, attend_call
from attnc.dsl.unroll.blocks import Group, Leaf, leaves, sizes_in
from attnc.dsl.unroll.calls import (
    block_call,
    indexed,
    instance,
    instance_call,
    labelled,
    row_call,
    weight_call,
)
from attnc.dsl.unroll.names import Names
from attnc.dsl.unroll.notation import HERE, argument, assign, name

Statements = tuple[tree.Statement, ...]


def statements(
    body: Body, groups: Mapping[Body, Group], names: Names, taken: Sequence[Leaf] = ()
) -> Statements:
    """Return the statements of a body, without those for its results.

    Args:
        groups: the blocks that it may call.
        names: taken names, and those of the ports.
        taken: tensors to take out of lists first.
    """
    return _Writer(body, groups, names).statements(taken)


class _Writer:
    """Writes one body.

    Attributes:
        made: the statements so far, each with whether it is for training mode only.
        instances: the name of the instance at a path, and the first node there.
        weights: the tensor that holds the weight at a path.
        sizes: what sizes are called in scores, where their own names are hidden.
        exits: those still to come, in order.
    """

    def __init__(self, body: Body, groups: Mapping[Body, Group], names: Names) -> None:
        self.body, self.groups, self.names, self.called = body, groups, names, names.called
        self.made: list[tuple[bool, tree.Statement]] = []
        self.instances: dict[str, tuple[str, Node]] = {}
        self.weights: dict[str, Value] = {}
        self.sizes: dict[str, str] = {}
        self.exits = list(body.exits.items())

    def statements(self, taken: Sequence[Leaf]) -> Statements:
        for leaf in taken:
            target = name(self.called[leaf.value])
            self.add(replace(assign(target, leaf.source), annotation=leaf.shape))
        self.name_sizes()
        self.share()
        for node in self.body.nodes:
            self.leave(node.train)
            self.write(node)
        self.leave(False)
        return tuple(_grouped(self.made))

    def add(self, statement: tree.Statement, train: bool = False) -> None:
        self.made.append((train, statement))

    # What stands at the beginning -------------------------------------------------------

    def name_sizes(self) -> None:
        """Give sizes whose names are hidden in scores another one: `h_size = h`."""
        attentions = [node.args["attention"] for node in self.body.nodes if node.op == "attend"]
        used = {
            each
            for attention in attentions
            for size in sizes_in(cast(Attention, attention))
            for each in symbols(size)
        }
        for each in sorted(used & HIDDEN):
            self.sizes[each] = self.names.fresh(f"{each}_size")
            self.add(assign(name(self.sizes[each]), name(each)))

    def share(self) -> None:
        """Make an instance for every path that several nodes share, or that a weight is read of."""
        count = Counter(node.module for node in self.body.nodes if _is_callable(node))
        read = {_owner(node) for node in self.body.nodes if node.op == "weight"}
        for node in self.body.nodes:
            path = node.module
            shared = path is not None and (count[path] > 1 or path in read)
            if path is not None and shared and _is_callable(node) and path not in self.instances:
                word = self.names.fresh(path.replace(".", "_"))
                self.instances[path] = word, node
                made = self.groups[node.body].name if node.body else None
                used = tree.Use(instance(node, made), HERE)
                self.add(assign(name(word), labelled(used, path)))
        self.share_training_weights()

    def share_training_weights(self) -> None:
        """Write weights of training mode that several nodes read where all of them see it."""
        params = [node for node in self.body.nodes if node.op == "param" and node.train]
        count = Counter(node.module for node in params)
        for node in params:
            if count[node.module] > 1:
                self.write(replace(node, train=False))

    # Nodes --------------------------------------------------------------------------------

    def write(self, node: Node) -> None:
        writers: Mapping[str, Callable[[Node], tree.Expr | None]] = {
            "param": self.param, "weight": self.weight, "block": self.block,
            "attend": lambda node: attend_call(node, self.called, self.sizes),
            "slice_update": self.update,
        }  # fmt: skip
        value = writers.get(node.op, self.row)(node)
        if value is not None and _is_nested(node):
            self.take_apart(node, value)
        elif value is not None:
            self.add(self.bound(node, value), node.train)

    def bound(self, node: Node, value: tree.Expr) -> tree.Assign:
        """Return the assignment of a node's value to new names, with shapes behind it."""
        targets = tuple(name(self.names.call(each)) for each in node.results)
        comment = ", ".join(str(each.type) for each in node.results)
        return tree.Assign(targets, "=", value, None, HERE, trailing=comment)

    def take_apart(self, node: Node, value: tree.Expr) -> None:
        """Name a list that a block gives, then each tensor in it."""
        word = self.names.fresh("results")
        self.add(assign(name(word), value), node.train)
        outputs = cast(Body, node.body).outputs
        for result, (_, item) in zip(node.results, leaves(outputs, name(word)), strict=True):
            line = assign(name(self.names.call(result)), item)
            self.add(replace(line, trailing=str(result.type)), node.train)

    def param(self, node: Node) -> tree.Expr | None:
        path = cast(str, node.module)
        (result,) = node.results
        first = self.weights.setdefault(path, result)
        if first is result and result not in self.called:
            return labelled(weight_call(node), path)
        self.called[result] = self.called[first]
        return None

    def weight(self, node: Node) -> tree.Expr:
        word, _ = self.instances[_owner(node)]
        return tree.Attribute(name(word), cast(str, node.module).rpartition(".")[2], HERE)

    def block(self, node: Node) -> tree.Expr:
        path, group = cast(str, node.module), self.groups[cast(Body, node.body)]
        if path not in self.instances:
            return labelled(block_call(node, group, group.name, self.called), path)
        return block_call(node, group, self.instances[path][0], self.called)

    def row(self, node: Node) -> tree.Expr:
        if node.module in self.instances:
            word, first = self.instances[node.module]
            return instance_call(node, first, word, self.called)
        value = labelled(row_call(node, self.called), node.module)
        lone = TABLE[node.op].is_tuple and len(node.results) == 1
        return tree.Index(value, (tree.Number(0, HERE),), HERE) if lone else value

    def update(self, node: Node) -> None:
        """Write `y = x`, then `y[:, 0:1] = value`."""
        x, value = node.args["x"], node.args["value"]
        copy = assign(name(self.names.call(node.results[0])), name(self.called[cast(Value, x)]))
        target = indexed(copy.targets[0], node.args["spec"])
        self.add(copy, node.train)
        update = assign(target, argument(value, self.called))
        self.add(replace(update, trailing=str(node.results[0].type)), node.train)

    def leave(self, train: bool) -> None:
        """Write the exits that come next as soon as their values are there.

        A value of training mode is seen in the `when train` only that makes it.
        """
        while self.exits and self.exits[0][1] in self.called:
            word, value = self.exits.pop(0)
            inside = bool(self.made) and self.made[-1][0]
            self.add(tree.Exit(word, name(self.called[value]), HERE), inside)


def _grouped(made: Sequence[tuple[bool, tree.Statement]]) -> Iterator[tree.Statement]:
    for train, run in groupby(made, key=lambda each: each[0]):
        lines = tuple(statement for _, statement in run)
        yield from (tree.When(lines, HERE),) if train else lines


def _is_nested(node: Node) -> bool:
    """Say whether a block gives a list of one, or lists in a list."""
    outputs = node.body.outputs if node.body else ()
    items = outputs if isinstance(outputs, tuple) else ()
    return len(items) == 1 or any(isinstance(item, tuple) for item in items)


def _is_callable(node: Node) -> bool:
    return node.op not in ("param", "weight")


def _owner(node: Node) -> str:
    """Return the path of the instance whose weight is read."""
    return cast(str, node.module).rpartition(".")[0]

"""The nodes of a lowered block as steps: what each computes, what it is called."""

from __future__ import annotations

import operator
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import cast

from torch import fx

from attnc.compiler.emit.code import (
    Call,
    Expr,
    ListOf,
    Literal,
    Name,
    Role,
    rewrite,
)
from attnc.compiler.emit.expressions import argument, call_function, call_method
from attnc.compiler.emit.flow import Step
from attnc.compiler.emit.members import Folder, reference
from attnc.compiler.emit.naming import identifier
from attnc.compiler.emit.reader import read_expression, read_spec
from attnc.compiler.kernel import Kernel, Site
from attnc.compiler.leaf import Attend
from attnc.compiler.sites import site_operands
from attnc.compiler.unit import Origin
from attnc.dsl.dims import Size
from attnc.dsl.graph import Body, TensorType, Value
from attnc.dsl.ops import TABLE

Kernels = Callable[[Site], Kernel]

_HOLE = re.compile(r"\{(\w+)\}")
_WIDEST = 14
"""Columns that a size may take in a comment."""
_QUERIES: Mapping[str, str] = {"device": "dtype", "dtype": "dtype", "shape": "shape"}
"""What one asks a tensor -> what must be equal for another tensor to give the same answer."""


class Steps:
    """Reads one graph module.

    Attributes:
        module: the block.
        root: what it holds, for references to it.
        kernels: gives the kernel of each site.
        exits: nodes that get a line in any case, with the name of the exit.
    """

    def __init__(
        self, module: fx.GraphModule, root: Folder, kernels: Kernels, exits: Mapping[str, str]
    ) -> None:
        self.module, self.root, self.kernels, self.exits = module, root, kernels, exits
        self.nodes = tuple(module.graph.nodes)
        self.body = cast(Body | None, module.meta.get("body"))

    @cached_property
    def ports(self) -> tuple[fx.Node, ...]:
        """The placeholders."""
        return tuple(node for node in self.nodes if node.op == "placeholder")

    @cached_property
    def wishes(self) -> dict[str, str]:
        """The name that the spec gave each node, where it did."""
        wishes: dict[str, str] = {}
        for node in self.nodes:
            name = node.target if node.op == "placeholder" else self._name(node)
            name = self.exits.get(node.name, name)
            if name:
                wishes[node.name] = identifier(str(name))
        for node in reversed(self.nodes):
            follower = self._follower(node)
            if follower is not None and follower.name in wishes:
                wishes[node.name] = wishes[follower.name]
        return wishes

    def _follower(self, node: fx.Node) -> fx.Node | None:
        """Return the call of the next block of a list, where it alone takes the result of one."""
        user = next(iter(node.users)) if len(node.users) == 1 else None
        if user is None or user.op != "call_module" or node.op != "call_module":
            return None
        (*path, number), (*others, following) = (str(n.target).split(".") for n in (node, user))
        follows = number.isdigit() and following.isdigit() and int(following) == int(number) + 1
        return user if follows and path == others else None

    def all(self) -> list[Step]:
        """Return a step for every node that computes something."""
        steps = []
        for node in self.nodes:
            if node.op in ("placeholder", "output") or self._is_item(node) or node in self.hoisted:
                continue
            steps.append(self._step(node))
        return steps

    def _step(self, node: fx.Node) -> Step:
        about = origin(node)
        items = self._items(node)
        shown = items[0] if items else node
        return Step(
            node.name,
            self._value(node),
            self._targets(node, items),
            is_named=self._is_named(node) or node.name in self.exits,
            is_free=self._is_free(node),
            train=about.train,
            turn=_turn(node),
            shape=self._shown_shape(shown) if self._is_worth_showing(node, items) else None,
        )

    def _value(self, node: fx.Node) -> Expr:
        said = said_of(node)
        match node.op:
            case "call_function":
                return call_function(node, said)
            case "call_method":
                return call_method(node, said)
            case "get_attr":
                return reference(self.root, str(node.target))
        leaf = self.module.get_submodule(str(node.target))
        operands = tuple(argument(value, said) for value in node.args)
        if isinstance(leaf, Attend):
            return _kernel_call(self.kernels(leaf.site), leaf.site, operands, said)
        keywords = tuple((name, argument(value, said)) for name, value in node.kwargs.items())
        return Call(reference(self.root, str(node.target)), operands, keywords)

    # Several results --------------------------------------------------------------------

    def _is_item(self, node: fx.Node) -> bool:
        return node.target is operator.getitem and bool(self._items(cast(fx.Node, node.args[0])))

    def _items(self, node: fx.Node) -> list[fx.Node]:
        """Return the nodes that take a result apart; none where it is not taken apart so."""
        if node.op == "placeholder" or len(origin(node).types) == 1 or node.target is getattr:
            return []
        users = list(node.users)
        if not all(user.target is operator.getitem and user.args[0] is node for user in users):
            return []
        used = {user.args[1] for user in users}
        if len(used) < 2 or len(used) < len(users) or not all(isinstance(at, int) for at in used):
            return []
        return sorted(users, key=lambda user: cast(int, user.args[1]))

    def _targets(self, node: fx.Node, items: list[fx.Node]) -> tuple[str | None, ...]:
        if not items:
            return ()
        by_place = {cast(int, item.args[1]): item for item in items}
        count = self._count(node) or max(by_place) + 1
        used = {at: item.name for at, item in by_place.items() if item.users}
        return tuple(used.get(at) for at in range(count))

    def _count(self, node: fx.Node) -> int | None:
        """Return how many results a node has, where something tells."""
        if node.op == "call_module":
            child = self.module.get_submodule(str(node.target))
            if isinstance(child, Attend):
                return len(child.site.attention.outputs)
            outputs = child.meta["body"].outputs if isinstance(child, fx.GraphModule) else None
            return len(outputs) if isinstance(outputs, tuple) else None
        if node.target == "chunk":
            return cast(int, node.args[1])
        if node.target == "split" and isinstance(node.args[1], (tuple, list)):
            return len(node.args[1])
        return None

    # Names ------------------------------------------------------------------------------

    def _name(self, node: fx.Node) -> str | None:
        about = origin(node)
        if about.size is not None and not isinstance(about.size, int):
            return self.size_name(about.size)
        if not about.names:
            return None
        if about.names[0] in TABLE:
            return self._field(node, about.names[0])
        return "attended" if about.names[0] == "attend" else about.names[0]

    def _field(self, node: fx.Node, op: str) -> str | None:
        """Return what an operator with several results calls one of them: `index` of `topk`."""
        fields = TABLE[op].result_fields
        if node.target is not operator.getitem or not fields or not isinstance(node.args[1], int):
            return None
        return fields[node.args[1]]

    def _is_named(self, node: fx.Node) -> bool:
        """Say whether the spec bound the result of a node to a name."""
        about = origin(node)
        if not about.names or about.names[0] in TABLE or about.names[0] == "attend":
            return False
        if node.op != "call_module":
            return node.op != "get_attr"
        child = self.module.get_submodule(str(node.target))
        if not isinstance(child, fx.GraphModule) or _turn(node):
            return True
        outputs = child.meta["body"].outputs
        return not isinstance(outputs, Value) or outputs.name != about.names[0]

    def size_name(self, size: Size) -> str:
        """Return what the block calls a symbolic size."""
        known = self.body.dims if self.body else {}
        name = next((name for name, value in known.items() if value == size), str(size))
        return name if name.isidentifier() else "size"

    # Questions to ports -----------------------------------------------------------------

    def _is_free(self, node: fx.Node) -> bool:
        if node.op == "get_attr":
            return True
        if node.target is getattr:
            return node.args[1] in _QUERIES
        base = node.args[0] if node.target is operator.getitem else None
        return isinstance(base, fx.Node) and base.op == "placeholder" and not origin(base).types

    @cached_property
    def hoisted(self) -> dict[fx.Node, tuple[fx.Node, int]]:
        """Reads of a port's size that are done first: those used often, or of a name used again."""
        found: dict[fx.Node, tuple[fx.Node, int]] = {}
        for node in self.nodes:
            if node.target is not operator.getitem or not isinstance(node.args[0], fx.Node):
                continue
            shape, axis = node.args[0], node.args[1]
            port = shape.args[0] if shape.target is getattr and shape.args[1] == "shape" else None
            if not isinstance(port, fx.Node) or port not in self.ports or not node.users:
                continue
            uses = sum(list(user.all_input_nodes).count(node) for user in node.users)
            if uses > 1 or port.name not in self.steady["shape"]:
                found[node] = (port, cast(int, axis))
        return found

    @cached_property
    def steady(self) -> Mapping[str, frozenset[str]]:
        """Ports whose name always stands for tensors of one dtype, and of one shape."""
        sharing: dict[str, list[TensorType]] = defaultdict(list)
        for node in self.nodes:
            if node.name in self.wishes:
                sharing[self.wishes[node.name]] += origin(node).types or (TensorType((), ""),)
        dtypes, shapes = set(), set()
        for port in self.ports:
            types = sharing[self.wishes[port.name]]
            if len({type_.dtype for type_ in types}) == 1:
                dtypes.add(port.name)
            if len(set(types)) == 1:
                shapes.add(port.name)
        return {"dtype": frozenset(dtypes), "shape": frozenset(shapes)}

    def is_steady(self, node: str, question: str) -> bool:
        """Say whether whatever has the name of a port answers a question as the port does."""
        return question in _QUERIES and node in self.steady[_QUERIES[question]]

    # Comments ---------------------------------------------------------------------------

    def _is_worth_showing(self, node: fx.Node, items: list[fx.Node]) -> bool:
        if len(items) > 1:
            return len({origin(item).types for item in items}) == 1
        if node.op != "call_module":
            return False
        return isinstance(self.module.get_submodule(str(node.target)), Attend)

    def _shown_shape(self, node: fx.Node) -> ListOf | None:
        types = origin(node).types
        return self.shape(types[0]) if len(types) == 1 else None

    def shape(self, type_: TensorType) -> ListOf:
        """Return a shape in the names of the block, `_` for a size with a long one."""
        known: dict[Size, str] = {}
        for name, size in (self.body.dims if self.body else {}).items():
            known.setdefault(size, name)
        items = []
        for size in type_.shape:
            shown = size if isinstance(size, int) else known.get(size, str(size))
            shown = shown if len(str(shown)) <= _WIDEST else "_"
            items.append(Literal(shown, role=Role.NOTE))
        return ListOf(tuple(items))


def origin(node: fx.Node) -> Origin:
    """Return where a node comes from."""
    about = node.meta.get("attnc")
    return about if isinstance(about, Origin) else Origin()


def said_of(node: fx.Node) -> Expr | None:
    """Return the innermost expression of the spec that a node comes from."""
    spans = origin(node).spans
    return read_spec(spans[-1].text) if spans else None


def _turn(node: fx.Node) -> tuple[int, ...]:
    if node.op != "call_module":
        return ()
    return tuple(int(name) for name in str(node.target).split(".") if name.isdigit())


def _kernel_call(kernel: Kernel, site: Site, operands: tuple[Expr, ...], said: Expr | None) -> Expr:
    if kernel.call is None:
        return Call(Name(kernel.name), operands)
    names = [name for name, _ in site_operands(site)]
    holes = {f"hole_{name}": expr for name, expr in zip(names, operands, strict=True)}
    template = read_expression(_HOLE.sub(r"hole_\1", kernel.call))

    def change(expr: Expr) -> Expr | None:
        if isinstance(expr, Name):
            return holes.get(expr.id)
        return Literal(expr.value, said) if isinstance(expr, Literal) else None

    return rewrite(template, change)

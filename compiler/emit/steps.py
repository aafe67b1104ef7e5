"""The nodes of a lowered block as steps: what each computes, what it is called."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import cast

from torch import fx

from attnc.compiler.emit.code import Call, Expr, ListOf, Literal, Name, Ref, rewrite
from attnc.compiler.emit.expressions import argument, call_function, call_method
from attnc.compiler.emit.flow import Step
from attnc.compiler.emit.members import Folder, reference
from attnc.compiler.emit.naming import identifier
from attnc.compiler.emit.origins import given_name, origin, said_of, shape_note, turn_of
from attnc.compiler.emit.ports import Ports
from attnc.compiler.emit.reader import read_expression
from attnc.compiler.emit.several import is_item, is_uniform, unpacked
from attnc.compiler.kernel import Kernel, Site
from attnc.compiler.leaf import Attend
from attnc.compiler.sites import site_operands
from attnc.dsl.dims import Size
from attnc.dsl.graph import Body, Value
from attnc.dsl.ops import TABLE

Kernels = Callable[[Site], Kernel]

_HOLE = re.compile(r"\{(\w+)\}")


class Steps:
    """Reads one graph module.

    Attributes:
        module: the block.
        root: what it holds, for references to it.
        kernels: gives the kernel of each site.
        exits: nodes that get a line in any case, with the name of the exit.
        wishes: the name that the spec gave each node, where it did.
        ports: the parameters of `forward`.
    """

    def __init__(
        self, module: fx.GraphModule, root: Folder, kernels: Kernels, exits: Mapping[str, str]
    ) -> None:
        self.module, self.root, self.kernels, self.exits = module, root, kernels, exits
        self.nodes = tuple(module.graph.nodes)
        self.body = cast(Body | None, module.meta.get("body"))
        self.wishes = self._wishes()
        self.ports = Ports(self.nodes, self.wishes)

    def all(self) -> list[Step]:
        """Return a step for every node that computes something."""
        skipped = ("placeholder", "output")
        nodes = [node for node in self.nodes if node.op not in skipped]
        return [self._step(node) for node in nodes if not is_item(node, self.module)]

    def _step(self, node: fx.Node) -> Step:
        if node in self.ports.sizes_first:
            return Step(node.name, Ref(self.ports.first_read(node)), is_free=True)
        items = unpacked(node, self.module)
        return Step(
            node.name,
            self._value(node),
            tuple(item.name if item else None for item in items),
            is_named=node.name in self.exits or self._is_named(node),
            is_free=node.op == "get_attr" or self.ports.is_question(node),
            train=origin(node).train,
            turn=turn_of(node),
            shape=self._shape(node, items),
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

    def _shape(self, node: fx.Node, items: tuple[fx.Node | None, ...]) -> ListOf | None:
        """Return a shape that is worth a comment: of an attention, of several equal results."""
        first = next((item for item in items if item is not None), None)
        if first is not None:
            return shape_note(first, self.body) if is_uniform(items) else None
        attends = node.op == "call_module" and isinstance(
            self.module.get_submodule(str(node.target)), Attend
        )
        return shape_note(node, self.body) if attends else None

    # Names ------------------------------------------------------------------------------

    def _wishes(self) -> dict[str, str]:
        wishes: dict[str, str] = {}
        for node in self.nodes:
            name = self.exits.get(node.name) or self._wish(node)
            if name:
                wishes[node.name] = identifier(name)
        for node in reversed(self.nodes):
            follower = _follower(node)
            if follower is not None and follower.name in wishes:
                wishes[node.name] = wishes[follower.name]
        return wishes

    def _wish(self, node: fx.Node) -> str | None:
        about = origin(node)
        if node.op == "placeholder":
            return str(node.target)
        if about.size is not None and not isinstance(about.size, int):
            return self._size_name(about.size)
        return given_name(node) or _field(node) or ("attended" if "attend" in about.names else None)

    def _size_name(self, size: Size) -> str:
        """Return what the block calls a symbolic size."""
        known = self.body.dims if self.body else {}
        name = next((name for name, value in known.items() if value == size), str(size))
        return name if name.isidentifier() else "size"

    def _is_named(self, node: fx.Node) -> bool:
        """Say whether the spec bound the result of a node to a name.

        The results of a block are called as inside it unless the spec gives them another name.
        """
        name = given_name(node)
        if name is None or node.op == "get_attr":
            return False
        child = self.module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(child, fx.GraphModule) or turn_of(node):
            return True
        inside = child.meta["body"].outputs
        return not isinstance(inside, Value) or inside.name != name


def _field(node: fx.Node) -> str | None:
    """Return what an operator with several results calls one of them: `index` of `topk`."""
    names = origin(node).names
    fields = TABLE[names[0]].result_fields if names and names[0] in TABLE else ()
    if node.target is not operator.getitem or not fields or not isinstance(node.args[1], int):
        return None
    return fields[node.args[1]]


def _follower(node: fx.Node) -> fx.Node | None:
    """Return the call of the next block of a list, where it alone takes the result of one."""
    user = next(iter(node.users)) if len(node.users) == 1 else None
    if user is None or user.op != "call_module" or node.op != "call_module":
        return None
    (*path, number), (*others, following) = (str(each.target).split(".") for each in (node, user))
    follows = number.isdigit() and following.isdigit() and int(following) == int(number) + 1
    return user if follows and path == others else None


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

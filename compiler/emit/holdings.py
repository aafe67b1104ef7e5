"""What a block holds, read from its module: constructors of blocks and layers, weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Union, cast

from torch import fx, nn

from attnc.compiler.emit.code import Attribute, Call, Expr, Literal, Name, Role, rewrite
from attnc.compiler.emit.initial import weight
from attnc.compiler.emit.members import Folder, Member
from attnc.compiler.emit.origins import said_of
from attnc.compiler.emit.reader import read_expression
from attnc.compiler.leaf import Attend
from attnc.dsl.graph import Weight

_TAKEN = frozenset(
    {"in_features", "in_channels", "normalized_shape", "num_channels", "num_features"}
)
"""What layers of torch call the size of what they take."""

Construct = Callable[[fx.GraphModule, Union[Expr, None]], Call]
"""Gives the constructor call of an instance, for the expression of the spec that asks for it."""


def holdings(module: fx.GraphModule, construct: Construct) -> Folder:
    """Return what a block holds, but for constants and attention nodes."""
    root = Folder()
    declared = cast(Mapping[str, Weight], module.meta.get("weights", {}))
    said = _first_uses(module)
    for path, part in _parts(module):
        if part is None:
            root.add(path, weight(declared[path], said.get(path)))
        elif isinstance(part, fx.GraphModule):
            root.add(path, Member(construct(part, said.get(path))))
        else:
            made = read_expression(str(part.attnc_source))
            root.add(path, Member(_spoken(made, said.get(path))))
    return root


def _parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module | None]]:
    """Yield what a block holds, in the order of its state dict; none stands for a weight."""
    for name in (*module._parameters, *module._buffers):
        if name not in module._non_persistent_buffers_set:
            yield f"{prefix}{name}", None
    for name, child in module.named_children():
        if isinstance(child, fx.GraphModule) or hasattr(child, "attnc_source"):
            yield f"{prefix}{name}", child
        elif not isinstance(child, Attend):
            yield from _parts(child, f"{prefix}{name}.")


def _first_uses(module: fx.GraphModule) -> dict[str, Expr | None]:
    uses: dict[str, Expr | None] = {}
    for node in module.graph.nodes:
        if node.op in ("call_module", "get_attr"):
            uses.setdefault(str(node.target), said_of(node))
    return uses


def _spoken(made: Expr, said: Expr | None) -> Expr:
    """Return a constructor whose literals know what the spec says of them.

    What layers of torch take by position is sizes, but for a few numbers that specs spell out.
    """
    if not isinstance(made, Call):
        return made
    named = dict(said.keywords) if isinstance(said, Call) else {}
    keywords = [(name, _about(value, named.get(name, said))) for name, value in made.keywords]
    names = [*positional(made.function), *("" for _ in made.arguments)]
    arguments = tuple(
        _about(value, said, Role.TAKEN if name in _TAKEN else Role.SIZE)
        for name, value in zip(names, made.arguments, strict=False)
    )
    return Call(made.function, arguments, tuple(keywords))


def positional(function: Expr) -> list[str]:
    """Return what a layer of torch calls the arguments that it takes by position."""
    match function:
        case Attribute(Name("nn"), name):
            return list(inspect.signature(getattr(nn, name)).parameters)
    return []


def _about(value: Expr, said: Expr | None, role: Role = Role.NUMBER) -> Expr:
    def change(expr: Expr) -> Expr | None:
        return Literal(expr.value, said, role) if isinstance(expr, Literal) else None

    return rewrite(value, change)

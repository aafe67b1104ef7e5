"""Tables that depend on no input and no weight: buffers that a module computes for itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import fx, nn
from torch.fx.node import Argument, map_arg


def constants_of(module: fx.GraphModule) -> Mapping[str, fx.GraphModule]:
    """Return the constants of one block by buffer name; each is a module without inputs."""
    return cast(Mapping[str, fx.GraphModule], module.meta.get("constants", {}))


def merged(constants: Iterable[fx.GraphModule]) -> fx.GraphModule:
    """Return one module that gives all constants in a tuple; what they share is computed once."""
    graph = fx.Graph()
    made: dict[tuple[object, ...], fx.Node] = {}
    results = [_copied(constant.graph, graph, made) for constant in constants]
    graph.output(tuple(results))
    return fx.GraphModule(nn.Module(), graph)


def _copied(source: fx.Graph, graph: fx.Graph, made: dict[tuple[object, ...], fx.Node]) -> Argument:
    """Copy a graph without inputs into another, but for nodes that it has; return the output."""
    copies: dict[fx.Node, fx.Node] = {}
    for node in source.nodes:
        arguments, keywords = map_arg((node.args, node.kwargs), copies.__getitem__)
        if node.op == "output":
            return cast(Argument, arguments[0])
        key = (node.op, node.target, repr(arguments), repr(keywords))
        if key not in made:
            made[key] = graph.create_node(node.op, node.target, arguments, keywords, node.name)
            made[key].meta = dict(node.meta)
        copies[node] = made[key]
    raise ValueError("a graph ends with its output")


def compute_constants(root: nn.Module, device: torch.device | str, dtype: torch.dtype) -> None:
    """Compute every constant buffer below a module anew, in the model's dtype."""
    with defaults(device, dtype):
        for module in root.modules():
            if isinstance(module, fx.GraphModule):
                for name, constant in constants_of(module).items():
                    module.register_buffer(name, constant(), persistent=False)


@contextmanager
def defaults(device: torch.device | str, dtype: torch.dtype) -> Iterator[None]:
    """Create tensors on a device, fractions in a dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)

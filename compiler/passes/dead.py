"""Dead code: what no output needs goes; weights stay, so that the state dict stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import fx, nn

from attnc.compiler.instances import container
from attnc.compiler.kernel import Target
from attnc.compiler.passes.rewrite import distinct, rewritten
from attnc.compiler.unit import Extra
from attnc.dsl.graph import Body


def dead(module: fx.GraphModule, target: Target) -> fx.GraphModule:
    """Return the module without unused nodes, and without the weightless modules they called."""
    return rewritten(module, _edit)


def check_dead(module: fx.GraphModule) -> None:
    """Check that every node is used, and every weightless module called.

    Raises:
        AssertionError: one is not.
    """
    for block in distinct(module):
        unused = [node.name for node in block.graph.nodes if _is_dead(node)]
        assert not unused, f"nothing uses {', '.join(unused)}"
        idle = _idle_paths(block.graph, block)
        assert not idle, f"nothing calls {', '.join(idle)}"


def _edit(graph: fx.Graph, module: fx.GraphModule) -> None:
    _drop_arguments(graph, module)
    for node in reversed(graph.nodes):
        if _is_dead(node):
            graph.erase_node(node)
    _drop_extras(graph, module)
    for path in _idle_paths(graph, module):
        holder, name = container(module, path)
        del holder._modules[name]
    for name in [*module._non_persistent_buffers_set]:
        if not graph.find_nodes(op="get_attr", target=name):
            delattr(module, name)


def _drop_extras(graph: fx.Graph, module: fx.GraphModule) -> None:
    """Drop arguments that are no ports of the spec and that nothing needs any more."""
    extras = cast(Mapping[Body, tuple[Extra, ...]], module.meta["extras"])
    ports = graph.find_nodes(op="placeholder")
    first = len(ports) - max(map(len, extras.values()))
    dropped = [at for at, port in enumerate(ports) if at >= first and not port.users]
    for at in dropped:
        graph.erase_node(ports[at])
    module.meta["dropped"] = frozenset(dropped)
    module.meta["extras"] = {
        body: tuple(extra for at, extra in enumerate(given, first) if at not in dropped)
        for body, given in extras.items()
    }


def _drop_arguments(graph: fx.Graph, module: nn.Module) -> None:
    """Leave out of calls what the blocks called have dropped."""
    for node in graph.find_nodes(op="call_module"):
        block = module.get_submodule(str(node.target))
        if isinstance(block, fx.GraphModule):
            dropped = cast(frozenset[int], block.meta["dropped"])
            node.args = tuple(arg for at, arg in enumerate(node.args) if at not in dropped)


def _is_dead(node: fx.Node) -> bool:
    return not node.users and node.op not in ("placeholder", "output")


def _idle_paths(graph: fx.Graph, module: nn.Module) -> list[str]:
    """Return the paths of modules that no node calls and that hold no weights."""
    called = {str(node.target) for node in graph.nodes if node.op == "call_module"}
    return [
        path
        for path, child in _parts(module, "")
        if path not in called and not child.state_dict(keep_vars=True)
    ]


def _parts(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    """Return what a block holds by path; plain containers are looked into."""
    found: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        found += _parts(child, f"{path}.") if type(child) is nn.Module else [(path, child)]
    return found

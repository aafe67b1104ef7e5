"""A twin of a compiled model: the lowered graph, run node by node on the model's own weights.

Its attention leaves can be changed one by one, which emitted code, being plain Python, does not
allow. Every leaf runs the kernel that the plan chose, so that a twin gives what its model gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import cast

import torch
from torch import fx, nn
from torch.fx.node import Argument

from attnc.compiler.constants import compute_constants
from attnc.compiler.instances import container
from attnc.compiler.kernel import Kernel, Site
from attnc.compiler.leaf import Function
from attnc.compiler.memory import import_package
from attnc.compiler.passes.rewrite import rewritten
from attnc.compiler.passes.shapes import origin
from attnc.compiler.sites import site_operands


def twin(module: fx.GraphModule, model: nn.Module) -> fx.GraphModule:
    """Return a copy of a lowered module on the tensors of a model of the same state dict.

    What runs in training mode only is left out, as are the results that it gives, where the model
    is in evaluation mode.
    """
    copy = rewritten(module, partial(_in_mode, training=model.training))
    for name, tensor in model.state_dict(keep_vars=True).items():
        holder, last = container(copy, name)
        kind = holder._parameters if isinstance(tensor, nn.Parameter) else holder._buffers
        kind[last] = tensor
    copy.train(model.training)
    floats = (each for each in copy.state_dict().values() if each.is_floating_point())
    first = next(floats, torch.empty(0))
    compute_constants(copy, first.device, first.dtype)
    return copy


def kernel_function(kernel: Kernel, site: Site) -> Function:
    """Return a kernel as a function of the operands of its site, in their order."""
    head = "\n".join(("from __future__ import annotations", "import torch", *kernel.imports))
    body = kernel.source if kernel.call is None else _function(kernel, site)
    package = import_package(f"kernel_{kernel.name}", {"__init__.py": f"{head}\n\n\n{body}"})
    return cast(Function, getattr(package, kernel.name))


def _function(kernel: Kernel, site: Site) -> str:
    names = [name for name, _ in site_operands(site)]
    call = str(kernel.call).format(**{name: name for name in names})
    return f"def {kernel.name}({', '.join(names)}):\n    return {call}\n"


def _in_mode(graph: fx.Graph, module: fx.GraphModule, training: bool) -> None:
    if training:
        return
    late = [node for node in graph.nodes if origin(node).train]
    result = next(iter(graph.find_nodes(op="output")))
    value = result.args[0]
    if isinstance(value, Mapping):
        kept = {name: each for name, each in value.items() if each not in late}
        result.args = (cast(Argument, kept),)
    for node in reversed(late):
        graph.erase_node(node)

"""Graph modules of one class: instances that share a graph and its compiled code."""

from __future__ import annotations

import re

from torch import fx, nn


def new_class(name: str, meta: dict[str, object]) -> fx.GraphModule:
    """Return an empty graph module of a class of its own; set its `graph` once it has its parts.

    Args:
        name: of a block; the class is called after it: `window_attention` -> `WindowAttention`.
    """
    words = re.split(r"[\W_]+", name)
    module = fx.GraphModule({}, fx.Graph(), "".join(word[:1].upper() + word[1:] for word in words))
    module.meta = meta
    return module


def sibling(first: fx.GraphModule) -> fx.GraphModule:
    """Return another instance of a graph module's class, without parameters and sub-modules."""
    other: fx.GraphModule = object.__new__(type(first))
    nn.Module.__init__(other)
    own = other.__dict__.keys()
    shared = {name: value for name, value in first.__dict__.items() if name not in own}
    other.__dict__.update(shared)
    other.training = first.training
    return other


def container(root: nn.Module, path: str) -> tuple[nn.Module, str]:
    """Return the module that holds what is at `path`, made where missing, and the last name."""
    *names, last = path.split(".")
    for name in names:
        inner = root._modules.get(name)
        if inner is None:
            inner = nn.Module()
            root.add_module(name, inner)
        root = inner
    return root, last

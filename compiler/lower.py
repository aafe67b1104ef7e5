"""Lowering: a checked graph becomes a torch.fx.GraphModule, a class for each distinct block."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from functools import cache
from itertools import chain, count
from keyword import iskeyword

import torch
from torch import fx, nn

from attnc.compiler.instances import container, new_class, sibling
from attnc.compiler.kernel import Site
from attnc.compiler.leaf import Attend, Provider
from attnc.compiler.translate import top_unit
from attnc.compiler.unit import Leaf, Unit
from attnc.dsl.graph import Graph, Weight

DTYPES = {
    "float": torch.float32,
    "int": torch.int64,
    "bool": torch.bool,
    "complex": torch.complex64,
}
"""What dtypes of weights are before `materialise` sets the model's."""


def lower(graph: Graph, attend: Provider) -> fx.GraphModule:
    """Lower a model. Its weights are on the meta device until `materialise` fills them.

    Every block instance is a nested graph module; instances of equal blocks share a class and
    an fx.Graph. Attention nodes are `Attend` leaves. `forward` takes the inputs in order and
    returns a tensor, or a dict of all outputs and exits by name where they are several.

    Args:
        attend: gives the function that computes a site; asked once for each distinct site.

    Raises:
        SpecError: a size cannot be computed (E301), or a label is reserved (E303).
    """
    return _Maker(attend).instance(top_unit(graph))


class _Maker:
    """Makes modules from units."""

    def __init__(self, attend: Provider) -> None:
        self.attend: Provider = cache(attend)
        self.first: dict[Unit, fx.GraphModule] = {}
        self.sites: dict[Site, Site] = {}

    def instance(self, unit: Unit) -> fx.GraphModule:
        """Return a new instance of a unit, with weights of its own."""
        if unit in self.first:
            module = sibling(self.first[unit])
            self._fill(module, unit)
            return module
        module = new_class(unit.body.name, _meta(unit))
        self._fill(module, unit)
        module.graph = unit.graph
        self.first[unit] = module
        return module

    def _fill(self, module: fx.GraphModule, unit: Unit) -> None:
        for path, part in unit.parts.items():
            holder, name = container(module, path)
            match part:
                case Leaf():
                    holder.add_module(name, _constructed(part.source))
                case Weight():
                    _register(holder, name, part)
                case Site():
                    holder.add_module(name, Attend(self._named(part, unit), self.attend))
                case Unit():
                    holder.add_module(name, self.instance(part))

    def _named(self, site: Site, unit: Unit) -> Site:
        """Return a site under a name of its own; sites with equal content share it."""
        if site not in self.sites:
            wish = re.sub(r"\W", "_", unit.body.name)
            taken = {each.name for each in self.sites.values()}
            names = chain([wish], (f"{wish}_{number}" for number in count(2)))
            name = next(n for n in names if n not in taken and not iskeyword(n))
            self.sites[site] = replace(site, name=name)
        return self.sites[site]


def _meta(unit: Unit) -> dict[str, object]:
    weights = {path: part for path, part in unit.parts.items() if isinstance(part, Weight)}
    return {
        "body": unit.body, "places": unit.places, "extras": unit.extras, "weights": weights,
    }  # fmt: skip


def _register(holder: nn.Module, name: str, weight: Weight) -> None:
    data = torch.empty(weight.shape, dtype=DTYPES[weight.dtype], device="meta")
    if weight.trainable:
        holder.register_parameter(name, nn.Parameter(data))
    else:
        holder.register_buffer(name, data)


def _constructed(source: str) -> nn.Module:
    """Make a torch module on the meta device from the text of its constructor."""
    name, arguments, keywords = _constructor(source)
    with torch.device("meta"):
        module: nn.Module = getattr(nn, name)(*arguments, **keywords)
    module.attnc_source = source  # type: ignore[assignment]
    return module


@cache
def _constructor(source: str) -> tuple[str, list[object], dict[str, object]]:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
    keywords = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
    return call.func.attr, [*map(ast.literal_eval, call.args)], keywords

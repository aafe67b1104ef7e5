"""Reading and changing the attentions of a compiled model, by the names of its spec.

```python
seen = attnc.capture(model, nodes="blocks.*.attn", what="weights", rows=[0], reduce="heads")
result, maps = seen(image)  # maps["blocks.0.attn"]: [b, 1, m]

calm = attnc.edit(model, {"blocks.*.attn": attnc.Edit(post="w * keep[j]", tensors={"keep": keep})})
```

Both work on what `attnc.compile` returns and on a model of a package that `attnc emit` wrote, and
give a module on the same weights: gradients flow to them, and to what is captured.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import Union, cast

import torch
from torch import Tensor, fx, nn

from attnc.api import Compilation, check, load
from attnc.compiler.artefact import MANIFEST
from attnc.compiler.calls import AttentionCall, attention_calls
from attnc.compiler.capture import WHAT, Watch, Watched, has
from attnc.compiler.choice import choose
from attnc.compiler.edit import Edit, edited
from attnc.compiler.instances import container
from attnc.compiler.kernel import Site
from attnc.compiler.leaf import Function, Provider
from attnc.compiler.twin import kernel_function, twin
from attnc.dsl import codes
from attnc.dsl.diagnostics import UsageError
from attnc.dsl.suggest import did_you_mean

__all__ = ["Captured", "Edit", "Edited", "capture", "edit"]

REDUCTIONS = ("heads", "layers")
"""What captured tensors can be averaged over."""

Names = Union[str, Iterable[str]]


class Edited(nn.Module):
    """A model whose attentions were changed; called as the model is.

    Attributes:
        model: the model, whose weights these are.
        edits: name of an attention -> what was changed, in order.
    """

    def __init__(self, model: nn.Module, edits: Mapping[str, tuple[Edit, ...]]) -> None:
        super().__init__()
        self.model, self.edits = model, edits
        built = _Workshop.of(model).build(edits, {}, lambda name, tensor: None)
        object.__setattr__(self, "_twin", built)  # its weights are the model's, not more of them

    def forward(self, *inputs: Tensor) -> object:
        """Run the edited model."""
        return cast(nn.Module, self.__dict__["_twin"])(*inputs)


class Captured(nn.Module):
    """A model that also gives what its attentions weigh.

    Attributes:
        model: the model, whose weights these are.
        watch: what is kept of each attention.
        nodes: names of the attentions, in order of execution.
        reduce: what is averaged over: heads, layers, both or none.
    """

    def __init__(
        self, model: nn.Module, nodes: Names, watch: Watch, reduce: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.model, self.watch, self.reduce = model, watch, reduce
        workshop = _Workshop.of(model)
        self.nodes = tuple(workshop.matching(nodes))
        for name in self.nodes:
            if not has(workshop.calls[name].site.attention, watch.what):
                raise _refusal(f"{name} has no {watch.what}", "it belongs to another normaliser")
        self._seen: dict[str, list[Tensor]] = {}
        built = workshop.build(workshop.edits, dict.fromkeys(self.nodes, watch), self._keep)
        object.__setattr__(self, "_twin", built)  # its weights are the model's, not more of them

    def forward(self, *inputs: Tensor) -> tuple[object, dict[str, Tensor]]:
        """Run the model; returns its result, and what was captured by name.

        Reduced over layers there is one tensor, named after `what`. An attention that ran several
        times has a name for each: `encoder.attn`, `encoder.attn#2`.
        """
        self._seen.clear()
        result = cast(nn.Module, self.__dict__["_twin"])(*inputs)
        found = {
            name if turn == 1 else f"{name}#{turn}": each.mean(1)
            if "heads" in self.reduce
            else each
            for name, kept in self._seen.items()
            for turn, each in enumerate(kept, 1)
        }
        self._seen.clear()
        if "layers" in self.reduce:
            found = {self.watch.what: torch.stack([*found.values()]).mean(0)}
        return result, found

    def _reduced(self, seen: Tensor) -> Tensor:
        return seen.mean(1) if "heads" in self.reduce else seen

    def _keep(self, name: str, seen: Tensor) -> None:
        self._seen.setdefault(name, []).append(seen)


def capture(
    model: nn.Module,
    nodes: Names = "*",
    what: str = "weights",
    *,
    rows: Sequence[int] | None = None,
    reduce: Names = (),
) -> Captured:
    """Return a module that runs a compiled model and also gives what its attentions weigh.

    Args:
        model: what `attnc.compile` or `attnc.edit` returned, or a model of an emitted package.
        nodes: names of attentions as `attnc plan` prints them; `*` stands for any part.
        what: `weights` or `scores` [b, h, n, m], `received` [b, h, m], the sums of weights over
            queries, `lse` or `index` as the attention operator defines them. The weights are
            those that values are multiplied by.
        rows: the queries whose weights or scores are wanted, negative from the end; only these
            are computed.
        reduce: `heads`, `layers` or both: what to average over.

    Raises:
        UsageError: the model was not compiled by attnc (E404), no attention has such a name
            (E405), or it does not have what is asked for (E406).
    """
    wanted = (reduce,) if isinstance(reduce, str) else tuple(reduce)
    for name, known in ((what, WHAT), *((each, REDUCTIONS) for each in wanted)):
        if name not in known:
            detail = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise _refusal(f"{name!r} is unknown", detail)
    if rows is not None and what not in ("weights", "scores"):
        raise _refusal(f"{what} has no rows to choose from", "choose rows of its result")
    return Captured(model, nodes, Watch(what, None if rows is None else tuple(rows)), wanted)


def _refusal(detail: str, hint: str) -> UsageError:
    return UsageError([codes.CAPTURE.at(None, detail=detail, hint=hint)])


def edit(model: nn.Module, edits: Mapping[str, Edit]) -> Edited:
    """Return a module that runs a compiled model with scores or weights changed.

    Args:
        model: what `attnc.compile` or `attnc.edit` returned, or a model of an emitted package.
        edits: names of attentions, where `*` stands for any part -> what to change. Several that
            name one attention are made in order.

    Raises:
        UsageError: the model was not compiled by attnc (E404), or no attention has such a name
            (E405).
        SpecError: an expression is wrong.
    """
    workshop = _Workshop.of(model)
    by_name: dict[str, tuple[Edit, ...]] = dict(workshop.edits)
    for pattern, change in edits.items():
        for name in workshop.matching(pattern):
            by_name[name] = (*by_name.get(name, ()), change)
    return Edited(workshop.model, by_name)


@dataclass(frozen=True)
class _Workshop:
    """Builds twins of a model.

    Attributes:
        model: without edits.
        edits: that it comes with.
        compilation: what it was compiled by.
        calls: its attentions by name, in order of execution.
    """

    model: nn.Module
    edits: Mapping[str, tuple[Edit, ...]]
    compilation: Compilation
    calls: Mapping[str, AttentionCall]

    @classmethod
    def of(cls, model: nn.Module) -> _Workshop:
        """Return the workshop for a compiled or edited model.

        Raises:
            UsageError: it was not compiled by attnc (E404).
        """
        edits = model.edits if isinstance(model, Edited) else {}
        model = model.model if isinstance(model, Edited) else model
        compilation = _compilation(model)
        calls = attention_calls(compilation.module)
        return cls(model, edits, compilation, {call.path: call for call in calls})

    def matching(self, patterns: Names) -> list[str]:
        """Return the names that match any of some patterns, in order of execution.

        Raises:
            UsageError: one matches nothing (E405).
        """
        given = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        for pattern in given:
            if not any(fnmatchcase(name, pattern) for name in self.calls):
                hint = did_you_mean(pattern, self.calls) or "`attnc plan` prints the names"
                raise UsageError([codes.UNKNOWN_NODE.at(None, name=pattern, hint=hint)])
        return [name for name in self.calls if any(fnmatchcase(name, each) for each in given)]

    def build(
        self,
        edits: Mapping[str, tuple[Edit, ...]],
        watches: Mapping[str, Watch],
        keep: Callable[[str, Tensor], None],
    ) -> fx.GraphModule:
        """Return a twin whose leaves are edited and watched."""
        made = twin(self.compilation.module, self.model)
        provider = _provider(self.compilation)
        for name in {**edits, **watches}:
            call, extra = self.calls[name], list[Tensor]()
            site = call.site
            for change in edits.get(name, ()):
                site, more = edited(site, change, self.compilation.graph.params)
                extra += more
            holder, last = container(made, call.place)
            leaf = Watched(site, provider, extra, watches.get(name), partial(keep, name))
            holder._modules[last] = leaf
        return made


def _provider(compilation: Compilation) -> Provider:
    """Return what gives the function of a site: the kernel of the plan, or one like it."""
    backends = {each.name: each for each in compilation.backends}

    @cache
    def function(site: Site) -> Function:
        kernel = compilation.kernels.get(site)
        if kernel is None:
            verdicts = choose(site, compilation.plan_target, compilation.backends)
            chosen = next(verdict.backend for verdict in verdicts if verdict.chosen)
            kernel = backends[chosen].build(site, compilation.plan_target)
        return kernel_function(kernel, site)

    return function


def _compilation(model: nn.Module) -> Compilation:
    """Return what a model was compiled by; of an emitted package, what its manifest tells.

    Raises:
        UsageError: it was not compiled by attnc (E404).
    """
    known = model.__dict__.get("attnc")
    if isinstance(known, Compilation):
        return known
    try:
        directory = Path(inspect.getfile(type(model))).parent
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        spec, params = load(directory / "spec.attn"), manifest["params"]
        return Compilation(check(spec, None, params), manifest["plan"]["target"])
    except (OSError, TypeError, ValueError, KeyError):
        raise UsageError([codes.NOT_COMPILED.at(None, name=type(model).__name__)]) from None

"""The library: what the command line does, from Python.

A spec is named by a path, `zoo:NAME` or `-` for stdin, or given as a tree (`loads`). torch is
imported by `compile`, `emit`, `plan`, `verify` and `check_claims` only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Union

from attnc import zoo as systems
from attnc.dsl.diagnostics import Collector
from attnc.dsl.dims import symbols
from attnc.dsl.elaborate import elaborate
from attnc.dsl.graph import Graph
from attnc.dsl.load import load_spec, parse
from attnc.dsl.resolve import Overrides
from attnc.dsl.spans import Source
from attnc.dsl.state import parameter_count
from attnc.dsl.state import weights as state
from attnc.dsl.tree import Spec

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

    from attnc.compiler.artefact import Artefact
    from attnc.compiler.claims import Verdict
    from attnc.compiler.comparison import Report
    from attnc.compiler.kernel import Backend, Kernel, MachineCode, Site, Target
    from attnc.compiler.plan import Plan, SitePlan
    from attnc.compiler.verify import Built

__all__ = [
    "check", "check_claims", "compile", "emit", "load", "loads", "parameter_count", "plan",
    "verify",
]  # fmt: skip

SpecLike = Union[Spec, str, Path]

FORCED: Mapping[str, str] = {
    "reference": "cpu", "sdpa": "cpu", "linear": "cpu", "tiled": "cpu", "triton": "cuda:90",
}  # fmt: skip
"""Backends that can be asked for by name, and the target that stands for each."""

BATCH, LENGTH = 1, 1024
"""What symbolic sizes are counted as in a plan, unless given: the first one of the first input, and
all others."""


def load(name: str | Path) -> Spec:
    """Read a spec.

    Raises:
        AttncError: it cannot be read, or is wrong; `diagnostics` says all that is.
    """
    return load_spec(str(name), systems.entries)


def loads(text: str, name: str = "<text>") -> Spec:
    """Read a spec from a text in either notation.

    Raises:
        SpecError: it is wrong.
    """
    collector = Collector()
    spec = parse(Source(name, text), collector)
    collector.raise_if_any()
    assert spec is not None
    return spec


def check(spec: SpecLike, variant: str | None = None, overrides: Overrides = ()) -> Graph:
    """Resolve, unroll and check a spec, without torch.

    Args:
        overrides: values of params by name, or texts such as `"depth=4"`.

    Raises:
        SpecError: with all that is wrong.
    """
    tree = spec if isinstance(spec, Spec) else load(spec)
    return elaborate(tree, variant, overrides)


@dataclass(frozen=True)
class Compilation:
    """A spec on its way to Python, stage by stage; each is computed once, when asked for.

    Attributes:
        graph: the checked graph.
        target: `cpu`, `cuda:90`, `hip:gfx942` ...; or `reference`, `sdpa`, `triton`: that backend
            for every attention that it can compute, whatever the preference of the target.
        sizes: values of symbolic sizes, for costs; those missing are counted as `BATCH`, `LENGTH`.
        interpreted: let Triton's kernels run on the CPU, in its interpreter.
        resources: measure what Triton's kernels take of a card, by compiling them for it, and
            state the least that any kernel could.
        ahead: cards whose machine code the package holds, for Triton's kernels in bfloat16.
    """

    graph: Graph
    target: str = "cpu"
    sizes: Mapping[str, int] | None = None
    interpreted: bool = False
    resources: bool = False
    ahead: tuple[str, ...] = ()
    print_after: str | None = None
    show: Callable[[str], None] = print

    @cached_property
    def module(self) -> fx.GraphModule:
        """The lowered module after all passes; its weights are on the meta device."""
        from attnc.backends.reference.backend import function
        from attnc.compiler import passes
        from attnc.compiler.lower import lower
        from attnc.compiler.recognise import recognise

        target = self.plan_target
        known = recognise(self.graph, target, self.backends, self._asked)
        lowered = lower(known, function)
        return passes.run(lowered, target, print_after=self.print_after, show=self.show)

    @cached_property
    def plan(self) -> Plan:
        """Which backend computes each attention, and why."""
        from attnc.compiler.plan import plan

        made = plan(self.module, self.plan_target, self.backends, self.all_sizes, self._asked)
        if not self.resources:
            return made
        return replace(made, sites=tuple(self._measured(each) for each in made.sites))

    def _measured(self, plan: SitePlan) -> SitePlan:
        """Return the plan of a site with its floors, and what its kernels take of each card."""
        from attnc.compiler.floors import floors

        plan = replace(plan, floors=floors(plan.site, self.plan_target, self.all_sizes))
        if plan.chosen != "triton":
            return plan
        from attnc.backends.triton.crosscompile import taken

        cards = dict.fromkeys((self.plan_target, *self._cards))
        return replace(plan, resources=taken(plan.site, list(cards), self.all_sizes))

    @property
    def _cards(self) -> tuple[Target, ...]:
        from attnc.compiler.targets import parse_target

        return tuple(parse_target(each) for each in self.ahead)

    @cached_property
    def kernels(self) -> Mapping[Site, Kernel]:
        """The generated kernel of each distinct attention."""
        by_name = {backend.name: backend for backend in self.backends}
        return {
            site.site: replace(
                by_name[site.chosen].build(site.site, self.plan_target), resources=site.resources
            )
            for site in self.plan.sites
        }

    @cached_property
    def artefact(self) -> Artefact:
        """The emitted package."""
        from attnc.compiler.emit import emit

        return emit(self.module, self.graph, self.kernels, self.plan, self._machine_code)

    @property
    def _machine_code(self) -> MachineCode | None:
        sites = {
            kernel.name: site for site, kernel in self.kernels.items() if kernel.backend == "triton"
        }
        if not self.ahead or not sites:
            return None
        from attnc.backends.triton.ahead import machine_code

        return machine_code(sites, self._cards, self.all_sizes)

    @property
    def source(self) -> str:
        """The code of the model."""
        return self.artefact.files["model.py"]

    @property
    def plan_target(self) -> Target:
        """The target, as the compiler knows it."""
        from attnc.compiler.targets import parse_target

        return parse_target(FORCED.get(self.target, self.target))

    @property
    def all_sizes(self) -> Mapping[str, int]:
        """A value for every symbolic size of the inputs."""
        names: dict[str, int] = {}
        for type_ in self.graph.inputs.values():
            for axis, size in enumerate(type_.shape):
                for name in sorted(symbols(size)):
                    names.setdefault(name, BATCH if axis == 0 else LENGTH)
        return {**names, **(self.sizes or {})}

    @property
    def _asked(self) -> str:
        """The backend that was asked for by name; empty for none."""
        return self.target if self.target in FORCED else ""

    @cached_property
    def backends(self) -> tuple[Backend, ...]:
        """All backends; with one asked for by name, that and the reference."""
        from attnc.backends import backends

        known = backends(with_plain=not self.interpreted, cards=self._cards)
        if self.target not in FORCED:
            return known
        return tuple(each for each in known if each.name in (self.target, "reference"))


def compile(
    spec: SpecLike,
    variant: str | None = None,
    overrides: Overrides = (),
    *,
    target: str = "cpu",
    weights: Path | str | None = None,
    source: str | None = None,
) -> nn.Module:
    """Compile a spec to a module: an instance of the class that `emit` writes.

    Args:
        weights: a safetensors file to load, with our names or those of a checkpoint that the spec
            has a map for.
        source: which map of the spec; the only one, unless there are several.

    Raises:
        AttncError: the spec is wrong, or the weights do not fit.
    """
    from attnc.compiler.artefact import load_module

    compilation = Compilation(check(spec, variant, overrides), target)
    artefact = compilation.artefact
    model: nn.Module = getattr(load_module(artefact), artefact.model)()
    if weights is not None:
        model.load_state_dict(dict(_weights(compilation.graph, Path(weights), source)))
    object.__setattr__(model, "attnc", compilation)
    return model


def _weights(graph: Graph, path: Path, source: str | None) -> Mapping[str, Tensor]:
    from attnc.compiler.convert import load as load_weights
    from attnc.dsl.weightmap import weight_map

    return load_weights(weight_map(graph.spec, graph.params, source), state(graph), path)


def emit(
    spec: SpecLike,
    directory: Path | str,
    variant: str | None = None,
    overrides: Overrides = (),
    *,
    target: str = "cpu",
    force: bool = False,
) -> Artefact:
    """Write the package of a compiled spec.

    Args:
        force: write over files that were edited, or that attnc did not write.

    Raises:
        AttncError: the spec is wrong, or the directory holds such files.
    """
    from attnc.compiler.artefact import write

    artefact = Compilation(check(spec, variant, overrides), target).artefact
    write(artefact, Path(directory), force=force)
    return artefact


def plan(
    spec: SpecLike,
    variant: str | None = None,
    overrides: Overrides = (),
    *,
    target: str = "cpu",
    sizes: Mapping[str, int] | None = None,
    resources: bool = False,
) -> Plan:
    """Say for every attention which backend computes it on a target, why, and at what cost.

    Args:
        resources: measure what Triton's kernels take of the card, by compiling them for it.

    Raises:
        AttncError: the spec is wrong, or the target is unknown.
    """
    return Compilation(check(spec, variant, overrides), target, sizes, resources=resources).plan


def check_claims(spec: SpecLike, variant: str) -> tuple[Verdict, ...]:
    """Hold the claims of a variant against what can be counted without data.

    Raises:
        SpecError: the spec is wrong.
    """
    from attnc.backends.reference.backend import function
    from attnc.compiler.claims import judge
    from attnc.compiler.lower import lower
    from attnc.dsl.claims import claims

    graph = check(spec, variant)
    return tuple(judge(claims(graph.spec, variant), graph, lower(graph, function)))


def verify(
    spec: SpecLike,
    golden: Path | str,
    *,
    target: str = "reference",
    dtype: str = "float64",
    device: str = "cpu",
) -> Report:
    """Compare a spec with the numbers of its official implementation.

    Raises:
        AttncError: the spec or its `parity` is wrong, or the file cannot be read.
    """
    from attnc.compiler.verify import verify as compare

    tree = spec if isinstance(spec, Spec) else load(spec)
    return compare(tree, Path(golden), _builder(tree), target=target, dtype=dtype, device=device)


def _builder(spec: Spec) -> Callable[[Mapping[str, object], str], Built]:
    """Return what makes a model of the emitted code for given params and target.

    Without a GPU, Triton's kernels run in its interpreter.
    """
    import torch

    from attnc.compiler.artefact import load_module
    from attnc.compiler.verify import Built

    interpreted = not torch.cuda.is_available()
    if interpreted:
        os.environ.setdefault("TRITON_INTERPRET", "1")

    def build(params: Mapping[str, object], target: str) -> Built:
        graph = elaborate(spec, None, params)
        compilation = Compilation(graph, target, interpreted=interpreted and target == "triton")
        artefact = compilation.artefact
        module = getattr(load_module(artefact), artefact.model)()
        return Built(module, graph.params, graph.inputs, tuple(graph.outputs), state(graph))

    return build

"""The plan: for each attention of a model which backend computes it, why, and at what cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, cast

from torch import fx

from attnc.compiler.calls import AttentionCall, attention_calls
from attnc.compiler.choice import Verdict, choose
from attnc.compiler.cost import ahead_bytes, complete, saved_bytes, site_flops, type_bytes
from attnc.compiler.floors import Floor
from attnc.compiler.kernel import Backend, Site, Taken, Target
from attnc.compiler.leaf import Function
from attnc.compiler.lower import lower
from attnc.compiler.pairs import number
from attnc.compiler.passes.fusible import Fusible
from attnc.compiler.plan_text import site_json, site_rows, site_text
from attnc.compiler.sites import result_types, scores_type, site_types
from attnc.compiler.targets import float_bytes
from attnc.dsl import codes
from attnc.dsl.diagnostics import Note, SpecError
from attnc.dsl.graph import Body, Graph
from attnc.dsl.liveness import values


@dataclass(frozen=True, slots=True)
class SitePlan:
    """What becomes of all attentions with one site.

    Attributes:
        site: as the chosen backend builds it.
        paths: of the blocks that contain the attention, in order of execution.
        calls: how often it is called in one forward pass.
        verdicts: of all backends, most preferred first.
        flops: of all calls.
        bytes: moved by all calls if each reads its operands and writes its results once.
        score_bytes: what the scores of one call would take in memory.
        fusible: element-wise work beside the attention that could become part of it.
        saved: memory traffic of all calls that fusing what follows the results saves, in bytes.
        ahead: of operands that kernels change as they read them, the bytes that this saves in all
            forward passes, and those that gradients take more, as they make the operand once more.
        resources: what the kernels take of a card, by target and kernel, where measured.
        floors: the least time of one call on the target, where asked for and known.
    """

    site: Site
    paths: tuple[str, ...]
    calls: int
    verdicts: tuple[Verdict, ...]
    flops: int
    bytes: int
    score_bytes: int
    fusible: tuple[Fusible, ...] = ()
    saved: int = 0
    ahead: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    resources: Taken = field(default_factory=dict)
    floors: tuple[Floor, ...] = ()

    @property
    def chosen(self) -> str:
        """The name of the backend."""
        return next(verdict.backend for verdict in self.verdicts if verdict.chosen)


@dataclass(frozen=True, slots=True)
class Plan:
    """How the attentions of a model are computed on a target.

    Attributes:
        sizes: the sizes of inputs that costs are counted for.
        sites: in order of execution.
    """

    target: Target
    sizes: Mapping[str, int]
    sites: tuple[SitePlan, ...]

    def rows(self) -> list[dict[str, str]]:
        """Return a table: one row for each backend of each site, the first also with costs."""
        return [row for site in self.sites for row in site_rows(site)]

    def to_json(self) -> dict[str, object]:
        """Return the plan as plain data."""
        return {
            "target": str(self.target),
            "sizes": dict(self.sizes),
            "sites": [site_json(site) for site in self.sites],
        }

    def text(self) -> str:
        """Return the plan as prose: every attention, every backend, every reason."""
        sizes = ", ".join(f"{name} = {value}" for name, value in self.sizes.items())
        head = f"target {self.target}" + (f", {sizes}" if sizes else "")
        return "\n\n".join([head, *map(site_text, self.sites)]) + "\n"


def plan(
    model: Graph | fx.GraphModule,
    target: Target,
    backends: Sequence[Backend],
    sizes: Mapping[str, int],
    asked: str = "",
) -> Plan:
    """Ask all backends about every distinct attention and choose.

    Args:
        model: a checked graph, or a lowered module after any passes.
        sizes: the value of each symbolic size of the inputs.
        asked: a backend that goes before the preference of the target; empty for none.

    Raises:
        UsageError: a symbolic size has no value (E403).
        SpecError: no backend computes an attention on the target (E402).
    """
    module = lower(model, _never) if isinstance(model, Graph) else model
    body = cast(Body, module.meta["body"])
    complete((port.type for port in values(tuple(body.ports.values()))), sizes)
    groups: dict[Site, list[AttentionCall]] = {}
    for call in attention_calls(module):
        groups.setdefault(call.site, []).append(call)
    planner = _Planner(target, backends, sizes, asked)
    return Plan(target, sizes, tuple(planner.site(*group) for group in groups.items()))


def _never(site: Site) -> Function:
    def function(*tensors: object) -> NoReturn:
        raise RuntimeError(f"{site.name} was lowered for planning only")

    return function


class _Planner:
    def __init__(
        self, target: Target, backends: Sequence[Backend], sizes: Mapping[str, int], asked: str
    ) -> None:
        self.target, self.backends, self.sizes, self.asked = target, backends, sizes, asked
        self.width = float_bytes(target)

    def site(self, site: Site, calls: Sequence[AttentionCall]) -> SitePlan:
        verdicts = choose(site, self.target, self.backends, self.asked)
        if not any(verdict.chosen for verdict in verdicts):
            self._refuse(calls[0], verdicts)
        counts = Counter(call.called for call in calls)
        costs = {called: self._cost(called) for called in counts}
        return SitePlan(
            site,
            tuple(dict.fromkeys(call.path for call in calls)),
            len(calls),
            verdicts,
            sum(costs[called][0] * count for called, count in counts.items()),
            sum(costs[called][1] * count for called, count in counts.items()),
            max(scores for _, _, scores in costs.values()),
            calls[0].fusible,
            sum(self._saved(called) * count for called, count in counts.items()),
            self._ahead(counts, next(each for each in verdicts if each.chosen)),
        )

    def _cost(self, site: Site) -> tuple[int, int, int]:
        """Return FLOPs, bytes moved, and bytes of the scores of one call."""
        types = (*site_types(site), *result_types(site))
        moved = sum(number(type_bytes(type_, self.width), self.sizes) for type_ in types)
        scores = number(type_bytes(scores_type(site), self.width), self.sizes)
        return site_flops(site).at(self.sizes), moved, scores

    def _saved(self, called: Site) -> int:
        return number(saved_bytes(called, self.width), self.sizes)

    def _ahead(self, counts: Mapping[Site, int], chosen: Verdict) -> Mapping[str, tuple[int, int]]:
        totals: dict[str, tuple[int, int]] = {}
        for called, count in counts.items():
            for each in called.attention.prologues:
                reads = chosen.reads.get(each.operand) or 1
                moved = ahead_bytes(called, each, reads, self.width)
                saved, more = totals.get(each.operand, (0, 0))
                of_calls = [count * number(size, self.sizes) for size in moved]
                totals[each.operand] = saved + of_calls[0], more + of_calls[1]
        return totals

    def _refuse(self, call: AttentionCall, verdicts: Sequence[Verdict]) -> NoReturn:
        notes = [Note(f"{each.backend}: {'; '.join(each.reasons)}") for each in verdicts]
        span = call.spans[-1] if call.spans else None
        name, target = call.site.name, str(self.target)
        raise SpecError([codes.NO_BACKEND.at(span, notes=notes, site=name, target=target)])

"""The plan as text, as table rows and as plain data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from attnc.compiler.kernel import Site
from attnc.dsl import scorelang
from attnc.dsl.attention import Attention, SoftmaxKeys, Source
from attnc.dsl.attention_text import (
    domain_text,
    normaliser_text,
    prologue_text,
    reduction_text,
)

if TYPE_CHECKING:
    from attnc.compiler.choice import Verdict
    from attnc.compiler.floors import Floor
    from attnc.compiler.passes.fusible import Fusible
    from attnc.compiler.plan import SitePlan


def site_text(site: SitePlan) -> str:
    """Return a paragraph on one site."""
    what = site.site
    lines = [f"{what.name}: {_times(site.calls)} in {', '.join(grouped(site.paths))}"]
    lines += [f"  {line}" for line in operands(what)]
    lines.append(
        f"  {amount(site.flops)}FLOPs, {amount(site.bytes)}B read and written; the scores of one "
        f"call would take {amount(site.score_bytes)}B"
    )
    if what.attention.epilogue is not None:
        result = scorelang.text(scorelang.simplify(what.attention.epilogue))
        lines.append(f"  fused: the result is {result}, saving {amount(site.saved)}B")
    for each in what.attention.prologues:
        made, (saved, more) = prologue_text(what.attention, each), site.ahead[each.operand]
        gain = f"saving {amount(saved)}B; gradients make it once more, {amount(more)}B"
        lines.append(f"  fused: {made}, {gain}")
    lines += [f"  {_apart(each, site)}" for each in site.fusible]
    lines += [f"  {floor_text(each)}" for each in site.floors]
    width = max(len(verdict.backend) for verdict in site.verdicts)
    for verdict in site.verdicts:
        reasons = "; ".join(verdict.reasons)
        lines.append(f"  {verdict.backend:{width}}  {state(verdict):6}  {reasons}".rstrip())
    for target, kernels in site.resources.items():
        lines += [f"  {name} on {target}: {_taken(each)}" for name, each in kernels.items()]
    return "\n".join(lines)


def _apart(work: Fusible, site: SitePlan) -> str:
    """Return why work beside an attention is no part of it, or what that would save."""
    if work.operand == "beside":
        return (
            f"{work.names[0]}, of other queries, reads the result after its own: {work.bytes} B go "
            "through memory between the two kernels"
        )
    what = f"{', '.join(work.names)} around {work.operand}"
    chosen = next(verdict for verdict in site.verdicts if verdict.chosen)
    reads = chosen.reads.get(work.operand)
    if work.operand[0] in "kv" and reads is None:
        return f"{what} stays apart: keys are read again for each tile of queries"
    if reads is not None and reads > 1:
        return (
            f"{what} stays apart: {reads} tiles of queries read each key, so that fusing it would "
            f"move {reads * work.bytes // 2} B, not {work.bytes} B"
        )
    if reads is not None:
        return f"{what} stays apart: as rows are read, norms with an eps and rotations are applied"
    if work.operand == "q":
        return f"{what} stays apart: {chosen.backend} takes q as it is; fused saves {work.bytes} B"
    return f"{what} could be fused, saving {work.bytes} B"


def site_rows(site: SitePlan) -> Iterator[dict[str, str]]:
    """Yield a row for each backend; what holds for the site stands in the first."""
    first = {
        "attention": site.site.name,
        "in": ", ".join(grouped(site.paths)),
        "calls": str(site.calls),
        "FLOPs": amount(site.flops).strip(),
        "bytes": amount(site.bytes).strip(),
        "scores": amount(site.score_bytes).strip(),
    }
    blank = dict.fromkeys(first, "")
    for at, verdict in enumerate(site.verdicts):
        yield {
            **(blank if at else first),
            "backend": verdict.backend,
            "state": state(verdict),
            "why": "; ".join(verdict.reasons),
        }


def site_json(site: SitePlan) -> dict[str, object]:
    """Return one site as plain data."""
    return {
        "name": site.site.name,
        "paths": list(site.paths),
        "calls": site.calls,
        "operands": list(operands(site.site)),
        "backend": site.chosen,
        "verdicts": [asdict(verdict) for verdict in site.verdicts],
        "flops": site.flops,
        "bytes": site.bytes,
        "score_bytes": site.score_bytes,
        "saved": site.saved,
        "ahead": {
            operand: {"saved": saved, "gradients": more}
            for operand, (saved, more) in site.ahead.items()
        },
        "resources": site.resources,
        "floors": [asdict(each) for each in site.floors],
        "fusible": [{**asdict(each), "bytes": str(each.bytes)} for each in site.fusible],
    }


def floor_text(floor: Floor) -> str:
    """Return `forward on H200: 3.05 us at least, by memory; 1.2 GFLOPs, ...`."""
    work = floor.work
    parts = f"{amount(work.flops)}FLOPs, {amount(work.exps)}exponentials, {amount(work.bytes)}B"
    time = f"{floor.microseconds:.3g} us at least, by {floor.bound}"
    return f"{floor.step} on {floor.card}: {time}; {parts}"


def _taken(resources: Mapping[str, int]) -> str:
    """Return `128 registers, no spills, 16 KiB of shared memory, 30 matrix instructions`."""
    spills = f"{resources['spills'] or 'no'} spills"
    shared = f"{resources['shared'] / 1024:.0f} KiB of shared memory"
    matrix = f"{resources['tensor_core']} matrix instructions"
    return f"{resources['registers']} registers, {spills}, {shared}, {matrix}"


def state(verdict: Verdict) -> str:
    """Return `chosen`, `can` or `no`."""
    if verdict.chosen:
        return "chosen"
    return "can" if verdict.can else "no"


def amount(number: int) -> str:
    """Return a number with three digits and a decimal prefix: `1.23 M`, `123 `."""
    value, prefixes = float(number), iter(("", "k", "M", "G", "T", "P"))
    prefix = next(prefixes)
    while value >= 999.5 and prefix != "P":
        value, prefix = value / 1000, next(prefixes)
    digits = f"{value:.3g}" if prefix else str(number)
    return f"{digits} {prefix}"


def grouped(paths: Sequence[str]) -> list[str]:
    """Return paths with runs of numbers in one: `blocks.0-11.attn`."""
    runs: dict[tuple[str, str], list[int]] = {}
    for path in paths:
        before, number, after = _parted(path)
        runs.setdefault((before, after), []).extend([] if number is None else [number])
    return [before + _runs(numbers) + after for (before, after), numbers in runs.items()]


def _parted(path: str) -> tuple[str, int | None, str]:
    """Split a path at its last number; one without is all in front."""
    found = re.fullmatch(r"(|.*\.)(\d+)(|\..*)", path)
    return (found[1], int(found[2]), found[3]) if found else (path, None, "")


def _runs(numbers: Sequence[int]) -> str:
    """Return `0-2,10`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] + 1 == number:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)


def _times(calls: int) -> str:
    return "1 call" if calls == 1 else f"{calls} calls"


def operands(site: Site) -> Iterator[str]:
    """Yield the operands of each source with their shapes and the score."""
    attention = site.attention
    query = f"scores {site.q}" if attention.given else f"q {site.q}"
    back = "" if site.vq is None else f", vq {site.vq}"
    for number, (source, (k, v)) in enumerate(zip(attention.sources, site.sources, strict=True)):
        at = str(number) if len(site.sources) > 1 else ""
        key = "" if attention.given else f", k{at} {k}"
        yield f"{query}{key}, v{at} {v}{back}: {_score(source)}{_reduction(attention, source)}"


def _reduction(attention: Attention, source: Source) -> str:
    """Return what follows the scores, where that is more than a softmax over keys."""
    name = normaliser_text(attention.normaliser)
    normalised = "" if attention.normaliser == SoftmaxKeys() else f", normalize = {name}"
    return normalised + reduction_text(attention, source)


def _score(source: Source) -> str:
    return scorelang.text(scorelang.simplify(source.score)) + domain_text(source)

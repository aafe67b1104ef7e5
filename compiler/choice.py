"""Which backend computes an attention: an order of preference for each kind of target, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from attnc.compiler.kernel import Backend, Site, Target, Yes
from attnc.compiler.pairs import pairs_by_heads
from attnc.compiler.sites import scores_type
from attnc.dsl import scorelang
from attnc.dsl.attention import Coordinate, ScoreTree, Source
from attnc.dsl.prologues import prologue_tensors


@dataclass(frozen=True, slots=True)
class Preference:
    """One step of an order of preference.

    Attributes:
        backend: its name; `*` for all that the order does not name.
        unless: says why not at this step, for a site; none where nothing speaks against it.
    """

    backend: str
    unless: Callable[[Site], str | None] = lambda site: None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one backend says of a site, and what became of it.

    Attributes:
        can: whether it computes the site exactly.
        chosen: whether it shall.
        reasons: its own, then why it was not preferred.
        reads: how often it reads rows of operands that it can change; see `Yes.reads`.
    """

    backend: str
    can: bool
    chosen: bool
    reasons: tuple[str, ...]
    reads: Mapping[str, int | None] = field(default_factory=dict)


FUSED_WIDTH = 256
"""Widest heads that the fused kernels behind sdpa take on a GPU."""

FUSED_STEP, USUAL_WIDTH = 8, 128
"""Widths of heads are a multiple of the one and up to the other, as a rule: others are of channels,
whose elements do not lie side by side."""


def _beyond_fused(site: Site) -> str | None:
    """Speak against what takes sdpa out of its fused kernels: a bias, a mask, wide heads."""
    width = site.q.shape[3]
    if not isinstance(width, int) or width > FUSED_WIDTH:
        return f"not preferred: its fused kernels take heads up to {FUSED_WIDTH} wide, not {width}"
    if _wide(site) is not None and (width % FUSED_STEP or width > USUAL_WIDTH):
        return f"not preferred: heads of {width} beside fewer tokens lie turned, as of channels"
    after = site.attention.epilogue
    beside = set() if after is None else {*scorelang.loads(after)}
    beside |= {*prologue_tensors(site.attention.prologues)}
    names = [
        name
        for name, type_ in zip(site.attention.tensors, site.tensors, strict=True)
        if type_.dtype == "float" and name not in beside
    ]
    if names:
        return f"not preferred: adding {', '.join(names)} takes it out of its fused kernels"
    if any(_condition(source) is not None for source in site.attention.sources):
        return "not preferred: it builds a mask, which takes it out of its fused kernels"
    return None


def _condition(source: Source) -> ScoreTree | None:
    """Return what pairs must satisfy, unless it is causal, which sdpa knows."""
    condition = scorelang.allowed(source)
    is_causal = condition is not None and scorelang.classify(condition) == _CAUSAL
    return None if is_causal else condition


FEW_PAIRS = 2**16
"""Pairs of queries and keys of one head up to which walking through tiles does not pay."""

SHORT_PAIRS = 2**20
"""Pairs up to which training with a built bias is as fast as with tiles, if all are allowed."""

_CAUSAL = scorelang.classify(scorelang.make("le", Coordinate("j"), Coordinate("i")))


def _built_by_pair(site: Site) -> str | None:
    """Speak against a mask or bias of all pairs, which is built and whose gradient is stored."""
    if _few_pairs(site) is not None or _is_short(site):
        return None
    for source in site.attention.sources:
        condition, score = _condition(source), scorelang.scaled_product(source.score)
        bias = None if score is None else score.bias
        trees = [tree for tree in (condition, bias) if tree is not None]
        if {"i", "j"} <= set().union(*map(scorelang.coordinates, trees)):
            return "not preferred: it builds a mask or bias of all pairs"
    return None


def _is_short(site: Site) -> bool:
    """Say whether a bias of all pairs, none of them forbidden, is known to be a short one."""
    _, _, n, m = scores_type(site).shape
    pairs = n * m
    masked = any(scorelang.allowed(source) is not None for source in site.attention.sources)
    return not masked and isinstance(pairs, int) and pairs <= SHORT_PAIRS


def _wide(site: Site) -> str | None:
    """Speak against heads wider than there are tokens, as in attention over channels."""
    width = site.q.shape[3]
    tokens = [site.q.shape[2], *(k.shape[2] for k, _ in site.sources)]
    if isinstance(width, int) and all(isinstance(n, int) and n < width for n in tokens):
        return f"not preferred: heads of {width} leave little to fuse"
    return None


SMALL_PAIRS = 2**14
"""Pairs of one head up to which plain products are faster than a fused call.

On a CPU: for 49 to 100 tokens 0.5 to 0.85 of its time, forward and with gradients; for 256 twice.
"""


def _small(site: Site) -> str | None:
    """Speak against a call for few pairs, all of them allowed and without a bias.

    With fewer queries than keys the copies of keys that products may take outweigh what they save.
    """
    _, _, n, m = scores_type(site).shape
    plain = not site.attention.tensors and all(
        scorelang.allowed(source) is None for source in site.attention.sources
    )
    if not plain or not (isinstance(n, int) and isinstance(m, int)):
        return None
    if m > n or n * m > SMALL_PAIRS:
        return None
    return f"not preferred: plain products of {n * m} pairs are faster than its call"


def _unfused(site: Site) -> str | None:
    """Speak against a fused call where there is little to fuse."""
    return _wide(site) or _small(site)


def _on_cpu(site: Site) -> str | None:
    return _unfused(site) or _built_by_pair(site)


def _few_pairs(site: Site) -> str | None:
    """Speak against tiles where there are few pairs, most of them allowed, as far as is known."""
    _, _, n, m = scores_type(site).shape
    pairs = n * m
    if not isinstance(pairs, int) or pairs >= FEW_PAIRS or 2 * _allowed(site) <= pairs:
        return None
    return f"not preferred: {pairs} pairs fit one tile"


def _allowed(site: Site) -> int:
    """Count the pairs that domains allow, of an average head; all sizes of tokens are numbers."""
    total = 0
    for source, (k, _) in zip(site.attention.sources, site.sources, strict=True):
        groups = pairs_by_heads(source, site.q.shape[2], k.shape[2])
        total += sum(group.count({}) for group in groups) // len(groups)
    return total


_GPU = (
    Preference("sdpa", _beyond_fused),
    Preference("triton"),
    Preference("linear"),
    Preference("sdpa"),
    Preference("tiled", _few_pairs),
    Preference("*"),
    Preference("reference"),
    Preference("tiled"),
)
PREFERENCES: Mapping[str, Sequence[Preference]] = {
    "cpu": (
        Preference("sdpa", _on_cpu), Preference("linear"), Preference("tiled", _few_pairs),
        Preference("sdpa", _unfused), Preference("*"), Preference("reference"), Preference("sdpa"),
        Preference("tiled"),
    ),
    "cuda": _GPU,
    "hip": _GPU,
}  # fmt: skip
"""The order for each kind of target: the first that can is chosen."""


def choose(
    site: Site, target: Target, backends: Sequence[Backend], asked: str = ""
) -> tuple[Verdict, ...]:
    """Ask all backends about a site.

    Args:
        asked: a backend that goes before the preference of the target; empty for none.

    Returns:
        A verdict for each, most preferred first; none is chosen where none can.
    """
    answers = {backend.name: backend.can(site, target) for backend in backends}
    verdicts: list[Verdict] = []
    order = (*((Preference(asked),) if asked else ()), *PREFERENCES[target.kind])
    for name, against in _ranked(site, order, [*answers]).items():
        answer = answers[name]
        can, chosen = isinstance(answer, Yes), any(each.chosen for each in verdicts)
        reads = answer.reads if isinstance(answer, Yes) else {}
        verdicts.append(Verdict(name, can, can and not chosen, (*answer.reasons, *against), reads))
    return tuple(verdicts)


def _ranked(
    site: Site, order: Sequence[Preference], names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the backends in order of preference, each with what spoke against it earlier."""
    named = {step.backend for step in order}
    ranked: dict[str, tuple[str, ...]] = {}
    against: dict[str, tuple[str, ...]] = {}
    for step in order:
        stands_for = [name for name in names if name not in named]
        for name in stands_for if step.backend == "*" else [step.backend]:
            reason = step.unless(site)
            if name in names and reason is None:
                ranked.setdefault(name, against.get(name, ()))
            elif reason is not None and name not in ranked:
                against[name] = (*against.get(name, ()), reason)
    return ranked

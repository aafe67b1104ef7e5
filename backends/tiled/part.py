"""A source as tiles compute it: what depends on i - j only stands apart, conditions are sorted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce

from attnc.dsl.attention import Apply, Constant, Coordinate, Dot, Load, ScoreTree, Source
from attnc.dsl.scorelang import (
    FUNCTIONS,
    LinearBand,
    allowed,
    classify,
    coordinates,
    derivative,
    has_dot,
    loads,
    make,
    replaced,
    scaled_product,
    simplify,
    subtrees,
)
from attnc.dsl.scorelang.simplify import TRUE

ZERO = Constant(0.0)


@dataclass(frozen=True, slots=True)
class Run:
    """A part of a score that depends on i and j by i - j only: one value for each diagonal.

    Attributes:
        stand_in: what the score reads in its place.
        tree: with 0 for j, so that i is i - j.
    """

    stand_in: Load
    tree: ScoreTree


@dataclass(frozen=True, slots=True)
class Part:
    """One source. A pair is allowed where `near`, `far` and `late` hold.

    Attributes:
        scale: what q is multiplied by before it meets k.
        score: reads `qk`, times the scale, and the stand-ins of runs.
        added: the score is `qk` and what is added to it: a run at most, then `rest`.
        rest: what else is added; none where nothing is, or where the score is no such sum.
        runs: in the order of their stand-ins.
        inside: the band of pairs that tiles are laid over.
        near: the condition on i - j, with 0 for j; none where all are allowed.
        everywhere: whether `near` asks for more than the band.
        far: the condition on i and j; none where all are allowed.
        late: the condition that reads `qk`; none where all are allowed.
        fragile: whether the score of a forbidden pair may be no number; then `far` is all of
            the conditions but `late`.
    """

    scale: float
    score: ScoreTree
    added: bool
    rest: ScoreTree | None
    runs: tuple[Run, ...]
    inside: LinearBand
    near: ScoreTree | None
    everywhere: bool
    far: ScoreTree | None
    late: ScoreTree | None
    fragile: bool


def digest(source: Source) -> Part:
    """Prepare a source."""
    given = _Conditions(source)
    scaled = None if given.late else scaled_product(source.score)
    rest = None
    if scaled is None or scaled.scale == 0:
        score, runs = _with_runs(simplify(source.score), given)
    else:
        bias, runs = _with_runs(_regrouped(scaled.bias or ZERO), given)
        score = make("add", Dot(), bias)
        rest = _sum(term for term in _terms(bias) if term not in {run.stand_in for run in runs})
    scale, added = (scaled.scale, True) if scaled and scaled.scale != 0 else (1.0, False)
    if _is_fragile(score):
        return Part(
            scale, score, added, rest, runs, given.inside, None, False, given.early, given.late, True
        )
    return Part(
        scale, score, added, rest, runs, given.inside, given.near, given.everywhere, given.far,
        given.late, False,
    )  # fmt: skip


def smooth_loads(tree: ScoreTree) -> Mapping[Load, ScoreTree]:
    """Return the reads of float tensors that a tree depends on smoothly, with d tree / d read."""
    simple = simplify(tree)
    reads = (load for same in loads(simple).values() for load in same if load.dtype == "float")
    slopes = {load: derivative(simple, load) for load in reads}
    return {load: slope for load, slope in slopes.items() if slope != ZERO}


class _Conditions:
    """The conjuncts of what allows a pair, sorted by what they read; see `Part`."""

    def __init__(self, source: Source) -> None:
        parts = list(_conjuncts(allowed(source) or TRUE))
        bands = [part for part in parts if classify(part) is not None]
        late = [part for part in parts if has_dot(part)]
        rest = [part for part in parts if part not in bands and part not in late]
        stationary = [part for part in rest if _reads_pair(part) and _growth(part) == 0]
        self.inside = classify(_all(bands) or TRUE) or LinearBand()
        self.everywhere = bool(stationary)
        self.near = _all([*_sides(self.inside), *map(_by_difference, stationary)])
        self.far = _all(part for part in rest if part not in stationary)
        self.late = _all(late)
        self.early = _all([*bands, *rest])


def _conjuncts(tree: ScoreTree) -> Iterator[ScoreTree]:
    match tree:
        case Apply("and", (left, right)):
            yield from _conjuncts(left)
            yield from _conjuncts(right)
        case _ if tree != TRUE:
            yield tree


def _all(parts: Iterable[ScoreTree]) -> ScoreTree | None:
    found = list(parts)
    return reduce(lambda left, right: make("and", left, right), found) if found else None


def _sides(inside: LinearBand) -> Iterator[ScoreTree]:
    """Yield the bounds of a band on i, with 0 for j."""
    apart = Coordinate("i")
    if inside.left is not None:
        yield make("le", apart, inside.left)
    if inside.right is not None:
        yield make("ge", apart, make("neg", inside.right))


# Runs ---------------------------------------------------------------------------------------


def _with_runs(
    tree: ScoreTree, conditions: _Conditions
) -> tuple[ScoreTree, tuple[Run, ...]]:
    """Put stand-ins for the largest parts that depend on i - j only."""
    runs: dict[ScoreTree, Run] = {}

    def change(part: ScoreTree) -> ScoreTree:
        if _is_run(part) and (conditions.far is None or not _is_fragile(part)):
            stand_in = Load(f"<{len(runs)}>", ())
            return runs.setdefault(part, Run(stand_in, _by_difference(part))).stand_in
        match part:
            case Apply(function, arguments):
                return make(function, *map(change, arguments))
        return part

    return change(tree), tuple(runs.values())


def _is_run(tree: ScoreTree) -> bool:
    is_float = tree.type == "float" and not has_dot(tree)
    return is_float and _reads_pair(tree) and _growth(tree) == 0


def _reads_pair(tree: ScoreTree) -> bool:
    return bool(coordinates(tree) & {"i", "j"})


def _by_difference(tree: ScoreTree) -> ScoreTree:
    """Return a tree that depends on i - j with 0 for j."""
    key = Coordinate("j")
    return simplify(replaced(tree, lambda part: Constant(0) if part == key else part))


def _regrouped(bias: ScoreTree) -> ScoreTree:
    """Bring together the terms of a sum that depend on i - j only."""
    terms = list(_terms(bias))
    runs = [term for term in terms if _is_run(term)]
    rest = [term for term in terms if not _is_run(term)]
    sums = [each for each in (_sum(runs), _sum(rest)) if each is not None]
    return _sum(sums) or ZERO


def _sum(terms: Iterable[ScoreTree]) -> ScoreTree | None:
    found = list(terms)
    return reduce(lambda left, right: make("add", left, right), found) if found else None


def _terms(tree: ScoreTree) -> Iterator[ScoreTree]:
    match tree:
        case Apply("add", (left, right)):
            yield from _terms(left)
            yield from _terms(right)
        case Apply("sub", (left, right)):
            yield from _terms(left)
            yield from (make("neg", term) for term in _terms(right))
        case _:
            yield tree


def _growth(tree: ScoreTree) -> int | None:
    """Return by how much a tree grows where i and j both grow by one; none where that varies."""
    match tree:
        case Coordinate("i" | "j"):
            return 1
        case Apply("add" | "sub" as function, (left, right)):
            steps = _growth(left), _growth(right)
            if steps[0] is None or steps[1] is None:
                return None
            return steps[0] + steps[1] if function == "add" else steps[0] - steps[1]
        case Apply("neg", (inner,)):
            step = _growth(inner)
            return None if step is None else -step
        case Apply("float", (inner,)):
            return _growth(inner)
        case Apply(function, (left, right)) if function in _COMPARISONS:
            step = _growth(left)
            return 0 if step is not None and step == _growth(right) else None
        case Apply(_, parts) | Load(_, parts):
            return 0 if all(_growth(part) == 0 for part in parts) else None
    return 0


_COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})


def _is_fragile(tree: ScoreTree) -> bool:
    """Say whether a function that may lack a finite value reads the coordinates of a pair."""
    return any(
        isinstance(part, Apply) and not FUNCTIONS[part.function].finite and _reads_pair(part)
        for part in subtrees(tree)
    )

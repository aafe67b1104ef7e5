"""The bilinear mixture: a softmax in each corner of a sampled box, weighed by the fractions."""

from __future__ import annotations

from functools import partial, reduce
from itertools import product

from attnc.backends.materialised.part import Part
from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import ScoreWriter
from attnc.dsl.attention import Constant, Sampled, ScoreTree
from attnc.dsl.scorelang import FRACTIONS, Reach, fractions, make, reaches, size_tree

FIRST, LAST = 0, 1
"""Which positions of an axis a corner has: all but the last, or all but the first."""

_MIXED = """
    corner = {scores}.masked_fill(~inside, -torch.inf)
    empty = corner.isneginf().all(-1, keepdim=True)  # corners without a key
    corner = corner.masked_fill(empty, 0.0).softmax(-1).masked_fill(empty, 0.0)
    {weights} = {weights} + share * corner"""


def bilinear(made: TorchFunction, part: Part) -> str:
    """Add the lines of the mixture and return the variable that holds it."""
    (number,) = part.sources
    domain = made.site.attention.sources[number].domain
    assert isinstance(domain, Sampled), "bilinear goes with a sampled domain"
    writer = ScoreWriter(made, number)
    names = FRACTIONS[-len(domain.radius) :]
    shares = [
        made.bind(name, writer.floating(each))
        for name, each in zip(names, fractions(domain), strict=True)
    ]
    sides = [
        _sides(made, number, reach, name[-1])
        for reach, name in zip(reaches(domain), names, strict=True)
    ]
    made.line(f"{part.weights} = torch.zeros_like({part.scores})")
    made.line("for share, inside in (")
    for corner in product((FIRST, LAST), repeat=len(shares)):
        share = " * ".join(_share(end, name) for end, name in zip(corner, shares, strict=True))
        ends = [side[end] for side, end in zip(sides, corner, strict=True)]
        inside = reduce(partial(make, "and"), ends)
        made.line(f"    ({share}, {writer.condition(inside)}),")
    made.line("):" + _MIXED.format(scores=part.scores, weights=part.weights))
    return part.weights


def _sides(
    made: TorchFunction, number: int, reach: Reach, axis: str
) -> tuple[ScoreTree, ScoreTree]:
    """Return the conditions that a position is no last one, and no first one, along an axis."""
    known = made.known[number]
    if reach.slot not in known:
        known[reach.slot] = made.bind(f"slot_{axis}", ScoreWriter(made, number).integer(reach.slot))
    return (
        make("lt", reach.slot, size_tree(reach.number - 1)),
        make("gt", reach.slot, Constant(0)),
    )


def _share(end: int, fraction: str) -> str:
    return fraction if end == LAST else f"(1 - {fraction})"

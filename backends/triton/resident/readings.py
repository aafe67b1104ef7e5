"""The ways in which scores are read: which side they are normalised over, and which is summed."""

from __future__ import annotations

from dataclasses import dataclass

from attnc.dsl.attention import (
    ArgmaxKeys,
    ArgmaxQueries,
    Normaliser,
    SoftmaxBoth,
    SoftmaxKeys,
    SoftmaxQueries,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One result of the scores.

    Attributes:
        result: `out`, of queries, or `back`, of keys.
        values: `v` or `vq`.
        width: of values and result.
        whole: whether a row of weights is normalised over the side that stays, all in one tile;
            else over the side that is streamed, by running maxima and sums.
        gathers: whether the result is of the side that stays, a sum over what is streamed; else
            each streamed row has its result at once.
        hard: whether the best pair alone weighs.
    """

    result: str
    values: str
    width: int
    whole: bool
    gathers: bool
    hard: bool

    @property
    def lse(self) -> str:
        """Name of the statistic that softmax is divided by."""
        return "lse" if self.result == "out" else "back_lse"


def readings(
    normaliser: Normaliser, keys_stay: bool, width: int, back_width: int
) -> tuple[Reading, ...] | None:
    """Return how a normaliser reads scores; none for one that does not compare tokens.

    Args:
        normaliser: as stated.
        keys_stay: whether keys stay in a tile; else queries do.
        width: of v; `back_width` of vq.
    """
    out = Reading("out", "v", width, keys_stay, not keys_stay, isinstance(normaliser, ArgmaxKeys))
    match normaliser:
        case SoftmaxKeys(None) | ArgmaxKeys():
            return (out,)
        case SoftmaxQueries():
            return (Reading("out", "v", width, not keys_stay, not keys_stay, False),)
        case ArgmaxQueries():
            return (Reading("out", "v", width, not keys_stay, not keys_stay, True),)
        case SoftmaxBoth():
            return (out, Reading("back", "vq", back_width, not keys_stay, keys_stay, False))
    return None

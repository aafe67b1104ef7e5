"""The normalisers as lines of torch: from scores [b, h, n, m], masked pairs -inf, to weights."""

from __future__ import annotations

from attnc.backends.materialised.bilinear import bilinear
from attnc.backends.materialised.part import KEYS, QUERIES, Part
from attnc.backends.torch_function import TorchFunction
from attnc.dsl.attention import (
    ArgmaxKeys,
    ArgmaxQueries,
    Bilinear,
    Normaliser,
    Ratio,
    ReluPower,
    Sigmoid,
    SoftmaxQueries,
    Unnormalised,
)

_ENDED = {
    KEYS: ("(0, 1)", "[..., :-1]"),
    QUERIES: ("(0, 0, 0, 1)", "[..., :-1, :]"),
}
"""What adds one of score -inf at the end, and what leaves it out again."""

_LACKING = {KEYS: ("empty", "queries without a key"), QUERIES: ("unseen", "keys without a query")}


def normalised(made: TorchFunction, part: Part, normaliser: Normaliser, sink: str) -> str:
    """Add what goes before and return the expression of the weights, in the dtype of the scores.

    Args:
        sink: the expression of the score of a key without a value; empty where there is none.
    """
    match normaliser:
        case SoftmaxQueries():
            return softmax(made, part, QUERIES, part.weights)
        case ArgmaxKeys():
            return _one_hot(made, part, KEYS)
        case ArgmaxQueries():
            return _one_hot(made, part, QUERIES)
        case Sigmoid():
            return f"{part.scores}.sigmoid()"
        case ReluPower(power):
            raised = {1.0: "", 2.0: ".square()"}.get(power, f".pow({power!r})")
            return f"{part.scores}.relu(){raised}"
        case Unnormalised():
            return _scores_or_zero(part)
        case Ratio():
            return _ratio(made, part, normaliser)
        case Bilinear():
            return bilinear(made, part)
    if sink:
        last = f"{made.bind('sink', sink)}.expand(*{part.scores}.shape[:-1], 1)"
        made.line(f"{padded(part)} = torch.cat(({part.scores}, {last}), dim=-1)")
        return f"{padded(part)}.softmax(-1)[..., :-1]"
    return softmax(made, part, KEYS, part.weights)


def softmax(made: TorchFunction, part: Part, axis: int, name: str) -> str:
    """Return a softmax along an axis, with `name` to hold it on the way; over nothing it is 0."""
    if axis not in part.can_lack:
        return f"{part.scores}.softmax({axis})"
    nothing = lacking(made, part, axis)
    made.line(f"{name} = {part.scores}.masked_fill({nothing}, 0.0).softmax({axis})")
    return f"{name}.masked_fill({nothing}, 0.0)"


def lacking(made: TorchFunction, part: Part, axis: int) -> str:
    """Name where all scores along an axis are -inf: a softmax there would be NaN."""
    stem, meaning = _LACKING[axis]
    name = f"{stem}{part.suffix}"
    made.line(f"{name} = {part.scores}.isneginf().all({axis}, keepdim=True)  # {meaning}")
    return name


def lse(made: TorchFunction, part: Part, axis: int, *, has_sink: bool, is_known: bool) -> None:
    """Add the lines of `lse`. `is_known` says that where it is -inf has its name already."""
    if has_sink:
        made.line(f"lse = {padded(part)}.logsumexp(-1)")
    elif axis not in part.can_lack:
        made.line(f"lse = {part.scores}.logsumexp({axis})")
    else:
        known = f"{_LACKING[axis][0]}{part.suffix}"
        nothing = known if is_known else lacking(made, part, axis)
        made.line(f"lse = {part.scores}.masked_fill({nothing}, 0.0).logsumexp({axis})")
        made.line(f"lse = lse.masked_fill({nothing}.squeeze({axis}), -torch.inf)")


def padded(part: Part) -> str:
    """Return the variable for the scores with the sink behind."""
    return f"padded{part.suffix}"


def _one_hot(made: TorchFunction, part: Part, axis: int) -> str:
    """Return 1 at the best, 0 elsewhere; bind `index` where it is an output."""
    scores, inside, meaning = part.scores, "", "the first of equals"
    if axis in part.can_vanish:  # of nothing there is no largest
        scores, (pad, inside) = f"ended{part.suffix}", _ENDED[axis]
        ended = f"torch.nn.functional.pad({part.scores}, {pad}, value=-torch.inf)"
        made.line(f"{scores} = {ended}")
        meaning = f"{meaning}; the end of nothing"
    made.line(f"best = {scores}.argmax({axis}, keepdim=True)  # {meaning}")
    one_hot = f"torch.zeros_like({scores}).scatter({axis}, best, 1.0){inside}"
    index = "best"
    if axis in part.can_lack | part.can_vanish:
        nothing = lacking(made, part, axis)
        made.line(f"{part.weights} = {one_hot}")
        one_hot, index = (
            f"{part.weights}.masked_fill({nothing}, 0.0)",
            f"best.masked_fill({nothing}, -1)",
        )
    if "index" in made.site.attention.outputs:
        made.line(f"index = {index}.squeeze({axis})")
    return one_hot


def _scores_or_zero(part: Part) -> str:
    if not part.is_masked:
        return part.scores
    return f"{part.scores}.masked_fill({part.scores}.isneginf(), 0.0)"


def _ratio(made: TorchFunction, part: Part, ratio: Ratio) -> str:
    weights = part.scores
    if part.is_masked:
        weights = part.weights
        made.line(f"{weights} = {_scores_or_zero(part)}")
    total = f"{weights}.sum(-1, keepdim=True)"
    if ratio.floor is not None:
        total += f".clamp(min={ratio.floor!r})"
    if KEYS in part.can_lack and not ratio.eps and not ratio.floor:
        total += f".masked_fill({lacking(made, part, KEYS)}, 1.0)"
    return f"{weights} / {f'({total} + {ratio.eps!r})' if ratio.eps else total}"

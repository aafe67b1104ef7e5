"""Normalisers on a tile that holds whole rows (or whole columns): forwards and backwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from attnc.dsl.attention import (
    ArgmaxKeys,
    ArgmaxQueries,
    Bilinear,
    Normaliser,
    Ratio,
    ReluPower,
    Sigmoid,
    SoftmaxBoth,
    SoftmaxKeys,
    SoftmaxQueries,
    Unnormalised,
)

HARD = (ArgmaxKeys, ArgmaxQueries)
BY_COLUMN = (SoftmaxQueries, ArgmaxQueries)
"""Normalisers over queries: tiles hold whole columns."""


@dataclass(frozen=True, slots=True)
class Part:
    """Scores that are normalised together.

    Attributes:
        normaliser: over keys or over queries.
        numbers: of the sources.
        suffix: of the variables.
        is_masked: whether a score may be -inf.
        can_lack: whether all scores of a row (a column) may be.
        sink: the call of the score of the sink, or empty.
        lse: the variable of lse, which is then a result, or empty.
        index: likewise, of an arg-max.
        chosen: the expression of the tokens that an arg-max finds at `best` in a tile.
        corners: the call that gives the corners of a sampled box, or empty.
    """

    normaliser: Normaliser
    numbers: tuple[int, ...]
    suffix: str
    is_masked: bool
    can_lack: bool
    sink: str = ""
    lse: str = ""
    index: str = ""
    chosen: str = ""
    corners: str = ""

    @property
    def axis(self) -> int:
        """The axis of scores along which they are normalised."""
        return -2 if isinstance(self.normaliser, BY_COLUMN) else -1

    @property
    def along(self) -> str:
        """The places of statistics: those of queries or of keys."""
        return f"bs, hs, cols{self.suffix}" if self.axis == -2 else "bs, hs, rows"

    def own(self, name: str) -> str:
        """Return the variable of this part."""
        return f"{name}{self.suffix}"


def weights(part: Part, *, results: bool) -> Iterator[str]:
    """Yield lines from `scores` to `weights`.

    Args:
        results: whether lse and index are to be stored; else what `gradient` reads is bound.
    """
    scores, weights, axis = part.own("scores"), part.own("weights"), part.axis
    if part.sink:
        yield f"sink = {part.sink}"
    if part.lse and results:
        yield from _lse(part)
    match part.normaliser:
        case SoftmaxKeys() | SoftmaxQueries() | SoftmaxBoth():
            yield _softmax(part)
        case ArgmaxKeys() | ArgmaxQueries():
            yield f"best = {scores}.argmax({axis}, keepdim=True)  # the first of equals"
            yield f"{weights} = torch.zeros_like({scores}).scatter_({axis}, best, 1.0)"
            if part.can_lack:
                yield f"nothing = {scores}.isneginf().all({axis}, keepdim=True)"
                yield f"{weights}.masked_fill_(nothing, 0.0)"
            if part.index and results:
                yield f"best = {part.chosen}"
                best = "best.masked_fill(nothing, -1)" if part.can_lack else "best"
                yield f"{part.index}[{part.along}] = {best}.squeeze({axis})"
        case Sigmoid():
            yield f"{weights} = {scores}.sigmoid()"
        case ReluPower(power):
            raised = {1.0: "", 2.0: ".square()"}.get(power, f".pow({power!r})")
            yield f"{weights} = {scores}.relu(){raised}"
        case Unnormalised():
            yield f"{weights} = {_zeroed(part)}"
        case Ratio():
            yield from _ratio(part, part.normaliser, graded=not results)
        case Bilinear():
            yield f"{weights} = torch.zeros_like({scores})"
            yield f"for share, inside in {part.corners}:"
            yield f"    {weights} += share * {_corner(part)}"


def _softmax(part: Part) -> str:
    scores, weights = part.own("scores"), part.own("weights")
    if part.sink:
        return f"{weights}, at_sink = softmax_beside({scores}, sink)"
    if part.can_lack:
        return f"{weights} = softmax({scores}, {part.axis})"
    return f"{weights} = {scores}.softmax({part.axis})"


def _lse(part: Part) -> Iterator[str]:
    scores = part.own("scores")
    if not part.sink:
        yield f"{part.lse}[{part.along}] = {scores}.logsumexp({part.axis})"
        return
    yield f"total = {scores}.logsumexp(-1, keepdim=True)"
    yield f"{part.lse}[{part.along}] = torch.logaddexp(total, sink).squeeze(-1)"


def _ratio(part: Part, ratio: Ratio, *, graded: bool) -> Iterator[str]:
    weights, total = part.own("weights"), part.own("total")
    yield f"{weights} = {_zeroed(part)}"
    yield f"{total} = {weights}.sum(-1, keepdim=True)"
    if ratio.floor is not None:
        if graded:
            yield f"{part.own('above')} = {total} >= {ratio.floor!r}"
        yield f"{total} = {total}.clamp(min={ratio.floor!r})"
    if ratio.eps:
        yield f"{total} = {total} + {ratio.eps!r}"
    elif part.can_lack and not ratio.floor:
        yield f"nothing = {part.own('scores')}.isneginf().all(-1, keepdim=True)"
        yield f"{total} = {total}.masked_fill(nothing, 1.0)"
    yield f"{weights} = {weights} / {total}"


def _zeroed(part: Part) -> str:
    scores = part.own("scores")
    return f"{scores}.masked_fill({scores}.isneginf(), 0.0)" if part.is_masked else scores


def gradient(part: Part, grad_lse: str) -> Iterator[str]:
    """Yield lines from `grad_weights` to `grad_scores`.

    Args:
        grad_lse: the variable of the gradient of lse, or empty.
    """
    scores, weights, axis = part.own("scores"), part.own("weights"), part.axis
    grad, result = part.own("grad_weights"), part.own("grad_scores")
    match part.normaliser:
        case SoftmaxKeys() | SoftmaxQueries() | SoftmaxBoth():
            if part.sink:
                yield f"pull = ({weights} * {grad}).sum({axis}, keepdim=True)"
                if grad_lse:
                    yield f"pull -= {grad_lse}[{part.along}].unsqueeze({axis})"
                yield f"{result} = {weights} * ({grad} - pull)"
                return
            yield f"{result} = softmax_gradient({grad}, {weights}, {axis})"
            if grad_lse:
                yield f"{result} += {weights} * {grad_lse}[{part.along}].unsqueeze({axis})"
        case Sigmoid():
            yield f"{result} = {grad} * {weights} * (1.0 - {weights})"
        case ReluPower(power):
            yield f"{result} = {_relu_gradient(scores, grad, power)}"
        case Unnormalised():
            yield f"{result} = {_kept(part, grad)}"
        case Ratio(_, floor):
            yield f"pull = ({weights} * {grad}).sum(-1, keepdim=True)"
            if floor is not None:
                yield f"pull *= {part.own('above')}"
            through = f"(({grad} - pull) / {part.own('total')})"
            yield f"{result} = {_kept(part, through)}"
        case Bilinear():
            yield f"{result}, grad_shares = torch.zeros_like({scores}), []"
            yield f"for share, inside in {part.corners}:"
            yield f"    corner = {_corner(part)}"
            yield f"    pull = (corner * {grad}).sum(-1, keepdim=True)"
            yield f"    {result} += share * corner * ({grad} - pull)"
            yield "    grad_shares.append(pull)"


def _corner(part: Part) -> str:
    """Return the softmax over one corner of a box; over nothing it is 0."""
    return f"softmax({part.own('scores')}.masked_fill(~inside, -torch.inf), -1)"


def _kept(part: Part, grad: str) -> str:
    if not part.is_masked:
        return grad
    return f"{grad}.masked_fill({part.own('scores')}.isneginf(), 0.0)"


def _relu_gradient(scores: str, grad: str, power: float) -> str:
    if power == 1:
        return f"{grad} * ({scores} > 0)"
    raised = f"{scores}.relu()" + ("" if power == 2 else f".pow({power - 1!r})")
    return f"{grad} * {power!r} * {raised}"

"""The lines of one tile for the gradients: the tile again, then back from results to operands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnc.backends.tiled.functions import Piece
from attnc.backends.tiled.normalise import HARD, Part, gradient
from attnc.backends.tiled.scores import vanishes
from attnc.backends.tiled.tile import Tile, listed
from attnc.dsl.scorelang import simplify


class TileGradients:
    """Writes the gradients of a tile."""

    def __init__(self, tile: Tile) -> None:
        self._tile = tile
        self._functions, self._suffixes = tile.functions, tile.suffixes
        self._attention, self._results = tile.attention, tile.results

    def lines(self, parts: Sequence[Part]) -> Iterator[str]:
        """Yield all lines."""
        for part in parts:
            yield from self._tile.weigh(part, results=False)
            yield from self._tile.weighted(part, results=False)
            if "out" in self._results and part == parts[0]:
                yield "grad = grad_out[bs, hs, rows]"
            for number in part.numbers:
                yield from self._values(number)
            if not isinstance(part.normaliser, HARD) or any(self._functions.post_chains):
                yield from self._reduction(part)
            if not isinstance(part.normaliser, HARD):
                yield from self._normaliser(part)

    def _values(self, number: int) -> Iterator[str]:
        """Yield lines to the gradients of values, factors and final weights."""
        tile, suffix, products = self._tile, self._suffixes[number], self._tile.products[number]
        target, final = f"grad_weights{suffix}", tile.final(number)
        if "out" in self._results:
            factor, scaled = tile.factor(number), "grad"
            if factor:
                yield f"factor = {factor}"
                scaled = "(grad * factor)"
            yield from products.grad_values(final, scaled)
            yield f"{target} = {products.grad_weights()}"
            chain = self._functions.factor_chains[number]
            if chain is not None and chain.piece is not None:
                yield f"grad_factor = ({final} * {target}).sum((-2, -1), keepdim=True)"
                yield _with_grad(chain.piece, "grad_factor")
            if factor:
                yield f"{target} = {target} * factor"
        further = []
        if "received" in self._results:
            further.append(products.by_key("grad_received"))
        if "slot_weights" in self._results:
            further.append("grad_slot_weights[bs, hs, rows]")
        if "out" not in self._results:
            yield f"{target} = torch.zeros_like({final})"
        yield from (f"{target} += {each}" for each in further)

    def _reduction(self, part: Part) -> Iterator[str]:
        """Yield lines from the gradients of final weights to those of the normaliser's."""
        if self._tile.divides_later:
            for target in self._tile.each("grad_weights", part):
                yield f"{target} = ({target} - drift[bs, hs, rows]) / sums[bs, hs, rows]"
        elif self._attention.renormalise is not None:
            terms = [
                f"(final{suffix} * grad_weights{suffix}).sum(-1, keepdim=True)"
                for suffix in (self._suffixes[number] for number in part.numbers)
            ]
            yield f"drift = {' + '.join(terms)}"
            if self._functions.rows is not None:
                yield f"drift = torch.where({self._functions.rows.call}, drift, 0.0)"
            for target in self._tile.each("grad_weights", part):
                yield f"{target} = ({target} - drift) / sums"
        for number in part.numbers:
            yield from self._post(number)

    def _post(self, number: int) -> Iterator[str]:
        chain, source = self._functions.post_chains[number], self._functions.sources[number]
        if chain is None or source.source.post is None:
            return
        suffix = self._suffixes[number]
        target = f"grad_weights{suffix}"
        if source.is_masked and not vanishes(simplify(source.source.post)):
            yield f"{target} = {target}.masked_fill(scores{suffix}.isneginf(), 0.0)"
        if chain.piece is not None:
            call = _with_grad(chain.piece, target, suffix)
            yield call if chain.slope is not None else f"{target} = {call}"
        if chain.slope is not None and chain.slope != 1:
            yield f"{target} = {target} * {chain.slope!r}"

    def _normaliser(self, part: Part) -> Iterator[str]:
        """Yield lines from the gradients of weights to those of operands."""
        tile = self._tile
        if len(part.numbers) > 1:
            yield f"grad_weights = torch.cat({listed(tile.each('grad_weights', part))}, dim=-1)"
        yield from gradient(part, f"grad_{part.lse}" if part.lse else "")
        if self._functions.corners_chain is not None and self._functions.corners_chain.piece:
            yield self._functions.corners_chain.piece.call
        chain = self._functions.sink_chain
        if chain and chain.piece:
            yield "grad_sink = -(at_sink * pull).sum(-2, keepdim=True)"
            yield _with_grad(chain.piece, "grad_sink")
        if len(part.numbers) > 1:
            split = f"grad_scores.split({tile.sizes(part)}, dim=-1)"
            yield f"{', '.join(tile.each('grad_scores', part))} = {split}"
        for number in part.numbers:
            if "back" in self._results:
                yield from self._by_keys(number)
            yield from self._scores(number)

    def _by_keys(self, number: int) -> Iterator[str]:
        """Yield lines that add what comes of the results that keys read."""
        suffix = self._suffixes[number]
        at = f"{suffix}[bs, hs, cols{suffix}]"
        yield f"shares = (scores{suffix} - back_lse{at}.unsqueeze(-2)).exp()"
        yield f"grad_vq[bs, hs, rows] += shares @ grad_back{at}"
        yield f"grad_shares = vq[bs, hs, rows] @ grad_back{at}.mT"
        yield f"grad_scores{suffix} += shares * (grad_shares - pulls{at}.unsqueeze(-2))"

    def _scores(self, number: int) -> Iterator[str]:
        """Yield lines from the gradient of scores to those of operands and captured tensors."""
        chain, suffix = self._functions.chains[number], self._suffixes[number]
        products, distance = self._tile.products[number], self._functions.distance_chains[number]
        grad, scaled = f"grad_scores{suffix}", ""
        if chain.piece is not None:
            call = _with_grad(chain.piece, grad, suffix)
            yield call if chain.slope is not None else f"grad_qk{suffix} = {call}"
        if distance is not None:
            factor = "" if distance.slope == 1 else f" * {distance.slope!r}"
            pulled = f"grad_scores{suffix}{factor}"
            if distance.piece is not None:
                pulled = _with_grad(distance.piece, f"grad_scores{suffix}", suffix)
            yield f"grad_l1 = {pulled}"
            yield from products.grad_distance("grad_l1")
        if chain.slope is None:
            grad = f"grad_qk{suffix}"
        elif chain.slope == 0:
            return
        elif chain.slope != 1:
            scaled = f" * {chain.slope!r}"
        yield from products.grad_dot(grad, scaled)


def _with_grad(piece: Piece, grad: str, suffix: str = "") -> str:
    """Return the call of a chain function for a gradient."""
    own = {"grad": grad, "weights": f"weights{suffix}", "scores": f"scores{suffix}"}
    return f"{piece.name}({', '.join(own.get(each, each) for each in piece.parameters)})"

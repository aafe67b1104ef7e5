"""The forward and the backward pass of a site: loops over tiles of whole rows or columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import indent

from attnc.backends.tiled.functions import Piece, TileFunction, TileWriter, assigned, broken, define
from attnc.backends.tiled.normalise import BY_COLUMN, HARD, Part, gradient, weights
from attnc.backends.tiled.scores import Chain, SourceFunctions, vanishes
from attnc.backends.tiled.walk import Walk
from attnc.backends.torch_function import INDENT, WIDTH
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Constant, SoftmaxKeys
from attnc.dsl.scorelang import every_column_has_query, every_row_has_key, simplify


class Passes:
    """Writes the two passes of a site and all functions that they call.

    Args:
        single: the operands are one tile, which is not to be walked through.
        routed: keys are gathered; `again` [b, h, 1, m] says which stand there once more, or is
            None where none does.

    Attributes:
        inputs: names of q, k and v of all sources and captured tensors.
        learned: captured tensors that the loss reaches.
        results: names of the results, in the order of the operator.
    """

    def __init__(
        self, site: Site, walk: Walk, *, single: bool = False, routed: bool = False
    ) -> None:
        self.site, self.walk, self._single = site, walk, single
        self.attention = site.attention
        self.sources = [
            SourceFunctions(site, number, by_number=walk.by_number, exact=exact)
            for number, exact in enumerate(walk.exact)
        ]
        function = TileFunction(site, walk.by_number)
        self.inputs = (*function.parameters, *(("again",) if routed else ()))
        self._routed = routed
        self._tensor = function.tensor
        self.suffixes = function.suffixes
        self.results = tuple(site.attention.outputs)
        self._scores = [each.scores() for each in self.sources]
        self._chains = [each.chain() for each in self.sources]
        self._posts = [
            each.post() if each.source.post is not None else None for each in self.sources
        ]
        self._post_chains = [
            each.post_chain() if each.source.post is not None else None for each in self.sources
        ]
        self._factors = [
            None if each.source.weight is None else each.factor() for each in self.sources
        ]
        self._factor_chains = [
            each.factor_chain() if isinstance(factor, Piece) else None
            for each, factor in zip(self.sources, self._factors, strict=True)
        ]
        self._sink, self._sink_chain = self._sunk()
        self._renormalised = self._rows()
        self.parts = [*self._parts()]
        self._fused = self._taken_whole() if single else None

    @property
    def _is_summed(self) -> bool:
        return self.attention.join == "sum"

    @property
    def learned(self) -> tuple[str, ...]:
        """Captured tensors that the loss reaches, by parameter."""
        chains = [*self._chains, *self._post_chains, *self._factor_chains, self._sink_chain]
        reached = {name for chain in chains if chain is not None for name in chain.learned}
        return tuple(self._tensor(name) for name in self.attention.tensors if name in reached)

    @property
    def reason(self) -> str:
        """What speaks for it."""
        return self.walk.reason

    def pieces(self) -> Iterator[str]:
        """Yield the texts of all functions, those of the passes last."""
        chains = [*self._chains, *self._post_chains, *self._factor_chains, self._sink_chain]
        functions = [
            *self._scores, *self._posts, *self._factors, self._sink, self._renormalised,
            *(None if chain is None else chain.piece for chain in chains),
        ]  # fmt: skip
        yield from () if self._single else self.walk.texts()
        yield from (each.text for each in functions if isinstance(each, Piece))
        yield self._forward()
        yield self._backward()

    # Preparation ---------------------------------------------------------------------------

    def _parts(self) -> Iterator[Part]:
        normaliser, numbers = self.attention.normaliser, range(len(self.sources))
        groups = [(number,) for number in numbers] if self._is_summed else [tuple(numbers)]
        outputs = self.attention.outputs
        by_column = isinstance(normaliser, BY_COLUMN)
        for group in groups:
            streams = [
                (self.sources[at].source, self.site.q.shape[2], self.site.sources[at][0].shape[2])
                for at in group
            ]
            if by_column:
                can_lack = not all(every_column_has_query(*stream) for stream in streams)
            else:
                can_lack = not any(every_row_has_key(*stream) for stream in streams)
            yield Part(
                normaliser,
                group,
                self.suffixes[group[0]] if len(group) == 1 else "",
                any(self.sources[at].condition is not None for at in group),
                can_lack,
                self._sink.call if self._sink else "",
                "lse" if "lse" in outputs else "",
                "index" if "index" in outputs else "",
            )

    def _taken_whole(self) -> float | None:
        """Return the scale where torch's own attention computes a tile; none for all else.

        With a bias it is slower than the single operations.
        """
        plain = self.attention.normaliser == SoftmaxKeys() and self.attention.renormalise is None
        alone = len(self.sources) == 1 and self.results == ("out",)
        if not plain or not alone or any((*self._posts, *self._factors)):
            return None
        return self.sources[0].scale()

    def _sunk(self) -> tuple[Piece | None, Chain | None]:
        normaliser = self.attention.normaliser
        if not isinstance(normaliser, SoftmaxKeys) or normaliser.sink is None:
            return None, None
        return self.sources[0].of_sink(simplify(normaliser.sink))

    def _rows(self) -> Piece | None:
        """Return the function that says which rows are renormalised; none for all or none."""
        rows = self.attention.renormalise
        if rows is None or rows == Constant(True):
            return None
        made = TileFunction(self.site, self.walk.by_number)
        written = TileWriter(made, 0).condition(rows)
        doc = "Which rows are divided by their sum."
        return made.piece(f"{self.site.name}_rows", doc, written)

    # Passes --------------------------------------------------------------------------------

    def _forward(self) -> str:
        dtype = f"{self.inputs[0]}.dtype"
        lines = [f"dtype = {dtype}", *self._widened()]
        lines += [] if self._single else map(self.empty, self.results)
        if "out" in self.results and not self._single:
            lines.append("out.zero_()  # queries without keys have no tile")
        body: list[str] = [*self._whole()]
        terms: list[str] = []
        for part in self.parts if self._fused is None else ():
            body += [*self._weigh(part, results=True), *self._weighted(part)]
            terms += self._terms(part)
        assign = "+=" if self._by_column else "="
        if "out" in self.results and self._fused is None:
            body += self._sum("out = " if self._single else f"out[bs, hs, rows] {assign} ", terms)
        lines += self._looped(body)
        results = (f"{name}.to(dtype)" if name == "out" else name for name in self.results)
        lines.append(f"return {', '.join(results)}")
        doc = "The results, tile by tile."
        return define(f"{self.site.name}_forward", self.inputs, doc, lines)

    def _looped(self, body: Sequence[str]) -> list[str]:
        if self._single:
            return ["bs, hs, rows, cols = whole(q, k)", *body]
        return [self.walk.loop, indent("\n".join(body), INDENT)]

    def _add(self, grad: str, value: str) -> str:
        """Return the line that adds to a part of a gradient; of a single tile it is the whole."""
        return f"{grad.split('[')[0]} = {value}" if self._single else f"{grad} += {value}"

    def _whole(self) -> Iterator[str]:
        """Yield lines by which torch's own attention computes a tile, if it can."""
        if self._fused is None:
            return
        arguments = ["q", "k", "v", f"scale={self._fused!r}"]
        if self._routed:
            yield "seen = None if again is None else ~again"
            arguments.insert(3, "attn_mask=seen")
        yield f"out = F.scaled_dot_product_attention({', '.join(arguments)})"

    def _backward(self) -> str:
        grads = [f"grad_{name}" for name in self.graded]
        names = [*self.streams, *self.learned]
        lines = [
            f"dtypes = [x.dtype for x in {_tuple(names)}]",
            *self._widened(grads),
            *(
                f"grad_{name} = torch.zeros_like({name})"
                for name in names
                if not self._single or name in self.learned
            ),
            *self._looped([line for part in self.parts for line in self._pull(part)]),
            *self._regrouped(),
            broken("grads = (", [f"grad_{name}" for name in names], ")", 1),
            "return tuple(grad.to(dtype) for grad, dtype in zip(grads, dtypes, strict=True))",
        ]
        doc = "Gradients of operands and captured tensors, the tiles computed once more."
        return define(f"{self.site.name}_backward", [*grads, *self.inputs], doc, lines)

    @property
    def graded(self) -> tuple[str, ...]:
        """Results whose gradients are taken."""
        return tuple(name for name in self.results if name != "index")

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of q, k and v of all sources."""
        return self.inputs[: 1 + 2 * len(self.sources)]

    @property
    def _by_column(self) -> bool:
        return isinstance(self.attention.normaliser, BY_COLUMN)

    def _widened(self, grads: Sequence[str] = ()) -> Iterator[str]:
        names = [*(name for name in self.inputs if name != "again"), *grads]
        yield assigned(names, "widened", names)
        for number, each in self._shared_heads():
            for name in "kv":
                stream = f"{name}{self.suffixes[number]}"
                yield f"{stream} = {stream}.repeat_interleave({each}, dim=1)"

    def _regrouped(self) -> Iterator[str]:
        for number, each in self._shared_heads():
            for name in "kv":
                grad = f"grad_{name}{self.suffixes[number]}"
                yield f"{grad} = {grad}.unflatten(1, (-1, {each})).sum(2)"

    def _shared_heads(self) -> Iterator[tuple[int, int]]:
        """Yield sources whose heads serve several of q, with how many."""
        heads = self.site.q.shape[1]
        for number, (k, _) in enumerate(self.site.sources):
            if k.shape[1] != heads:
                assert isinstance(heads, int) and isinstance(k.shape[1], int)
                yield number, heads // k.shape[1]

    def empty(self, name: str) -> str:
        """Return the line that makes an empty result."""
        statistic = "k.shape[2]" if self._by_column else "q.shape[2]"
        match name:
            case "out":
                v = f"v{self.suffixes[0]}"
                return f"out = empty_by_token({v}, *q.shape[1:3], {v}.shape[3])"
            case "received":
                return "received = q.new_zeros(*q.shape[:2], k.shape[2])"
            case "lse":
                return f"lse = q.new_full((*q.shape[:2], {statistic}), -torch.inf)"
        return f"index = q.new_full((*q.shape[:2], {statistic}), -1, dtype=torch.long)"

    # Tiles ---------------------------------------------------------------------------------

    def _weigh(self, part: Part, *, results: bool) -> Iterator[str]:
        """Yield lines up to the weights as the normaliser gives them."""
        for number in part.numbers:
            yield f"scores{self.suffixes[number]} = {self._scores[number].call}"
            if self._routed:
                yield "if again is not None:"
                yield "    scores.masked_fill_(again, -torch.inf)"
        if len(part.numbers) > 1:
            yield f"scores = torch.cat({_tuple(self._each('scores', part))}, dim=-1)"
        yield from weights(part, results=results)

    def _weighted(self, part: Part) -> Iterator[str]:
        """Yield lines to the weights as values are multiplied by them, `posted` if changed."""
        name = part.own("weights")
        if len(part.numbers) > 1:
            sizes = [f"size_of(cols{self.suffixes[number]})" for number in part.numbers]
            split = f"{name}.split({_tuple(sizes)}, dim=-1)"
            yield f"{', '.join(self._each('weights', part))} = {split}"
        for number in part.numbers:
            post = self._posts[number]
            if post is not None:
                yield f"posted{self.suffixes[number]} = {self._posted(number)}"
        yield from self._renormalise(part)
        if "received" in self.results:
            yield f"received[bs, hs, cols] += {self._final(part.numbers[0])}.sum(-2)"

    def _posted(self, number: int) -> str:
        """Return the call of a post function, whose parameters have the names of this source."""
        post, suffix = self._posts[number], self.suffixes[number]
        assert post is not None
        own = {"weights": f"weights{suffix}", "scores": f"scores{suffix}"}
        return f"{post.name}({', '.join(own.get(each, each) for each in post.parameters)})"

    def _renormalise(self, part: Part) -> Iterator[str]:
        if self.attention.renormalise is None:
            return
        names = [self._before(number) for number in part.numbers]
        yield f"sums = {' + '.join(f'{name}.sum(-1, keepdim=True)' for name in names)}"
        if self._renormalised is not None:
            yield f"sums = torch.where({self._renormalised.call}, sums, 1.0)"
        yield "sums = sums.masked_fill(sums == 0, 1.0)"
        for number, name in zip(part.numbers, names, strict=True):
            yield f"final{self.suffixes[number]} = {name} / sums"

    def _before(self, number: int) -> str:
        """Return the variable of the weights before they are renormalised."""
        stem = "weights" if self._posts[number] is None else "posted"
        return f"{stem}{self.suffixes[number]}"

    def _final(self, number: int) -> str:
        """Return the variable of the weights that values are multiplied by."""
        if self.attention.renormalise is None:
            return self._before(number)
        return f"final{self.suffixes[number]}"

    def _each(self, name: str, part: Part) -> list[str]:
        return [f"{name}{self.suffixes[number]}" for number in part.numbers]

    def _terms(self, part: Part) -> Iterator[str]:
        for number in part.numbers:
            product = f"{self._final(number)} @ v{self._at(number)}"
            factor = self._factor(number)
            yield f"{factor} * ({product})" if factor else product

    def _sum(self, assigned: str, terms: Sequence[str]) -> Iterator[str]:
        one = f"{assigned}{' + '.join(terms)}"
        if len(one) + 2 * len(INDENT) <= WIDTH:
            yield one
            return
        yield f"total = {terms[0]}"
        yield from (f"total = total + {term}" for term in terms[1:])
        yield f"{assigned}total"

    def _at(self, number: int) -> str:
        suffix = self.suffixes[number]
        return f"{suffix}[bs, hs, cols{suffix}]"

    def _factor(self, number: int) -> str:
        factor = self._factors[number]
        return factor.call if isinstance(factor, Piece) else factor or ""

    # Gradients -----------------------------------------------------------------------------

    def _pull(self, part: Part) -> Iterator[str]:
        yield from self._weigh(part, results=False)
        yield from self._weighted_again(part)
        if "out" in self.results and part == self.parts[0]:
            yield "grad = grad_out[bs, hs, rows]"
        for number in part.numbers:
            yield from self._pull_values(number)
        if isinstance(part.normaliser, HARD) and not any(self._post_chains):
            return
        yield from self._pull_reduction(part)
        if isinstance(part.normaliser, HARD):
            return
        if len(part.numbers) > 1:
            grads = _tuple(self._each("grad_weights", part))
            yield f"grad_weights = torch.cat({grads}, dim=-1)"
        yield from gradient(part, "grad_lse" if part.lse else "")
        if self._sink_chain and self._sink_chain.piece:
            yield "grad_sink = -(at_sink * pull).sum(-2, keepdim=True)"
            yield self._with_grad(self._sink_chain.piece, "grad_sink")
        if len(part.numbers) > 1:
            sizes = [f"size_of(cols{self.suffixes[number]})" for number in part.numbers]
            split = f"grad_scores.split({_tuple(sizes)}, dim=-1)"
            yield f"{', '.join(self._each('grad_scores', part))} = {split}"
        for number in part.numbers:
            yield from self._pull_scores(number)

    def _weighted_again(self, part: Part) -> Iterator[str]:
        yield from (line for line in self._weighted(part) if not line.startswith("received"))

    def _pull_values(self, number: int) -> Iterator[str]:
        """Yield lines to the gradients of values, factors and final weights."""
        at, suffix = self._at(number), self.suffixes[number]
        target = f"grad_weights{suffix}"
        if "out" in self.results:
            factor, scaled = self._factor(number), "grad"
            if factor:
                yield f"factor = {factor}"
                scaled = "(grad * factor)"
            yield self._add(f"grad_v{at}", f"{self._final(number)}.mT @ {scaled}")
            yield f"{target} = grad @ v{at}.mT"
            chain = self._factor_chains[number]
            if chain is not None and chain.piece is not None:
                product = f"({self._final(number)} * {target})"
                yield f"grad_factor = {product}.sum((-2, -1), keepdim=True)"
                yield self._with_grad(chain.piece, "grad_factor")
            if factor:
                yield f"{target} = {target} * factor"
        if "received" in self.results:
            received = "grad_received[bs, hs, cols].unsqueeze(-2)"
            if "out" in self.results:
                yield f"{target} += {received}"
            else:
                yield f"{target} = {received}.expand_as({self._final(number)})"
        if not {"out", "received"} & {*self.results}:
            yield f"{target} = torch.zeros_like({self._final(number)})"

    def _pull_reduction(self, part: Part) -> Iterator[str]:
        """Yield lines from the gradients of final weights to those of the normaliser's."""
        if self.attention.renormalise is not None:
            terms = [
                f"(final{suffix} * grad_weights{suffix}).sum(-1, keepdim=True)"
                for suffix in (self.suffixes[number] for number in part.numbers)
            ]
            yield f"drift = {' + '.join(terms)}"
            if self._renormalised is not None:
                yield f"drift = torch.where({self._renormalised.call}, drift, 0.0)"
            for number in part.numbers:
                target = f"grad_weights{self.suffixes[number]}"
                yield f"{target} = ({target} - drift) / sums"
        for number in part.numbers:
            yield from self._pull_post(number)

    def _pull_post(self, number: int) -> Iterator[str]:
        chain, source = self._post_chains[number], self.sources[number]
        if chain is None or source.source.post is None:
            return
        suffix = self.suffixes[number]
        target = f"grad_weights{suffix}"
        if source.condition is not None and not vanishes(simplify(source.source.post)):
            yield f"{target} = {target}.masked_fill(scores{suffix}.isneginf(), 0.0)"
        if chain.piece is not None:
            call = self._with_grad(chain.piece, target, suffix)
            yield call if chain.slope is not None else f"{target} = {call}"
        if chain.slope is not None and chain.slope != 1:
            yield f"{target} = {target} * {chain.slope!r}"

    def _pull_scores(self, number: int) -> Iterator[str]:
        """Yield lines from the gradient of scores to those of operands and captured tensors."""
        chain, suffix = self._chains[number], self.suffixes[number]
        grad, scaled = f"grad_scores{suffix}", ""
        if chain.piece is not None:
            call = self._with_grad(chain.piece, grad, suffix)
            yield call if chain.slope is not None else f"grad_qk{suffix} = {call}"
        if chain.slope is None:
            grad = f"grad_qk{suffix}"
        elif chain.slope == 0:
            return
        elif chain.slope != 1:
            scaled = f" * {chain.slope!r}"
        at = self._at(number)
        product = f"({grad} @ k{at})" if scaled else f"{grad} @ k{at}"
        q = f"(q[bs, hs, rows]{scaled})" if scaled else "q[bs, hs, rows]"
        yield self._add("grad_q[bs, hs, rows]", f"{product}{scaled}")
        yield self._add(f"grad_k{at}", f"{grad}.mT @ {q}")

    def _with_grad(self, piece: Piece, grad: str, suffix: str = "") -> str:
        """Return the call of a chain function for a gradient."""
        own = {"grad": grad, "weights": f"weights{suffix}", "scores": f"scores{suffix}"}
        return f"{piece.name}({', '.join(own.get(each, each) for each in piece.parameters)})"


def _tuple(items: Sequence[str]) -> str:
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"

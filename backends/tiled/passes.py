"""The forward and the backward pass of a site: loops over tiles of whole rows or columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from textwrap import indent

from attnc.backends.tiled.functions import assigned, broken, define
from attnc.backends.tiled.normalise import Part
from attnc.backends.tiled.results import NARROW, Results
from attnc.backends.tiled.site_functions import SiteFunctions
from attnc.backends.tiled.tile import Tile, listed
from attnc.backends.tiled.tile_gradients import TileGradients
from attnc.backends.tiled.walk import Walk
from attnc.backends.torch_function import INDENT
from attnc.compiler.choice import SMALL_PAIRS
from attnc.compiler.kernel import Site
from attnc.dsl.attention import SoftmaxKeys


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
        kept: further results of the forward pass, which are for the backward pass alone.
        read_back: results, some of them kept, that the backward pass reads.
    """

    def __init__(
        self, site: Site, walk: Walk, *, single: bool = False, routed: bool = False
    ) -> None:
        self.site, self.walk, self._single, self._routed = site, walk, single, routed
        self.attention = site.attention
        self._functions = SiteFunctions(site, walk)
        self._parts = [*self._functions.parts()]
        self._tile = Tile(self._functions, single=single, routed=routed)
        self.inputs = (*self._functions.parameters, *(("again",) if routed else ()))
        self.suffixes, self.learned = self._functions.suffixes, self._functions.learned
        self.results = tuple(site.attention.outputs)
        self._made = Results(self._tile)
        self.kept, self.read_back = self._made.kept, self._made.read_back
        self._fused = self._taken_whole() if single else None

    @property
    def reason(self) -> str:
        """What speaks for it."""
        return self.walk.reason

    @property
    def graded(self) -> tuple[str, ...]:
        """Results whose gradients are taken."""
        return self._made.graded

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of q, k and v of all sources, and of vq."""
        return self.inputs[: 1 + 2 * len(self.suffixes) + (self.site.vq is not None)]

    def empty(self, name: str) -> str:
        """Return the line that makes an empty result."""
        return self._made.empty(name)

    def pieces(self) -> Iterator[str]:
        """Yield the texts of all functions, those of the passes last."""
        yield from () if self._single else self.walk.texts()
        yield from self._functions.texts()
        yield self._forward()
        yield self._backward()

    # Passes --------------------------------------------------------------------------------

    def _forward(self) -> str:
        lines = [f"dtype = {self.inputs[0]}.dtype", *self._widened()]
        lines += [] if self._single else self._made.empties()
        fused = self._fused is not None
        lines += self._looped(lambda parts: self._whole() if fused else self._tile.forward(parts))
        lines += [] if self._single else self._made.finished()
        results = (f"{name}.to(dtype)" if name in NARROW else name for name in self.results)
        lines.append(f"return {', '.join((*results, *self.kept))}")
        doc = "The results, tile by tile."
        return define(f"{self.site.name}_forward", self.inputs, doc, lines)

    def _backward(self) -> str:
        grads = [f"grad_{name}" for name in self.graded]
        names = [*self.streams, *self.learned]
        zeros = [name for name in names if not self._single or name in self.learned]
        gradients = TileGradients(self._tile)
        lines = [
            f"dtypes = [x.dtype for x in {listed(names)}]",
            *self._widened([*grads, *self.read_back]),
            *self._made.carried_back(),
            *(f"grad_{name} = torch.zeros_like({name})" for name in zeros),
            *self._looped(gradients.lines),
            *self._regrouped(),
            broken("grads = (", [f"grad_{name}" for name in names], ")", 1),
            "return tuple(grad.to(dtype) for grad, dtype in zip(grads, dtypes, strict=True))",
        ]
        doc = "Gradients of operands and captured tensors, the tiles computed once more."
        parameters = [*grads, *self.inputs, *self.read_back]
        return define(f"{self.site.name}_backward", parameters, doc, lines)

    def _looped(self, body: Callable[[Sequence[Part]], Iterator[str]]) -> Iterator[str]:
        """Yield a loop over all sources, or one for each part of its own."""
        if self._single:
            yield "bs, hs, rows, cols = whole(q, k)"
            yield from body(self._parts)
            return
        loops = self.walk.loops
        groups = [self._parts] if len(loops) == 1 else [[part] for part in self._parts]
        for loop, parts in zip(loops, groups, strict=True):
            yield loop
            yield indent("\n".join(body(parts)), INDENT)

    # One fused call ------------------------------------------------------------------------

    def _taken_whole(self) -> float | None:
        """Return the scale where torch's own attention computes a tile; none for all else.

        With a bias, or for few pairs, it is slower than the single operations.
        """
        (_, _, n, _), (k, _) = self.site.q.shape, self.site.sources[0]
        pairs = n * k.shape[2]
        if isinstance(pairs, int) and pairs <= SMALL_PAIRS:
            return None
        plain = self.attention.normaliser == SoftmaxKeys() and self.attention.renormalise is None
        alone = len(self.suffixes) == 1 and self.results == ("out",)
        if not plain or not alone or any((*self._functions.posts, *self._functions.factors)):
            return None
        return self._functions.sources[0].scale()

    def _whole(self) -> Iterator[str]:
        """Yield the lines by which torch's own attention computes a tile."""
        arguments = ["q", "k", "v", f"scale={self._fused!r}"]
        if self._routed:
            yield "seen = None if again is None else ~again"
            arguments.insert(3, "attn_mask=seen")
        yield f"out = F.scaled_dot_product_attention({', '.join(arguments)})"

    # Operands ------------------------------------------------------------------------------

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

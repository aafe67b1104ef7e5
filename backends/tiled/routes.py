"""Routes: a region of queries sees the regions of keys that an index names, gathered by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from attnc.backends.tiled.functions import assigned, broken, define
from attnc.backends.tiled.passes import Passes
from attnc.backends.tiled.walk import walk
from attnc.backends.torch_function import TorchFunction
from attnc.compiler.kernel import Site
from attnc.dsl.attention import All, Load, RoutedKeys, RoutedRegions, SoftmaxKeys
from attnc.dsl.dims import Size, symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import coordinates, has_dot


def routed(site: Site) -> RoutedPasses | None:
    """Return the passes of a routed site; none where its scores ask where a key stands."""
    attention = site.attention
    (source, *others) = attention.sources
    domain = source.domain
    if others or not isinstance(domain, (RoutedRegions, RoutedKeys)) or domain.grid is None:
        return None
    plain = attention.normaliser == SoftmaxKeys() and attention.outputs == ("out",)
    trees = [tree for tree in (source.score, source.weight) if tree is not None]
    free = all(coordinates(tree) <= {"h"} for tree in trees) and has_dot(source.score)
    changed = source.mask is not None or source.post is not None
    heads = site.q.shape[1]
    shared = site.sources[0][0].shape[1] != heads or not isinstance(heads, int)
    if not plain or not free or changed or shared or attention.renormalise is not None:
        return None
    parted = _regions(domain)
    return None if parted is None else RoutedPasses(site, domain.index, *parted)


def _regions(
    domain: RoutedRegions | RoutedKeys,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], Size] | None:
    """Return regions along each axis, tokens of a region of queries and of keys, and how many
    regions each sees; no axis where every token is a region; none where sizes are not known.
    """
    assert domain.grid is not None
    if isinstance(domain, RoutedKeys):
        return (), (), (), domain.chosen
    sizes = [
        size // count
        for shape in (domain.grid.queries, domain.grid.keys)
        for size, count in zip(shape, domain.regions, strict=True)
    ]
    known = [each for each in (*domain.regions, *sizes) if isinstance(each, int)]
    axes = len(domain.regions)
    if len(known) < 3 * axes:
        return None
    return (
        tuple(known[:axes]),
        tuple(known[axes : 2 * axes]),
        tuple(known[2 * axes :]),
        domain.chosen,
    )


class RoutedPasses:
    """The passes of a site over its regions, around those of the attention inside them.

    Attributes: as `Passes` has them.
    """

    kept: tuple[str, ...] = ()
    read_back: tuple[str, ...] = ()

    def __init__(
        self,
        site: Site,
        index: Load,
        regions: tuple[int, ...],
        own: tuple[int, ...],
        seen: tuple[int, ...],
        chosen: Size,
    ) -> None:
        self.site, self.regions, self.own, self.seen = site, regions, own, seen
        made = TorchFunction(site)
        self.inputs, self.results = made.parameters, site.attention.outputs
        self._route, self._chosen = (
            made.tensor(index.tensor),
            f"{made.tensor(index.tensor)}.shape[-1]",
        )
        inner = self._inner(chosen)
        self.inner = Passes(inner, walk(inner, by_column=False), single=True, routed=True)
        self.graded, self.streams = self.inner.graded, self.inner.streams
        self.learned = self.inner.learned

    def _inner(self, chosen: Size) -> Site:
        site, (source,) = self.site, self.site.attention.sources
        windows: Size = symbol("windows")

        def within(type_: TensorType, length: Size) -> TensorType:
            return TensorType((windows, type_.shape[1], length, type_.shape[3]), type_.dtype)

        ((k, v),) = site.sources
        own, seen = prod(self.own), prod(self.seen) * chosen
        return replace(
            site,
            name=f"{site.name}_region",
            attention=replace(site.attention, sources=(replace(source, domain=All()),)),
            q=within(site.q, own),
            sources=((within(k, seen), within(v, seen)),),
        )

    @property
    def reason(self) -> str:
        """What speaks for it."""
        return "the keys of a route are gathered for some queries at a time"

    def empty(self, name: str) -> str:
        """Return the line that makes an empty result."""
        return self.inner.empty(name)

    def pieces(self) -> Iterator[str]:
        """Yield the texts of all functions, those of the passes last."""
        yield from self.inner.pieces()
        yield self._view("windows", self.own, "[b, {}, h, {}, e]", "without a copy")
        yield self._keys()
        yield self._forward()
        yield self._backward()

    @property
    def _axes(self) -> int:
        return len(self.regions) or 1

    def _view(self, name: str, sizes: tuple[int, ...], shape: str, how: str) -> str:
        if not sizes:
            code = ["return x.transpose(1, 2).unsqueeze(3)"]
            shape = shape.format("n", "1")
        else:
            split = [each for pair in zip(self.regions, sizes, strict=True) for each in pair]
            axes = range(len(sizes))
            order = [0, *(2 + 2 * axis for axis in axes), 1, *(3 + 2 * axis for axis in axes)]
            order.append(2 + len(split))
            listed = ", ".join(map(str, split))
            code = [f"return x.unflatten(2, ({listed})).permute({', '.join(map(str, order))})"]
            shape = shape.format(", ".join(map(str, self.regions)), ", ".join(map(str, sizes)))
        doc = f"Regions {shape} of tokens [b, h, n, e], {how}."
        return define(f"{self.site.name}_{name}", ["x"], doc, code)

    def _keys(self) -> str:
        """Return the function that lays keys out by region."""
        name = f"{self.site.name}_regions"
        if not self.seen:
            return define(
                name, ["x"], "Regions [b, h, m, 1, e] of one key each.", ["return x.unsqueeze(3)"]
            )
        split = [each for pair in zip(self.regions, self.seen, strict=True) for each in pair]
        axes = range(len(self.seen))
        order = [0, 1, *(2 + 2 * a for a in axes), *(3 + 2 * a for a in axes), 2 + len(split)]
        listed = ", ".join(map(str, split))
        last = len(self.seen)
        code = [
            f"x = x.unflatten(2, ({listed})).permute({', '.join(map(str, order))})",
            f"return x.flatten({2 + last}, -2).flatten(2, {1 + last})",
        ]
        return define(name, ["x"], "Regions [b, h, regions, tokens, e] of keys.", code)

    def _forward(self) -> str:
        given = ["q_tile", "k[at].flatten(2, 3)", "v[at].flatten(2, 3)", *self._captured]
        call = broken(f"tile = {self.inner.site.name}_forward(", given, ")", 2)
        lines = [
            self.empty("out"),
            f"q, parted = ({self.site.name}_windows(x) for x in (q, out))",
            f"k, v = ({self.site.name}_regions(x) for x in (k, v))",
            *self._looped("q_tile = tile_of(q, bs, ys, {})"),
            *_indented(call),
            "    parted[bs, ys] = tile.reshape(parted[bs, ys].shape)",
            "return out",
        ]
        return define(
            f"{self.site.name}_forward", self.inputs, "The results, some regions at a time.", lines
        )

    @property
    def _captured(self) -> list[str]:
        return [*self.inputs[len(self.streams) :], "again"]

    def _looped(self, *lines: str) -> Iterator[str]:
        yield f"for bs, ys in windows_in(q, {self._axes}, {self._chosen}):"
        yield from (f"    {line.format(self._axes)}" for line in lines)
        yield f"    at, again = routes_in({self._route}, k, q, bs, ys)"

    def _backward(self) -> str:
        name = self.site.name
        given = [
            "grad_tile",
            "q_tile",
            "k[at].flatten(2, 3)",
            "v[at].flatten(2, 3)",
            *self._captured,
        ]
        grads = [f"grad_{each}" for each in self.learned]
        parts = [f"{each}_part" for each in ("grad_q", "grad_k", "grad_v", *grads)]
        returned = ["grad_q", *(f"grad_{each}.to({each}.dtype)" for each in ("k", "v"))]
        returned += [f"grad_{each}.to({each}.dtype)" for each in self.learned]
        length = "k.shape[3]"
        lines = [
            "grad_q = q.new_empty(q.shape)",
            "_, grad_k, grad_v = widened(q, k.new_zeros(k.shape), v.new_zeros(v.shape))",
            *(
                f"grad_{each} = widened(q, {each}.new_zeros({each}.shape))[1]"
                for each in self.learned
            ),
            f"q, grad_out, parted = ({name}_windows(x) for x in (q, grad_out, grad_q))",
            f"k, v = ({name}_regions(x) for x in (k, v))",
            "sums = [",
            f"    {name}_regions(x).clone(memory_format=torch.contiguous_format)",
            "    for x in (grad_k, grad_v)",
            "]",
            *self._looped(
                "q_tile = tile_of(q, bs, ys, {})", "grad_tile = tile_of(grad_out, bs, ys, {})"
            ),
            *_indented(assigned(parts, f"{self.inner.site.name}_backward", given)),
            "    parted[bs, ys] = grad_q_part.reshape(parted[bs, ys].shape)",
            "    for grad, part in zip(sums, (grad_k_part, grad_v_part), strict=True):",
            f"        add_rows(grad, part.unflatten(2, (-1, {length})).to(grad.dtype), at)",
            *(f"    {each} += {each}_part" for each in grads),
            "for grad, part in zip((grad_k, grad_v), sums, strict=True):",
            f"    {name}_back(grad, part)",
            broken("return (", returned, ")", 1),
        ]
        doc = "Gradients of operands and captured tensors, some regions at a time."
        parameters = [*(f"grad_{each}" for each in self.graded), *self.inputs]
        back = self._back()
        return back + "\n\n" + define(f"{name}_backward", parameters, doc, lines)

    def _back(self) -> str:
        """Return the function that puts regions of keys back to where they belong."""
        name = f"{self.site.name}_back"
        if not self.seen:
            code = ["tokens.copy_(regions.squeeze(3))"]
        else:
            split = [each for pair in zip(self.regions, self.seen, strict=True) for each in pair]
            axes = range(len(self.seen))
            order = [0, 1, *(2 + 2 * a for a in axes), *(3 + 2 * a for a in axes), 2 + len(split)]
            listed = ", ".join(map(str, split))
            code = [
                f"tokens = tokens.unflatten(2, ({listed})).permute({', '.join(map(str, order))})",
                "tokens.copy_(regions.reshape(tokens.shape))",
            ]
        return define(name, ["tokens", "regions"], "Write regions of keys to their tokens.", code)


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.split("\n")]

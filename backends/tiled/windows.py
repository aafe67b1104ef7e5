"""Windows that part the tokens evenly: one batched product for all windows of a tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod

from attnc.backends.tiled.functions import assigned, broken, define
from attnc.backends.tiled.local import Differs, in_window, with_expressions
from attnc.backends.tiled.normalise import HARD
from attnc.backends.tiled.passes import Passes
from attnc.backends.tiled.walk import walk
from attnc.compiler.kernel import Site
from attnc.dsl.attention import All, Windows
from attnc.dsl.dims import Size, symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import has_dot
from attnc.dsl.scorelang.grids import window_size

LARGEST = 512
"""Tokens of a window up to which its scores are one tile."""


@dataclass(frozen=True, slots=True)
class Partition:
    """The windows of a map along each axis: how many, of how many tokens, how far apart."""

    counts: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def split(self) -> list[int]:
        """The lengths that the axis of tokens is split into."""
        return [length for _, length in self._axes]

    @property
    def outer(self) -> list[tuple[int, int]]:
        """The axes of the view that count windows: length, and number; those of length 1 last."""
        found = [(length, at) for at, (inside, length) in enumerate(self._axes, 2) if not inside]
        return sorted(found, key=lambda each: each[0] == 1)

    @property
    def order(self) -> list[int]:
        """The order of axes of [b, *windows, h, *tokens, e] among those of [b, h, *split, e]."""
        inside = [at for at, (is_inside, _) in enumerate(self._axes, 2) if is_inside]
        return [0, *(axis for _, axis in self.outer), 1, *inside, 2 + len(self._axes)]

    @property
    def _axes(self) -> list[tuple[bool, int]]:
        """The axes that the tokens are split into: whether within a window, and the length."""
        axes: list[tuple[bool, int]] = []
        for count, size, step in zip(self.counts, self.sizes, self.steps, strict=True):
            axes += [(False, count), (True, size)]
            if step != 1:
                axes.append((False, step))
        return axes


def in_order(name: str, parted: Partition) -> str:
    """Write the function `name_windows`, which gives a view of tokens by window."""
    shape = ["b", *(str(count) for count, _ in parted.outer), "h", *map(str, parted.sizes), "e"]
    order = listed(parted.order)
    code = [f"return x.unflatten(2, ({listed(parted.split)})).permute({order})"]
    doc = f"Windows [{', '.join(shape)}] of tokens [b, h, n, e], without a copy."
    return define(f"{name}_windows", ["x"], doc, code)


def partition(site: Site) -> Partition | None:
    """Return the windows of a site that are the same size all over the map; none for all else."""
    if len(site.attention.sources) > 1 or site.attention.outputs != ("out",):
        return None
    (source,) = site.attention.sources
    domain = source.domain
    if not isinstance(domain, Windows) or domain.grid is None or any(domain.shift):
        return None
    grid = domain.grid
    sizes = [window_size(domain, grid, axis) for axis in range(len(grid.queries))]
    lengths, steps = grid.queries, domain.dilation
    numbers = [each for each in (*sizes, *lengths, *steps) if isinstance(each, int)]
    if len(numbers) < 3 * len(sizes) or grid.queries != grid.keys:
        return None
    whole = numbers[: len(sizes)]
    apart = numbers[2 * len(sizes) :]
    parts = list(zip(numbers[len(sizes) : 2 * len(sizes)], whole, apart, strict=True))
    if any(length % (size * step) for length, size, step in parts):
        return None
    counts = tuple(length // (size * step) for length, size, step in parts)
    return Partition(counts, tuple(whole), tuple(apart))


def inner_site(site: Site, parted: Partition) -> Site | None:
    """Return the attention inside windows [windows, h, tokens, d]; none where windows differ."""
    (source,), attention = site.attention.sources, site.attention
    domain = source.domain
    assert isinstance(domain, Windows)
    localised = partial(in_window, domain=domain, sizes=parted.sizes)
    rows = attention.renormalise
    try:
        inside = with_expressions(replace(source, domain=All()), localised)
        rows = None if rows is None else localised(rows)
    except Differs:
        return None
    windows: Size = symbol("windows")
    length = prod(parted.sizes)

    def within(type_: TensorType) -> TensorType:
        return TensorType((windows, type_.shape[1], length, type_.shape[3]), type_.dtype)

    ((k, v),) = site.sources
    return replace(
        site,
        name=f"{site.name}_window",
        attention=replace(attention, sources=(inside,), renormalise=rows),
        q=within(site.q),
        sources=((within(k), within(v)),),
    )


class WindowPasses:
    """The passes of a site over its windows, around those of the attention inside them.

    Attributes: as `Passes` has them.
    """

    kept: tuple[str, ...] = ()
    read_back: tuple[str, ...] = ()

    def __init__(self, site: Site, parted: Partition, inner: Site, by_column: bool) -> None:
        self.site, self.parted = site, parted
        single = prod(parted.sizes) <= LARGEST and _reads_product(inner)
        self.inner = Passes(inner, walk(inner, by_column=by_column), single=single)
        self.inputs, self.results = self.inner.inputs, self.inner.results
        self.graded, self.streams = self.inner.graded, self.inner.streams
        self.learned = self.inner.learned

    @property
    def reason(self) -> str:
        """What speaks for it."""
        sizes = " * ".join(map(str, self.parted.sizes))
        return f"windows of {sizes} are multiplied side by side, some at a time"

    def empty(self, name: str) -> str:
        """Return the line that makes an empty result."""
        return self.inner.empty(name)

    def pieces(self) -> Iterator[str]:
        """Yield the texts of all functions, those of the passes last."""
        yield from self.inner.pieces()
        yield in_order(self.site.name, self.parted)
        yield self._forward()
        yield self._backward()

    @property
    def _outer(self) -> int:
        """Axes of windows, besides the batch."""
        return len(self.parted.outer)

    @property
    def _captured(self) -> tuple[str, ...]:
        return self.inner.inputs[len(self.streams) :]

    def _tiles(self, names: tuple[str, ...]) -> Iterator[str]:
        for name in names:
            yield f"{name}_tile = tile_of({name}, bs, ys, {self._outer})"

    def _parted(self, names: tuple[str, ...]) -> str:
        listed = ", ".join(names)
        return f"{listed} = ({self.site.name}_windows(x) for x in ({listed}))"

    @property
    def _loop(self) -> str:
        return f"for bs, ys in windows_in(q, {self._outer}):"

    def _forward(self) -> str:
        streams, captured = self.streams, self._captured
        given = [*(f"{name}_tile" for name in streams), *captured]
        lines = [
            self.empty("out"),
            self._parted((*streams, "parted")).replace(", parted)", ", out)"),
            self._loop,
            *(f"    {line}" for line in self._tiles(streams)),
            f"    tile = {self.inner.site.name}_forward({', '.join(given)})",
            "    parted[bs, ys] = tile.reshape(parted[bs, ys].shape)",
            "return out",
        ]
        doc = "The results, some windows at a time."
        return define(f"{self.site.name}_forward", self.inputs, doc, lines)

    def _backward(self) -> str:
        streams, captured = self.streams, self._captured
        given = ["grad_tile", *(f"{name}_tile" for name in streams), *captured]
        grads = [f"grad_{name}" for name in (*streams, *self.learned)]
        parts = [f"{name}_part" for name in grads]
        narrowed = [f"grad_{name}.to({name}.dtype)" for name in self.learned]
        lines = [
            *(f"grad_{name} = {name}.new_empty({name}.shape)" for name in streams),
            *(f"grad_{name} = widened(q, {name}.new_zeros({name}.shape))[1]"
              for name in self.learned),
            self._parted(("grad_out", *streams)),
            f"parted = [{self.site.name}_windows(x) for x in ({', '.join(grads[: len(streams)])})]",
            self._loop,
            f"    grad_tile = tile_of(grad_out, bs, ys, {self._outer})",
            *(f"    {line}" for line in self._tiles(streams)),
            *_indented(assigned(parts, f"{self.inner.site.name}_backward", given)),
            f"    parts = ({', '.join(parts[: len(streams)])})",
            "    for grads, part in zip(parted, parts, strict=True):",
            "        grads[bs, ys] = part.reshape(grads[bs, ys].shape)",
            *(f"    {name} += {name}_part" for name in grads[len(streams) :]),
            broken("return (", [*grads[: len(streams)], *narrowed], ")", 1),
        ]  # fmt: skip
        doc = "Gradients of operands and captured tensors, some windows at a time."
        parameters = [*(f"grad_{name}" for name in self.graded), *self.inputs]
        return define(f"{self.site.name}_backward", parameters, doc, lines)


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.split("\n")]


def listed(numbers: list[int]) -> str:
    """Return numbers as arguments."""
    return ", ".join(map(str, numbers))


def _reads_product(site: Site) -> bool:
    """Say whether every operand has a gradient."""
    hard = isinstance(site.attention.normaliser, HARD)
    return not hard and has_dot(site.attention.sources[0].score)

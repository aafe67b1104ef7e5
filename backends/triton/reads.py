"""Reads of captured tensors that launchers make in torch: copies for kernels, and gradients.

A copy holds for each pair what a score reads there. The gradient of a tensor is scattered from
those of all pairs by the same read of the numbers of its elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from textwrap import indent

from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import ScoreWriter
from attnc.backends.triton.layout import call
from attnc.backends.triton.layouts import SLOT, Layout
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.reader import OFFSET
from attnc.backends.triton.streams import Stream, Term
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Coordinate, Load, ScoreTree
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import (
    COORDINATES,
    by_offset,
    coordinates,
    replaced,
    simplify,
    size_tree,
    text,
)


@dataclass(frozen=True, slots=True)
class Read:
    """What a score or weight reads.

    Attributes:
        source: number of the source.
        load: of the captured tensor.
        queries: how many values `i` takes; `keys` likewise for `j`: slots where they are slots.
        blocks: blocks of queries and what they see, where each slot stands for its token.
        by_offset: whether `i - j` takes all its values in place of `i` and `j`.
    """

    source: int
    load: Load
    queries: Size
    keys: Size
    blocks: tuple[Layout, Layout] | None = None
    by_offset: bool = False


def reads_of(problem: Problem, site: Site) -> Mapping[Read, str]:
    """Return the reads that launchers make, each with the name of its function."""
    learned = (read for _, read in _learned(problem, site))
    scattered = (read for read in learned if not _is_whole(site, read))
    copied = (read for _, read in _copied(problem, site, problem.streams))
    names: dict[Read, str] = {}
    for read in (*copied, *scattered):
        _named(problem, read, "", names)
    for _, read in _copied(problem, site, problem.turned):
        _named(problem, read, "_turned", names)
    return names


def _named(problem: Problem, read: Read, suffix: str, names: dict[Read, str]) -> None:
    """Give a read a name, unless it has one."""
    if read not in names:
        name = problem.private(f"read_{problem.names.tensors[read.load.tensor].name}{suffix}")
        while name in names.values():
            name += "_"
        names[read] = name


def read_function(problem: Problem, site: Site, read: Read, name: str) -> str:
    """Write a read as a torch function of the entry's arguments, in the dtype of the tensor."""
    named = replace(site, name=name, attention=replace(site.attention, outputs=("out",)))
    as_it_is = tuple(replace(type_, dtype="int") for type_ in site.tensors)
    as_it_is_site = replace(_with_lengths(named, read), tensors=as_it_is)  # floats would be widened
    load: ScoreTree = replace(read.load, dtype="int")
    shown = text(read.load)
    function: TorchFunction
    if read.by_offset:
        function, load = _ByOffset(as_it_is_site, read.keys), _at_offsets(load)
        shown = f"{shown} for i - j from {text(size_tree(1 - read.keys))} on"
    elif read.blocks is None:
        function = TorchFunction(as_it_is_site)
    else:
        function = _ByBlock(as_it_is_site, read.blocks[0].blocks)
        load = _at_tokens(load, read.blocks)
    written = ScoreWriter(function, read.source).factor(load).text
    function.site = named
    return function.source(shown, written)


def copies(problem: Problem, site: Site, streams: Iterable[Stream]) -> list[str]:
    """Return statements that lay out by pair what scores read by pair."""
    names = reads_of(problem, site)
    lines = [
        call(
            f"{problem.names.tensors[copy].name} = by_{'offset' if read.by_offset else 'pair'}",
            [call(names[read], problem.names.arguments, 2), *(["n"] if read.by_offset else [])],
        )
        for copy, read in _copied(problem, site, streams)
    ]
    return list(dict.fromkeys(lines))


def tensor_gradient(problem: Problem, site: Site, position: int, name: str) -> list[str]:
    """Return statements for the gradient of a captured tensor, the sum over all its reads."""
    functions = reads_of(problem, site)
    lines: list[str] = []
    for term, read in _learned(problem, site):
        if problem.names.tensors[read.load.tensor].name != name:
            continue
        head = f"grad_{name} {'+=' if lines else '='} "
        if _is_whole(site, read):
            lines.append(f"{head}{_summed(term.buffer, read.load)}.view({name}.shape)")
        else:
            given = ["x" if each == name else each for each in problem.names.arguments]
            reading = call(f"lambda x: {functions[read]}", given, 3)
            apart = problem.streams[read.source].apart and term.kind == "pair"
            buffer = f"{term.buffer}.sum(2)" if apart and read.blocks is None else term.buffer
            lines.append(call(f"{head}read_gradient", [reading, name, buffer], depth=2))
    lines.append(f"grad_{name} = grad_{name}.to({name}.dtype)")
    return [
        f"grad_{name} = {name}.new_empty(0)",
        f"if wanted[{position}]:\n" + indent("\n".join(lines), "    "),
    ]


def _copied(problem: Problem, site: Site, streams: Iterable[Stream]) -> Iterator[tuple[str, Read]]:
    """Yield what trees call each copy, and what it holds."""
    for stream in streams:
        for copy, load in stream.copies.items():
            yield copy, _by_pair(problem, site, stream, load)
        for copy, load in stream.offsets.items():
            number = _number(problem, stream)
            yield copy, _by_offset(site, number, load)


def _learned(problem: Problem, site: Site) -> Iterator[tuple[Term, Read]]:
    """Yield the reads of all captured tensors that the loss reaches, with their terms."""
    for number, stream in enumerate(problem.streams):
        queries, keys = site.q.shape[2], site.sources[number][0].shape[2]
        for term in stream.terms:
            for load in term.reads:
                if term.kind == "offset":
                    yield term, _by_offset(site, number, load)
                elif term.kind != "pair":
                    yield term, Read(number, load, queries, keys)
                elif stream.blocks is not None and load not in stream.copies.values():
                    own, seen = stream.blocks.own, stream.blocks.seen
                    layouts = (own.layout, seen.layout)
                    yield term, Read(number, load, own.size, seen.size, layouts)
                else:
                    yield term, _by_pair(problem, site, stream, load)


def _by_pair(problem: Problem, site: Site, stream: Stream, load: Load) -> Read:
    """Return a read by pair: of tokens, or of slots where the stream is walked by block."""
    number, is_turned = _number(problem, stream), stream not in problem.streams
    if stream.blocks is None:
        return Read(number, load, site.q.shape[2], site.sources[number][0].shape[2])
    own, seen = stream.blocks.own.size, stream.blocks.seen.size
    return Read(number, load, *((seen, own) if is_turned else (own, seen)))


def _number(problem: Problem, stream: Stream) -> int:
    faces = (*problem.streams, *problem.turned)
    return next(at for at, each in enumerate(faces) if each is stream) % len(problem.streams)


def _by_offset(site: Site, number: int, load: Load) -> Read:
    queries, keys = site.q.shape[2], site.sources[number][0].shape[2]
    return Read(number, load, queries, keys, by_offset=True)


class _ByBlock(TorchFunction):
    """A function whose coordinates are `b h block slot_i slot_j` in place of `b h i j`."""

    def __init__(self, site: Site, blocks: Size) -> None:
        super().__init__(site)
        self._blocks = blocks

    def coordinate(self, name: str, source: int) -> str:
        """Return the variable, shaped to broadcast over [b, h, blocks, slots, slots]."""
        lengths = (*self.site.q.shape[:2], self._blocks, self.site.q.shape[2])
        axes = dict(zip(_AXES, (*lengths, self.site.sources[source][0].shape[2]), strict=True))
        axis = _AXES.index(name)
        length = axes[name] if isinstance(axes[name], int) else f"q.shape[{axis}]"
        trailing = ", None" * (len(_AXES) - 1 - axis)
        shaped = f"[:{trailing}]" if trailing else ""
        self.bind_top((3, axis), name, f"torch.arange({length}, device=q.device){shaped}")
        return name


class _ByOffset(TorchFunction):
    """A function whose coordinates are `b h offset`; `offset` is `i - j`."""

    def __init__(self, site: Site, keys: Size) -> None:
        super().__init__(site)
        self._keys = keys
        self.ranges = {OFFSET: (1 - keys, site.q.shape[2] - 1)}

    def coordinate(self, name: str, source: int) -> str:
        """Return the variable, shaped to broadcast over [b, h, offsets]."""
        axis = ("b", "h", OFFSET).index(name)
        length = f"q.shape[{axis}]"
        if name == OFFSET:
            first, length = self.size(1 - self._keys), self.size(self.site.q.shape[2])
            self.bind_top((3, axis), name, f"torch.arange({first}, {length}, device=q.device)")
            return name
        if isinstance(self.site.q.shape[axis], int):
            length = str(self.site.q.shape[axis])
        shaped = f"[:{', None' * (2 - axis)}]"
        self.bind_top((3, axis), name, f"torch.arange({length}, device=q.device){shaped}")
        return name


def _at_offsets(load: ScoreTree) -> ScoreTree:
    """Return a read with `offset` in place of `i - j`."""
    assert isinstance(load, Load)
    places = (by_offset(index, Coordinate(OFFSET)) for index in load.indices)
    return replace(load, indices=tuple(place for place in places if place is not None))


_AXES = ("b", "h", "block", "slot_i", "slot_j")


def _at_tokens(load: ScoreTree, blocks: tuple[Layout, Layout]) -> ScoreTree:
    """Return a read with the tokens of slots in place of `i` and `j`."""

    def token(layout: Layout, slot: str) -> ScoreTree:
        return replaced(layout.token, lambda part: Coordinate(slot) if part == SLOT else part)

    tokens = {"i": token(blocks[0], "slot_i"), "j": token(blocks[1], "slot_j")}

    def change(part: ScoreTree) -> ScoreTree:
        return tokens.get(part.name, part) if isinstance(part, Coordinate) else part

    return simplify(replaced(load, change))


def _with_lengths(site: Site, read: Read) -> Site:
    """Return the site with as many queries and keys as the coordinates of a read have values."""
    q = replace(site.q, shape=(*site.q.shape[:2], read.queries, *site.q.shape[3:]))
    sources = list(site.sources)
    k, v = sources[read.source]
    k = replace(k, shape=(*k.shape[:2], read.keys, *k.shape[3:]))
    sources[read.source] = (k, v)
    return replace(site, q=q, sources=tuple(sources))


def _is_whole(site: Site, read: Read) -> bool:
    """Say whether each element is read for one value of its indices: `bias[h, i, j]`."""
    if read.blocks is not None:
        return False
    lengths = (*site.q.shape[:2], read.queries, read.keys)
    sizes = dict(zip(COORDINATES, lengths, strict=True))
    shape = site.tensors[site.attention.tensors.index(read.load.tensor)].shape
    names = [each.name for each in read.load.indices if isinstance(each, Coordinate)]
    in_order = sorted(set(names), key=COORDINATES.index) == names and len(names) == len(shape)
    return in_order and all(sizes[name] == size for name, size in zip(names, shape, strict=True))


def _summed(buffer: str, load: Load) -> str:
    """Return a buffer [b, h, n, m] summed over the axes that a read does not depend on."""
    read = coordinates(load)
    axes = [str(axis) for axis, name in enumerate(COORDINATES) if name not in read]
    several = f"({', '.join(axes)})" if len(axes) > 1 else "".join(axes)
    return f"{buffer}.sum({several})" if axes else buffer

"""Which tiles of pairs there are: runs of queries with the keys they may see, in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attnc.backends.tiled.boxes import boxes, run_lengths
from attnc.backends.tiled.functions import Piece, TileFunction, broken
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Source
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import LinearBand, allowed, as_size, band, classify

LONGEST_RUN = 512
"""Rows of a tile beside a narrow band."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How the passes go through the pairs.

    Attributes:
        loop: the head of the loop.
        pieces: the functions that the loop calls.
        by_number: whether places of tokens are numbers, not slices.
        reason: what becomes of the pairs that no one sees.
        exact: for each source whether its tiles hold allowed pairs only, but for the mask.
    """

    loop: str
    pieces: tuple[Piece, ...]
    by_number: bool
    reason: str
    exact: tuple[bool, ...]

    def texts(self) -> Iterator[str]:
        """Yield the functions that the loop calls."""
        yield from (piece.text for piece in self.pieces)


def walk(site: Site, *, by_column: bool) -> Walk:
    """Return the walk through tiles of whole rows, or of whole columns."""
    found = None if by_column else boxes(site)
    made = TileFunction(site) if found is None else found.made
    cols = [f"cols{suffix}" for suffix in made.suffixes]
    streams = [f"k{suffix}" for suffix in made.suffixes]
    exact, depth = (False,) * len(cols), 1
    runs = None if by_column else run_lengths(site)
    sides = [reach(source) for source in site.attention.sources]
    if found is not None:
        lines, exact = found.lines(cols, streams), found.exact
        depth, reason = len(found.grid.queries), "boxes of keys around boxes of queries"
    elif runs is not None:
        lines, exact, reason = _runs(runs), (True,), "each run of queries sees its run of keys"
    else:
        lines, reason = (
            (_columns if by_column else _rows)(made, sides, streams, cols),
            _reason(sides),
        )
    for line in lines:
        made.line(line)
    sizes = " + ".join(f"size_of({each})" for each in cols)
    inside = "    " * depth
    made.line(f"{inside}for bs, hs in heads_of(q, size_of(rows) * ({sizes})):")
    made.line(f"{inside}    yield bs, hs, rows, {', '.join(cols)}")
    doc = "Places of tiles: batch, heads, queries, and the keys that they may see."
    piece = made.piece(f"{site.name}_tiles", doc, "", given=False)
    loop = f"for bs, hs, rows, {', '.join(cols)} in {piece.call}:"
    return Walk(loop, (piece,), found is not None, reason, exact)


def _runs(lengths: Sequence[tuple[int, int]]) -> Iterator[str]:
    i = j = 0
    places = []
    for n, m in lengths:
        places.append(f"(slice({i}, {i + n}), slice({j}, {j + m}))")
        i, j = i + n, j + m
    yield broken("for rows, cols in (", places, ("," if len(places) == 1 else "") + "):", 1)


Sides = tuple[Size | None, Size | None]
"""Keys from `i - left` to `i + right`; none for no bound."""


def reach(source: Source) -> Sides:
    """Return the band that holds all pairs of a source, as far as sizes tell."""
    condition = allowed(source)
    found = None if condition is None else classify(condition)
    inside = found or band(source.domain) or LinearBand()
    left, right = (None if side is None else as_size(side) for side in (inside.left, inside.right))
    return left, right


def _rows(
    made: TileFunction, sides: list[Sides], streams: list[str], cols: list[str]
) -> Iterator[str]:
    keys = " + ".join(f"{stream}.shape[2]" for stream in streams)
    run = _run(sides)
    yield f"for rows in chunks(q.shape[2], {f'rows_for(q, {keys})' if run is None else run}):"
    for (left, right), stream, col in zip(sides, streams, cols, strict=True):
        start = "0" if left is None else _shifted(made, "rows.start", -left)
        stop = f"{stream}.shape[2]" if right is None else _shifted(made, "rows.stop", right)
        yield f"    {col} = span({start}, {stop}, {stream}.shape[2])"
    yield f"    if not ({' or '.join(f'size_of({col})' for col in cols)}):"
    yield "        continue"


def _columns(
    made: TileFunction, sides: list[Sides], streams: list[str], cols: list[str]
) -> Iterator[str]:
    ((left, right),), (stream,), (col,) = sides, streams, cols
    run = _run(sides)
    length = f"{stream}.shape[2]"
    yield f"for {col} in chunks({length}, {'rows_for(q, q.shape[2])' if run is None else run}):"
    start = "0" if right is None else _shifted(made, f"{col}.start", -right)
    stop = "q.shape[2]" if left is None else _shifted(made, f"{col}.stop", left)
    yield f"    rows = span({start}, {stop}, q.shape[2])"
    yield "    if not size_of(rows):"
    yield "        continue"


def _run(sides: list[Sides]) -> int | None:
    """Return the length of runs beside narrow bands; none where memory alone decides."""
    widths = [
        left + right if isinstance(left, int) and isinstance(right, int) else None
        for left, right in sides
    ]
    if len(widths) > 1 or widths[0] is None:
        return None
    run = 32
    while run < widths[0] // 2 and run < LONGEST_RUN:
        run *= 2
    return run


def _shifted(made: TileFunction, place: str, by: Size) -> str:
    if by == 0:
        return place
    if isinstance(by, int):
        return f"{place} - {-by}" if by < 0 else f"{place} + {by}"
    return f"{place} + {made.size(by)}"


def _reason(sides: list[Sides]) -> str:
    if all(side == (None, None) for side in sides):
        return "all pairs are visited, in tiles"
    return "pairs outside the band are skipped in closed form"

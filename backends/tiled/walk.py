"""Which tiles of pairs there are: runs of queries with the keys they may see, in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attnc.backends.tiled.boxes import boxes, run_lengths
from attnc.backends.tiled.functions import Piece, TileFunction, broken
from attnc.backends.tiled.gathered import gathers, keys_of
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Source
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import LinearBand, allowed, as_size, band, classify

LONGEST_RUN = 512
"""Rows of a tile beside a narrow band."""

HELD = 8
"""Pairs that a gathered key counts as: it is held with all its elements."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How the passes go through the pairs.

    Attributes:
        loops: the head of one loop through all sources, or of one for each.
        pieces: the functions that the loops call.
        by_number: whether places of tokens are numbers, not slices.
        reason: what becomes of the pairs that no one sees.
        exact: for each source whether its tiles hold allowed pairs only, but for the mask.
    """

    loops: tuple[str, ...]
    pieces: tuple[Piece, ...]
    by_number: bool
    reason: str
    exact: tuple[bool, ...]

    def texts(self) -> Iterator[str]:
        """Yield the functions that the loops call."""
        yield from (piece.text for piece in self.pieces)


def walk(site: Site, *, by_column: bool) -> Walk:
    """Return the walk through tiles of whole rows, or of whole columns."""
    return _by_column(site) if by_column else _by_row(site)


def _by_column(site: Site) -> Walk:
    """Return a walk through the columns of one source after the other."""
    sides = [reach(source) for source in site.attention.sources]
    loops, pieces = [], []
    for number, side in enumerate(sides):
        made = TileFunction(site)
        suffix = made.suffixes[number]
        for line in _columns(made, side, f"k{suffix}", f"cols{suffix}"):
            made.line(line)
        piece = _tiles(made, f"{site.name}_tiles{suffix}", 1, [f"cols{suffix}"], "")
        pieces.append(piece)
        loops.append(f"for bs, hs, rows, cols{suffix} in {piece.call}:")
    return Walk(tuple(loops), tuple(pieces), False, _reason(sides), (False,) * len(sides))


def _by_row(site: Site) -> Walk:
    numbers = range(len(site.attention.sources))
    gathered = [number for number in numbers if gathers(site, number)]
    if gathered:
        return _among(site, gathered)
    found = boxes(site)
    made = TileFunction(site) if found is None else found.made
    cols = [f"cols{suffix}" for suffix in made.suffixes]
    streams = [f"k{suffix}" for suffix in made.suffixes]
    exact, depth = (False,) * len(cols), 1
    runs = run_lengths(site)
    sides = [reach(source) for source in site.attention.sources]
    if found is not None:
        lines, exact = found.lines(cols, streams), found.exact
        depth, reason = len(found.grid.queries), "boxes of keys around boxes of queries"
    elif runs is not None:
        lines, exact, reason = _runs(runs), (True,), "each run of queries sees its run of keys"
    else:
        lines, reason = _rows(made, sides, streams, cols), _reason(sides)
    for line in lines:
        made.line(line)
    piece = _tiles(made, f"{site.name}_tiles", depth, cols, "")
    loop = f"for bs, hs, rows, {', '.join(cols)} in {piece.call}:"
    return Walk((loop,), (piece,), found is not None, reason, exact)


def _among(site: Site, gathered: Sequence[int]) -> Walk:
    """Return a walk in which the keys of some sources are gathered, query by query."""
    made, sources = TileFunction(site), site.attention.sources
    beside = [number for number in range(len(sources)) if number not in gathered]
    cols = [f"cols{made.suffixes[number]}" for number in beside]
    held = [made.size(HELD * keys_of(sources[at].domain)) for at in gathered]
    keys = [f"k{made.suffixes[number]}.shape[2]" for number in beside]
    made.line(f"for rows in chunks(q.shape[2], rows_for(q, {' + '.join((*held, *keys))})):")
    for number, col in zip(beside, cols, strict=True):
        made.line(f"    {_reached(made, reach(sources[number]), keys[beside.index(number)], col)}")
    piece = _tiles(made, f"{site.name}_tiles", 1, cols, " + ".join(held))
    loop = f"for {', '.join(('bs, hs, rows', *cols))} in {piece.call}:"
    reason = "each query's own keys are gathered, for some queries at a time"
    return Walk((loop,), (piece,), False, reason, (False,) * len(sources))


def _tiles(made: TileFunction, name: str, depth: int, cols: Sequence[str], gathered: str) -> Piece:
    """Return the function of all tiles, whose lines up to `rows` and `cols` stand.

    Args:
        gathered: how many pairs the gathered keys of a query count as, or empty.
    """
    sizes = " + ".join((*((gathered,) if gathered else ()), *(f"size_of({each})" for each in cols)))
    inside = "    " * depth
    made.line(f"{inside}for bs, hs in heads_of(q, size_of(rows) * ({sizes})):")
    made.line(f"{inside}    yield {', '.join(('bs, hs, rows', *cols))}")
    doc = "Places of tiles: batch, heads, queries, and the keys that they may see."
    return made.piece(name, doc, "", given=False)


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
    for side, stream, col in zip(sides, streams, cols, strict=True):
        yield f"    {_reached(made, side, f'{stream}.shape[2]', col)}"
    yield f"    if not ({' or '.join(f'size_of({col})' for col in cols)}):"
    yield "        continue"


def _reached(made: TileFunction, side: Sides, length: str, col: str) -> str:
    """Return the line that names the keys within reach of a run of queries."""
    left, right = side
    start = "0" if left is None else _shifted(made, "rows.start", -left)
    stop = length if right is None else _shifted(made, "rows.stop", right)
    return f"{col} = span({start}, {stop}, {length})"


def _columns(made: TileFunction, side: Sides, stream: str, col: str) -> Iterator[str]:
    left, right = side
    run = _run([side])
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

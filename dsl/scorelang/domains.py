"""Domains in closed form: the condition on a pair, the slot of a key, a query's keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import mul

from attnc.dsl.attention import (
    FRACTIONS,
    All,
    Among,
    Band,
    Blocks,
    Causal,
    Constant,
    Coordinate,
    Domain,
    Grid,
    Groups,
    Load,
    Neighborhood,
    Overlapping,
    PerHeads,
    RoutedKeys,
    RoutedRegions,
    Sampled,
    ScoreTree,
    Where,
    Windows,
)
from attnc.dsl.dims import Shape, Size
from attnc.dsl.scorelang.grids import (
    Reach,
    along,
    fractions,
    grid_coordinates,
    query_slots,
    ranges,
    reaches,
)
from attnc.dsl.scorelang.ranges import at_least, decide
from attnc.dsl.scorelang.simplify import TRUE, make, size_tree

HEAD, QUERY, KEY = Coordinate("h"), Coordinate("i"), Coordinate("j")
ZERO = Constant(0)

PLACE_NAMES = ("slot", "query_slot", "key_count", *FRACTIONS)
"""Names whose meaning a domain gives: see the functions of these names."""

Spatial = Windows | Neighborhood | Overlapping | Sampled
"""Domains that are a product over the axes of a grid."""


def spatial_condition(domain: Spatial) -> ScoreTree:
    """Return the bool tree of a domain on a grid."""
    return _all(reach.condition for reach in reaches(domain))


def indexed_condition(domain: Groups | Blocks | RoutedRegions | RoutedKeys) -> ScoreTree:
    """Return the bool tree of a domain that an index or a list describes."""
    match domain:
        case Groups(query, key):
            return make("eq", query, key)
        case Blocks(queries, keys):
            return make("eq", _number(QUERY, queries), _number(KEY, keys))
        case RoutedRegions(index, _, regions, grid):
            assert grid is not None, f"{domain} has no grid"
            row = replace(index, indices=(*index.indices, _region("i", grid.queries, regions)))
            return Among(_region("j", grid.keys, regions), row, _product(regions))
        case RoutedKeys(index, _, grid):
            assert grid is not None, f"{domain} has no grid"
            row = replace(index, indices=(*index.indices, QUERY))
            return Among(KEY, row, _product(grid.keys))


def slot(domain: Domain) -> ScoreTree | None:
    """Return which of the keys that a query may see the key is, row by row of the window.

    None where the domain has no slots. Outside the domain it is any number.
    """
    match domain:
        case Windows() | Neighborhood() | Overlapping() | Sampled():
            found = reaches(domain)
            return _row_major([reach.slot for reach in found], [reach.number for reach in found])
        case Band(left, _):
            return make("add", make("sub", KEY, QUERY), size_tree(left))
        case Blocks(_, keys):
            return make("sub", KEY, _steps(KEY, keys, _starts(keys)))
        case PerHeads(domains):
            return _of_each(domain, [slot(each) for each in domains])
    return None


def slot_count(domain: Domain) -> Size | None:
    """Return how many slots a query has; none where the domain has no fixed number of them."""
    match domain:
        case Windows() | Neighborhood() | Overlapping() | Sampled():
            return _product(tuple(reach.number for reach in reaches(domain)))
        case Band(left, right):
            return left + right + 1
    return None


def query_slot(domain: Domain) -> ScoreTree | None:
    """Return the position of the query in its own window, row by row; none where it has none."""
    match domain:
        case Windows():
            numbers = [reach.number for reach in reaches(domain)]
            return _row_major(query_slots(domain), numbers)
        case Blocks(queries, _):
            return make("sub", QUERY, _steps(QUERY, queries, _starts(queries)))
        case PerHeads(domains):
            return _of_each(domain, [query_slot(each) for each in domains])
    return None


def key_count(domain: Domain, grid: Grid) -> ScoreTree | None:
    """Return how many keys a query sees, an int tree of `i` and `h`; none where data decides.

    Args:
        domain: placed.
        grid: of the source.
    """
    keys = size_tree(_product(grid.keys))
    match domain:
        case All():
            return keys
        case Causal(offset):
            return _between(ZERO, make("add", QUERY, size_tree(offset + 1)), keys)
        case Band(left, right):
            first = make("sub", QUERY, size_tree(left))
            return _between(first, make("add", QUERY, size_tree(right + 1)), keys)
        case Windows() | Neighborhood() | Overlapping():
            return reduce(_times, (_count(reach, grid) for reach in reaches(domain)))
        case Blocks(queries, lengths):
            return _steps(QUERY, queries, lengths)
        case RoutedRegions(_, chosen, regions):
            return size_tree(chosen * (_product(grid.keys) // _product(regions)))
        case RoutedKeys(_, chosen):
            return size_tree(chosen)
        case PerHeads(domains):
            return _of_each(domain, [key_count(each, grid) for each in domains])
    return None


def place_names(domain: Domain, grid: Grid) -> Mapping[str, ScoreTree | None]:
    """Return what names that the grid and the placed domain define stand for; none for nothing."""
    return {
        **grid_coordinates(grid),
        "slot": slot(domain),
        "query_slot": query_slot(domain),
        "key_count": key_count(domain, grid),
        **_fraction_names(domain),
    }


def _fraction_names(domain: Domain) -> Mapping[str, ScoreTree]:
    if not isinstance(domain, Sampled):
        return {}
    found = fractions(domain)
    return dict(zip(FRACTIONS[-len(found) :], found, strict=True))


def with_trees(domain: Domain, change: Callable[[ScoreTree], ScoreTree]) -> Domain:
    """Return the domain with `change` applied to every tree that it holds; loads stay loads."""
    match domain:
        case Where(condition):
            return Where(change(condition))
        case Groups(query, key):
            return Groups(change(query), change(key))
        case RoutedRegions(index) | RoutedKeys(index):
            changed = change(index)
            assert isinstance(changed, type(index))
            return replace(domain, index=changed)
        case Sampled(centre):
            changed = change(centre)
            assert isinstance(changed, type(centre))
            return replace(domain, centre=changed)
        case PerHeads(domains):
            return replace(domain, domains=tuple(with_trees(each, change) for each in domains))
    return domain


def by_heads(
    domain: PerHeads, trees: Sequence[ScoreTree], select: Callable[..., ScoreTree]
) -> ScoreTree:
    """Return the tree that is `trees[g]` for the heads of group g.

    Args:
        select: makes a tree of a condition, what holds where it is true, and what else.
    """
    share = domain.heads // len(domain.domains)
    chosen = trees[-1]
    if all(tree == chosen for tree in trees):
        return chosen
    for number in reversed(range(len(trees) - 1)):
        chosen = select(make("lt", HEAD, Constant((number + 1) * share)), trees[number], chosen)
    return chosen


def sees_itself(domain: Domain) -> bool:
    """Say whether every query surely sees a key, in whatever grid."""
    match domain:
        case Windows() | Neighborhood() | Overlapping():
            return True
        case RoutedRegions(_, chosen) | RoutedKeys(_, chosen):
            return at_least(chosen, 1)
        case Groups(Load(query), Load(key)):
            return query == key
        case Blocks(queries, keys):
            return queries == keys
        case PerHeads(domains):
            return all(sees_itself(each) for each in domains)
    return False


def _count(reach: Reach, grid: Grid) -> ScoreTree:
    """Count the keys along an axis: slots less those before the first key and behind the last."""
    first, stop = reach.exists
    whole = ranges(grid)
    low: ScoreTree = ZERO
    if not decide(make("ge", reach.start, size_tree(first)), whole):
        missing = _ceil(make("sub", size_tree(first), reach.start), reach.step)
        low = make("max", missing, ZERO)
    high = size_tree(reach.number)
    beyond = make("add", reach.start, size_tree((reach.number - 1) * reach.step))
    if not decide(make("lt", beyond, size_tree(stop)), whole):
        present = _ceil(make("sub", size_tree(stop), reach.start), reach.step)
        high = make("min", present, high)
    return make("sub", high, low)


def _between(first: ScoreTree, stop: ScoreTree, keys: ScoreTree) -> ScoreTree:
    """Count the keys from `first` up to `stop` that exist."""
    run = make("sub", make("min", stop, keys), make("max", first, ZERO))
    return make("max", run, ZERO)


def _ceil(tree: ScoreTree, step: Size) -> ScoreTree:
    if step == 1:
        return tree
    return make("floordiv", make("add", tree, size_tree(step - 1)), size_tree(step))


def _row_major(positions: Sequence[ScoreTree], lengths: Sequence[Size]) -> ScoreTree:
    tree = positions[0]
    for position, length in zip(positions[1:], lengths[1:], strict=True):
        tree = make("add", make("mul", tree, size_tree(length)), position)
    return tree


def _region(token: str, shape: Shape, regions: Shape) -> ScoreTree:
    sides = (size // count for size, count in zip(shape, regions, strict=True))
    positions = [
        make("floordiv", along(token, shape, axis), size_tree(side))
        for axis, side in enumerate(sides)
    ]
    return _row_major(positions, regions)


def _number(token: Coordinate, lengths: Shape) -> ScoreTree:
    return _steps(token, lengths, tuple(range(len(lengths))))


def _steps(token: Coordinate, lengths: Shape, values: Shape) -> ScoreTree:
    """Return `values[k]` for the tokens of block k."""
    tree = size_tree(values[0])
    starts = _starts(lengths)
    for start, before, value in zip(starts[1:], values, values[1:], strict=False):
        rise = size_tree(value - before)
        tree = make("add", tree, make("where", make("ge", token, size_tree(start)), rise, ZERO))
    return tree


def _starts(lengths: Shape) -> Shape:
    starts: list[Size] = [0]
    for length in lengths[:-1]:
        starts.append(starts[-1] + length)
    return tuple(starts)


def _of_each(domain: PerHeads, trees: Sequence[ScoreTree | None]) -> ScoreTree | None:
    known = [tree for tree in trees if tree is not None]
    if len(known) < len(trees):
        return None
    return by_heads(domain, known, lambda *parts: make("where", *parts))


def _all(conditions: Iterator[ScoreTree]) -> ScoreTree:
    together: ScoreTree = TRUE
    for condition in conditions:
        together = make("and", together, condition)
    return together


def _times(left: ScoreTree, right: ScoreTree) -> ScoreTree:
    return make("mul", left, right)


def _product(sizes: Shape) -> Size:
    return reduce(mul, sizes, 1)

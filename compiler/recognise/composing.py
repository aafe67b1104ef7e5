"""Two rearrangements one after the other are one, if the factors of their axes go together."""

from __future__ import annotations

from collections.abc import Mapping

from attnc.compiler.recognise.factors import Factors, written
from attnc.compiler.recognise.rewriting import made
from attnc.dsl.dims import Size
from attnc.dsl.graph import Node
from attnc.dsl.ops.notation import Group
from attnc.dsl.ops.shape_rules import count


def composed(first: Node, second: Node) -> Node | None:
    """Return the rearrangement that does what two do, with the results of the second.

    None where an axis between them is cut into factors of which none divides the other.
    """
    ahead, behind = Factors.of(first), Factors.of(second)
    if ahead is None or behind is None or len(ahead.right) != len(behind.left):
        return None
    parts: dict[str, Group] = {}
    sizes: dict[str, Size] = {}
    for joined, read in zip(ahead.right, behind.left, strict=True):
        one = [(name, ahead.sizes[name]) for name in joined]
        other = [(f"{name}'", behind.sizes[name]) for name in read]
        if not _refined(one, other, parts, sizes):
            return None
    names = _readable(sizes)
    left = _spelt(ahead.left, "", parts, names)
    right = _spelt(behind.right, "'", parts, names)
    stated = {names[name]: size for name, size in sizes.items()}
    inner = {name for group in left for name in group[1:]}
    kept = {name: size for name, size in stated.items() if name in inner}
    pattern = f"{written(left)} -> {written(right)}"
    return made("rearrange", second, second.results, x=first.args["x"], pattern=pattern, sizes=kept)


Factor = tuple[str, Size]


def _refined(
    one: list[Factor], other: list[Factor], parts: dict[str, Group], sizes: dict[str, Size]
) -> bool:
    """Tell the factors of an axis, as two rearrangements cut it, by factors of both.

    Args:
        one: as the first one makes it; `other` as the second one reads it. Both are used up.
        parts: gets what each of them consists of.
        sizes: gets the sizes of all factors of both.
    """
    while one and other:
        longer, shorter = one, other
        if not _pieces(longer, shorter):
            longer, shorter = other, one
        pieces = shorter[: _pieces(longer, shorter)]
        if not pieces:
            return False
        del shorter[: len(pieces)]
        parts[longer.pop(0)[0]] = tuple(name for name, _ in pieces)
        parts.update((name, (name,)) for name, _ in pieces)
        sizes.update(pieces)
    rest = one + other
    parts.update((name, ()) for name, _ in rest)
    return all(size == 1 for _, size in rest)


def _pieces(longer: list[Factor], shorter: list[Factor]) -> int:
    """Return how many first factors of the shorter make up the first of the longer; 0 for none."""
    counts = (count(size for _, size in shorter[:pieces]) for pieces in range(1, len(shorter) + 1))
    return next((at for at, size in enumerate(counts, 1) if size == longer[0][1]), 0)


def _readable(sizes: Mapping[str, Size]) -> Mapping[str, str]:
    """Return names without marks; where two would be alike one gets a line behind."""
    names: dict[str, str] = {}
    for name in sizes:
        wish = name.removesuffix("'")
        while wish in names.values():
            wish += "_"
        names[name] = wish
    return names


def _spelt(
    groups: tuple[Group, ...], mark: str, parts: Mapping[str, Group], names: Mapping[str, str]
) -> tuple[Group, ...]:
    """Return groups with every factor told by its parts."""
    return tuple(
        tuple(names[part] for name in group for part in parts[f"{name}{mark}"]) for group in groups
    )

"""Maps that are rolled before they are cut into windows, and rolled back behind the attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from attnc.compiler.recognise.factors import Factors
from attnc.compiler.recognise.parted import Parted
from attnc.compiler.recognise.rewriting import Block
from attnc.compiler.recognise.tokenwise import shifts_of
from attnc.dsl.graph import Node, Value
from attnc.dsl.ops.notation import Group


@dataclass(frozen=True, slots=True)
class Rolled:
    """What q, k and v are before they are rolled, and what rolls the result back.

    Attributes:
        parted: the windows, of the tokens before they are rolled.
        maps: rearrangement of a stream -> what it is of, before it is rolled.
        back: the node that alone reads the result, put together.
    """

    parted: Parted
    maps: Mapping[Node, Value]
    back: Node


def rolled(
    streams: Sequence[Factors], behind: Factors, parted: Parted, block: Block
) -> Rolled | None:
    """Return how q, k and v are rolled alike along axes of the grid; none if they are not.

    Nor if the result is not rolled back by as much before anything else reads it.
    """
    rolls = [block.maker(each.node.args["x"], "roll") for each in streams]
    back = block.reader(behind.node.results[0])
    if (
        back is None
        or back.op != "roll"
        or any(each is None or each.train for each in (*rolls, back))
    ):
        return None
    found = {
        _shifts(cast(Node, roll), each.left, each.right, parted, towards=-1)
        for roll, each in zip(rolls, streams, strict=True)
    }
    found.add(_shifts(back, behind.right, behind.left, parted, towards=1))
    (shifts,) = found if len(found) == 1 else (None,)
    if shifts is None:
        return None
    maps = {
        each.node: cast(Value, cast(Node, roll).args["x"])
        for each, roll in zip(streams, rolls, strict=True)
    }
    return Rolled(parted.rolled(shifts), maps, back)


def _shifts(
    roll: Node, of_map: tuple[Group, ...], of_heads: tuple[Group, ...], parted: Parted, towards: int
) -> tuple[int, ...] | None:
    """Return by how much a map is moved to the front along each axis of the grid.

    Args:
        of_map: the factors of its axes; `of_heads` those of [b, h, n, d].
        towards: 1 or -1, the sign of shifts to the front.
    """
    axes = [{of_heads[axis][place] for axis, place in places} for places in parted.axes]
    assert parted.domain.grid is not None
    extents = parted.domain.grid.queries
    shifts = [0] * len(axes)
    for axis, shift in shifts_of(roll).items():
        at = next((at for at, names in enumerate(axes) if names == {*of_map[axis]}), None)
        if at is None or not parted.apart[at]:
            return None
        extent, size = extents[at], parted.domain.size[at]
        if not (isinstance(shift, int) and isinstance(extent, int) and isinstance(size, int)):
            return None
        shifts[at] = towards * shift % extent
    return tuple(shifts)

"""Statements that repeat from one module of a list to the next become loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from attnc.compiler.emit.code import (
    Assign,
    Attribute,
    Call,
    Expr,
    For,
    Index,
    Literal,
    Name,
    Slice,
    Statement,
    fixed,
    rewrite,
    walk,
)
from attnc.compiler.emit.first_turns import with_first_turns
from attnc.compiler.emit.naming import singular, unused
from attnc.compiler.emit.text import flat

_LONGEST = 16
"""The most statements that a loop may hold."""

Positions = tuple[int, ...]
"""Where a nested list is read: (0, 1) for `self.stages[0][1]`."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A statement without the positions at which it reads lists, as a number, and these."""

    statement: int
    reads: tuple[Positions, ...]


class Roller:
    """Rolls the statements of one function.

    Attributes:
        lists: `self.blocks` -> how many modules it holds.
        names: variables of the function, which loop variables keep clear of.
    """

    def __init__(self, lists: Mapping[str, int], names: set[str]) -> None:
        self.lists, self.names = lists, names
        self._numbers: dict[Statement, int] = {}

    def roll(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        """Return the statements with all repetitions rolled, inner ones first."""
        before: tuple[Statement, ...] = ()
        after = tuple(statements)
        while after != before:
            before, after = after, tuple(self._pass(after))
        return tuple(with_first_turns(after))

    def _pass(self, statements: tuple[Statement, ...]) -> Iterator[Statement]:
        patterns = [self._pattern(statement) for statement in statements]
        at = 0
        while at < len(statements):
            period, turns = _shortest(patterns, at)
            body, first = statements[at : at + period], patterns[at : at + period]
            if turns > 1:
                yield self._loop(body, first, patterns[at + period : at + 2 * period], turns)
            elif self._is_whole_list(body[0]):
                yield self._loop(body, first, [_next(first[0])], turns)
            else:
                yield body[0]
            at += period * turns

    def _is_whole_list(self, statement: Statement) -> bool:
        """Say whether a statement takes a value through the only modules of lists."""
        if not isinstance(statement, Assign):
            return False
        inside = list(walk(statement.value))
        indices = [part for part in inside if isinstance(part, Index) and self._read(part)[1]]
        through = any(target in inside for target in statement.targets)
        return through and bool(indices) and all(self._length(each.base) == 1 for each in indices)

    def _length(self, base: Expr) -> int:
        return self.lists[flat(base)]

    def _pattern(self, statement: Statement) -> _Pattern:
        reads: list[Positions] = []

        def change(expr: Expr) -> Expr | None:
            base, positions = self._read(expr)
            if not positions:
                return None
            reads.append(positions)
            return Index(base, tuple(Name("_") for _ in positions))

        bare = _without_shape(rewrite(statement, change))
        return _Pattern(self._numbers.setdefault(bare, len(self._numbers)), tuple(reads))

    def _read(self, expr: Expr) -> tuple[Expr, Positions]:
        """Return the list that an expression reads, and the positions; none where it reads none."""
        match expr:
            case Index(base, (Literal(int(position)),)) if flat(base) in self.lists:
                outer, positions = self._read(base)
                return outer, (*positions, position)
        return expr, ()

    def _loop(
        self,
        body: tuple[Statement, ...],
        first_turn: Sequence[_Pattern],
        second_turn: Sequence[_Pattern],
        turns: int,
    ) -> Statement:
        reads = [read for pattern in first_turn for read in pattern.reads]
        later = [read for pattern in second_turn for read in pattern.reads]
        moving = iter([_moving(one, two) for one, two in zip(reads, later, strict=True)])
        inner_loops = (part for part in walk(body) if isinstance(part, For))
        names = self.names | {name for loop in inner_loops for name in loop.targets}
        items: dict[Expr, str] = {}

        def change(expr: Expr) -> Expr | None:
            base, positions = self._read(expr)
            level = next(moving) if positions else None
            if level is None:
                return expr if positions else None
            first = _indexed(base, positions[: level + 1])
            if first not in items:
                items[first] = unused(self._item_name(first), names | set(items.values()))
            return _indexed(Name(items[first]), positions[level + 1 :])

        inner = tuple(rewrite(_without_shape(statement), change) for statement in body)
        return self._over(items, turns, inner)

    def _item_name(self, item: Expr) -> str:
        """Return a name for an item of a list: `block`, or `stages` where it is a list itself."""
        name = singular(_last_name(item))
        return f"{name}s" if flat(item) in self.lists else name

    def _over(self, items: Mapping[Expr, str], turns: int, inner: tuple[Statement, ...]) -> For:
        """Return the loop over lists from the given items on, in the order of their making."""
        order = list(self.lists)
        ordered = sorted(items, key=lambda item: order.index(flat(cast(Index, item).base)))
        ranges = tuple(self._part(item, turns) for item in ordered)
        strict = (("strict", fixed(True)),)
        iterable = ranges[0] if len(ranges) == 1 else Call(Name("zip"), ranges, strict)
        return For(tuple(items[item] for item in ordered), iterable, inner)

    def _part(self, first: Expr, turns: int) -> Expr:
        """Return the list that a loop runs over from `first` on, or the slice of it."""
        match first:
            case Index(base, (Literal(int(start)),)):
                end = start + turns
                if start == 0 and end == self._length(base):
                    return base
                stop = Literal(end) if end < self._length(base) else None
                return Index(base, (Slice(Literal(start) if start else None, stop),))
        raise ValueError(f"not an item of a list: {flat(first)}")


def _next(pattern: _Pattern) -> _Pattern:
    """Return the statement of the next turn, if there were one."""
    reads = tuple((*read[:-1], read[-1] + 1) for read in pattern.reads)
    return replace(pattern, reads=reads)


def _indexed(base: Expr, positions: Positions) -> Expr:
    for position in positions:
        base = Index(base, (fixed(position),))
    return base


def _moving(one: Positions, two: Positions) -> int | None:
    """Return the level at which positions differ; none where they are equal."""
    return next((at for at, (a, b) in enumerate(zip(one, two, strict=True)) if a != b), None)


def _shortest(patterns: Sequence[_Pattern], at: int) -> tuple[int, int]:
    """Return the shortest period with which statements repeat from `at` on, and the turns."""
    for period in range(1, min(_LONGEST, (len(patterns) - at) // 2) + 1):
        turns = _turns(patterns, at, period)
        if turns > 1:
            return period, turns
    return 1, 1


def _turns(patterns: Sequence[_Pattern], at: int, period: int) -> int:
    """Return how often the statements from `at` on repeat, moving on by one each time."""
    first = patterns[at : at + period]
    steps: list[Positions] | None = None
    turns = 1
    while at + (turns + 1) * period <= len(patterns):
        start = at + turns * period
        moves = _moves(first, patterns[start : start + period], turns)
        if moves is None or steps not in (None, moves):
            break
        steps = moves
        turns += 1
    return turns


def _moves(
    first: Sequence[_Pattern], later: Sequence[_Pattern], turns: int
) -> list[Positions] | None:
    """Return how far each read moves in a turn; none where the statements do not repeat."""
    if [one.statement for one in first] != [two.statement for two in later]:
        return None
    moves: list[Positions] = []
    for one, two in zip(first, later, strict=True):
        for before, after in zip(one.reads, two.reads, strict=True):
            step = tuple(b - a for a, b in zip(before, after, strict=True))
            if step.count(0) < len(step) - 1 or any(move not in (0, turns) for move in step):
                return None
            moves.append(tuple(move // turns for move in step))
    return moves if any(any(move) for move in moves) else None


def _last_name(expr: Expr) -> str:
    match expr:
        case Attribute(_, name):
            return name
        case Index(base):
            return singular(_last_name(base))
    return "item"


def _without_shape(statement: Statement) -> Statement:
    return replace(statement, shape=None) if isinstance(statement, Assign) else statement

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
    is_tree,
    names_in,
    parts,
    rewrite,
    walk,
)
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
        return tuple(self._with_first_turns(after))

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
        if not isinstance(statement, Assign) or not set(statement.targets) & set(
            walk(statement.value)
        ):
            return False
        reads = [
            part
            for part in walk(statement.value)
            if isinstance(part, Index) and self._read(part)[1]
        ]
        return bool(reads) and all(self.lists[flat(read.base)] == 1 for read in reads)

    def _with_first_turns(self, statements: tuple[Statement, ...]) -> Iterator[Statement]:
        """Yield statements; a first turn that differs by what comes in joins its loop."""
        waiting: Statement | None = None
        for statement in statements:
            joined = None if waiting is None else self._joined(waiting, statement)
            if joined is None and waiting is not None:
                yield waiting
            *before, waiting = joined or (statement,)
            yield from before
        if waiting is not None:
            yield waiting

    def _joined(self, first: Statement, loop: Statement) -> tuple[Statement, ...] | None:
        """Return `x = a`, `for f in fs: x = f(x)` for `x = fs[0](a)`, `for f in fs[1:]: ...`."""
        match first, loop:
            case Assign(targets, made), For(
                (item,), Index(base, (Slice(Literal(1), stop),)), (Assign(carried, value) as turn,)
            ) if targets == carried:
                start = rewrite(value, lambda e: _indexed(base, (0,)) if e == Name(item) else None)
                incoming = _incoming(start, made, targets)
                if incoming is None:
                    return None
                items = base if stop is None else Index(base, (Slice(None, stop),))
                return (*incoming, For((item,), items, (turn,)))
        return None

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
        names = self.names | {
            t for part in walk(body) if isinstance(part, For) for t in part.targets
        }
        found: dict[Expr, str] = {}

        def change(expr: Expr) -> Expr | None:
            base, positions = self._read(expr)
            level = next(moving) if positions else None
            if level is None:
                return expr if positions else None
            first = _indexed(base, positions[: level + 1])
            if first not in found:
                wish = singular(_last_name(first))
                wish = f"{wish}s" if flat(first) in self.lists else wish
                found[first] = unused(wish, names | set(found.values()))
            return _indexed(Name(found[first]), positions[level + 1 :])

        inner = tuple(rewrite(_without_shape(statement), change) for statement in body)
        order = list(self.lists)
        items = sorted(found, key=lambda item: order.index(flat(cast(Index, item).base)))
        ranges = tuple(self._part(item, turns) for item in items)
        iterable = ranges[0] if len(ranges) == 1 else Call(Name("zip"), ranges)
        return For(tuple(found[item] for item in items), iterable, inner)

    def _part(self, first: Expr, turns: int) -> Expr:
        """Return the list that a loop runs over from `first` on, or the slice of it."""
        match first:
            case Index(base, (Literal(int(start)),)):
                end = start + turns
                if start == 0 and end == self.lists[flat(base)]:
                    return base
                stop = Literal(end) if end < self.lists[flat(base)] else None
                return Index(base, (Slice(Literal(start) if start else None, stop),))
        raise ValueError(f"not an item of a list: {flat(first)}")


def _next(pattern: _Pattern) -> _Pattern:
    """Return the statement of the next turn, if there were one."""
    reads = tuple((*read[:-1], read[-1] + 1) for read in pattern.reads)
    return replace(pattern, reads=reads)


def _incoming(turn: Expr, first: Expr, targets: tuple[Expr, ...]) -> tuple[Statement, ...] | None:
    """Return what to assign to targets so that `turn` computes `first`; none if nothing does."""
    pairs: dict[Expr, Expr] = {}

    def same(one: object, other: object) -> bool:
        if isinstance(one, Name) and one in targets:
            return pairs.setdefault(one, cast(Expr, other)) == other
        if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
            return all(same(a, b) for a, b in zip(one, other, strict=True))
        if one == other or type(one) is not type(other) or not is_tree(one):
            return one == other
        return all(same(a, b) for a, b in zip(parts(one), parts(other), strict=True))

    if not same(turn, first):
        return None
    changes = {target: value for target, value in pairs.items() if target != value}
    read = names_in(tuple(changes.values()))
    if any(isinstance(target, Name) and target.id in read for target in changes):
        return None
    return tuple(Assign((target,), value) for target, value in changes.items())


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

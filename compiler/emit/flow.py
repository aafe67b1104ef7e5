"""A graph of FX nodes to statements: what is put in place, what gets a line and a name.

The order of the spec is kept. A value that is used once stands where it is used, unless the spec
gave it a name, a line grows too long, or another statement comes in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from attnc.compiler.emit.code import (
    Assign,
    Attribute,
    Call,
    DictOf,
    Expr,
    Index,
    ListOf,
    Name,
    Ref,
    Statement,
    Tree,
    TupleOf,
    literals_in,
    refs_in,
    rewrite,
    walk,
)
from attnc.compiler.emit.layout import WIDTH, links
from attnc.compiler.emit.text import flat

ROOM = WIDTH - 12
"""Columns for a value: what indents and targets leave, and some air."""
_SHORT = 50
"""Columns for a call that is taken an item of."""
_NAMED = 6
"""Columns by which the name of a parameter is longer than its value."""
_DEPTH = 4
"""How deep calls may nest."""
_LINKS = 7
"""How many calls a chain may have."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation.

    Attributes:
        node: what others call its result.
        value: over the results of earlier steps.
        targets: nodes that are its results, none for an unused one, where it has several.
        is_named: the spec gave the result a name, so that it gets a line.
        is_free: it costs nothing and may stand anywhere, any number of times.
        train: it runs in training mode only.
        turn: the turn of the loops it stands in.
        shape: of the result, for a comment.
    """

    node: str
    value: Expr
    targets: tuple[str | None, ...] = ()
    is_named: bool = False
    is_free: bool = False
    train: bool = False
    turn: tuple[int, ...] = ()
    shape: ListOf | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A statement whose targets and operands are still nodes.

    Attributes:
        train: it stands under `if self.training`.
    """

    statement: Statement
    train: bool = False


@dataclass(slots=True)
class _Waiting:
    """A value that waits to be put in place."""

    step: Step
    value: Expr
    turn: tuple[int, ...]


class Flow:
    """Turns steps into lines.

    Attributes:
        lines: in order.
        results: the expressions given for the end, with what goes in place there.
    """

    def __init__(self, steps: Iterable[Step], results: tuple[Expr, ...], room: int = ROOM) -> None:
        self._room = room
        self.lines: list[Line] = []
        self._waiting: dict[str, _Waiting] = {}
        self._free: dict[str, Expr] = {}
        steps = tuple(steps)
        self._uses = Counter(refs_in((*(step.value for step in steps), *results)))
        for step in steps:
            self._take(step)
        self.results = tuple(
            self._in_place(result, self._that_fit(result, self._wanted(result)))
            for result in results
        )

    def _take(self, step: Step) -> None:
        if step.is_free:
            self._free[step.node] = self._filled(step.value, {})
            return
        if not step.targets and not self._uses[step.node]:
            return
        wanted = self._wanted(step.value, step.train, step.turn)
        wanted = self._that_fit(step.value, wanted)
        turn = step.turn or next((w.turn for w in wanted if w.turn), ())
        value = self._in_place(step.value, wanted)
        if step.targets or step.is_named or self._uses[step.node] > 1:
            self._flush()
            self._write(step, value)
        else:
            self._waiting[step.node] = _Waiting(step, value, turn)

    def _wanted(
        self, value: Expr, train: bool = False, turn: tuple[int, ...] = ()
    ) -> list[_Waiting]:
        """Return the waiting values that may go into `value`; write the others of its operands."""
        found = []
        for node in refs_in(value):
            waiting = self._waiting.get(node)
            if waiting is None:
                continue
            same_turn = not turn or not waiting.turn or turn == waiting.turn
            if waiting.step.train == train and same_turn:
                found.append(waiting)
            else:
                self._flush(until=node)
        return [waiting for waiting in found if waiting.step.node in self._waiting]

    def _that_fit(self, value: Expr, wanted: list[_Waiting]) -> list[_Waiting]:
        """Write operands, first ones first, until the rest makes a line that reads well."""
        while wanted:
            trial = self._filled(value, {each.step.node: each.value for each in wanted})
            if _reads_well(trial, self._room):
                break
            self._flush(until=wanted[0].step.node)
            wanted = [each for each in wanted if each.step.node in self._waiting]
        return wanted

    def _in_place(self, value: Expr, wanted: list[_Waiting]) -> Expr:
        for each in wanted:
            del self._waiting[each.step.node]
        return self._filled(value, {each.step.node: each.value for each in wanted})

    def _filled(self, value: Expr, known: dict[str, Expr]) -> Expr:
        def change(expr: Expr) -> Expr | None:
            if not isinstance(expr, Ref):
                return None
            return known.get(expr.node) or self._free.get(expr.node)

        return rewrite(value, change)

    def _flush(self, until: str | None = None) -> None:
        """Write waiting values in order, up to `until` or all."""
        for node in list(self._waiting):
            waiting = self._waiting.pop(node)
            self._write(waiting.step, waiting.value)
            if node == until:
                return

    def _write(self, step: Step, value: Expr) -> None:
        targets = step.targets or (step.node,)
        refs = tuple(Ref(target) if target else Name("_") for target in targets)
        unpack = bool(step.targets)
        self.lines.append(Line(Assign(refs, value, step.shape, unpack), step.train))


def _reads_well(value: Expr, room: int) -> bool:
    """Say whether a value fits a line, or breaks nicely over several."""
    if isinstance(value, DictOf):
        return all(_reads_well(item, room) for _, item in value.items)
    if depth(value) > _DEPTH or any(map(_is_long_index, walk(value))):
        return False
    if width(value) <= room:
        return True
    if not isinstance(value, Call):
        return False
    chain = links(value)
    if len(chain) > 2:
        return len(chain) <= _LINKS and all(len(link.text) <= room for link in chain)
    return len(chain) == 1 and depth(value) <= 2 and _breaks_between_arguments(value, room)


def _is_long_index(part: Tree) -> bool:
    return isinstance(part, Index) and isinstance(part.base, Call) and width(part) > _SHORT


def _breaks_between_arguments(call: Call, room: int) -> bool:
    given = [*call.arguments, *(item for _, item in call.keywords)]
    items = [
        item
        for each in given
        for item in (each.items if isinstance(each, (TupleOf, ListOf)) else (each,))
    ]
    return len(items) > 1 and all(width(item) <= room // 2 for item in items)


def width(expr: Expr) -> int:
    """Return the columns that an expression takes, numbers being names once they are parameters."""
    values = [literal.value for literal in literals_in(expr)]
    numbers = [value for value in values if isinstance(value, int) and abs(value) > 1]
    return len(flat(expr)) + _NAMED * len(numbers)


def depth(expr: Expr) -> int:
    """Return how deep calls nest; a chain of methods counts once."""
    if isinstance(expr, Call):
        inner = [*expr.arguments, *(value for _, value in expr.keywords)]
        own = 1 + max(map(depth, inner), default=0)
        return max(own, depth(expr.function))
    if isinstance(expr, (Attribute, Index)):
        return depth(expr.base)
    parts = [getattr(expr, part) for part in ("left", "right", "operand") if hasattr(expr, part)]
    parts += getattr(expr, "items", ())
    return max((depth(part) for part in parts), default=0)

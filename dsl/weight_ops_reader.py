"""Reading the operations of a rule.

| operation | does |
|---|---|
| `{rearrange: "i h e -> (h e) i", h: heads}` | permutes, splits and merges axes of each tensor |
| `{split: 0}`, `{split: 0, sizes: [a, b]}` | cuts one tensor along axis 0; `concat` undoes it |
| `{concat: 0}`, `{concat: 0, sizes: [a, b]}` | puts tensors together along axis 0 |
| `{unstack: 0}`, `{stack: 0}` | the same with an axis that goes or comes |
| `{pad: 0, before: 1, after: 2}`, `{crop: 0, after: 2}` | adds zeros; cuts entries never read |
| `{reorder: 0, order: [2, 0, 1]}` | puts equal parts of an axis in another order |
| `tie`, `copy` | makes one tensor of several equal ones; repeats one |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import Collector
from attnc.dsl.plain_data import Record, whole, wrong_kind
from attnc.dsl.spans import Span
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.weight_ops import (
    Concat,
    Copy,
    Crop,
    Op,
    Pad,
    Rearrange,
    Reorder,
    Shape,
    Split,
    Stack,
    Tie,
    Unstack,
    read_rearrange,
)  # fmt: skip

PER_TENSOR = (Rearrange, Reorder, Pad, Crop)
"""Operations that take any number of tensors, each for itself."""


def read_ops(
    node: tree.Expr | None,
    counts: tuple[int, int],
    params: Mapping[str, object],
    collector: Collector,
    span: Span,
) -> tuple[Op, ...] | None:
    """Read operations that make `counts[1]` tensors of `counts[0]`.

    Returns:
        The operations, or none where something is wrong; it was reported.
    """
    if node is not None and not isinstance(node, tree.ListOf):
        wrong_kind(node, "ops", "a list of operations", collector)
        return None
    at_hand, wanted = counts
    ops: list[Op] = []
    for item in node.items if node is not None else ():
        written = _Written.of(item, params, collector)
        made = written.op(at_hand, wanted) if written else None
        if made is None:
            return None
        op, at_hand = made
        ops.append(op)
    if at_hand != wanted:
        detail = f"{at_hand} tensors for {wanted} names on the right"
        collector.add(codes.WEIGHT_RULE.at(span, detail=detail))
        return None
    return tuple(ops)


@dataclass(frozen=True, slots=True)
class _Written:
    """An operation as it is written: `{split: 0, sizes: [a, b]}`, or `tie` alone."""

    name: str
    record: Record
    params: Mapping[str, object]

    @classmethod
    def of(
        cls, item: tree.Expr, params: Mapping[str, object], collector: Collector
    ) -> _Written | None:
        """Open an operation; none where there is no such one, which is reported."""
        if isinstance(item, tree.Text):
            item = tree.MapOf(((item.value, tree.Nothing(item.span)),), item.span)
        record = Record.of(item, "an operation", collector)
        name = next(iter(record.items), "")
        if name in _OPS:
            record.take(name)
            return cls(name, record, params)
        hint = did_you_mean(name, _OPS) or f"operations: {', '.join(_OPS)}"
        collector.add(codes.WEIGHT_RULE.at(item.span, detail=f"no operation {name!r}", hint=hint))
        return None

    def op(self, at_hand: int, wanted: int) -> tuple[Op, int] | None:
        """Return the operation and how many tensors there are after it; none after a report.

        Args:
            at_hand: how many tensors there are before it.
            wanted: how many the rule shall end with.
        """
        reader, effect = _OPS[self.name]
        try:
            parts, after = effect(at_hand, wanted)
            made = reader(self, parts)
        except _WrongError as error:
            self.record.collector.add(codes.WEIGHT_RULE.at(self.record.span, detail=str(error)))
            return None
        except _ReportedError:
            return None
        self.record.close()
        return made, after

    def main(self) -> tree.Expr:
        """Return what stands beside the operation's name."""
        return self.record.items[self.name]

    def axis(self) -> int:
        """Return the axis that stands there."""
        return self._whole(self.main(), f"the axis of {self.name}")

    def number(self, key: str, default: int) -> int:
        """Return a whole number."""
        node = self.record.take(key)
        return default if node is None else self._whole(node, f"{key!r} of {self.name}")

    def sizes(self) -> Shape:
        """Return the list `sizes`, empty where there is none."""
        return self.numbers("sizes", "a size")

    def numbers(self, key: str, what: str) -> tuple[int, ...]:
        """Return a list of whole numbers, empty where there is none."""
        node = self.record.take(key)
        if node is None:
            return ()
        items = node.items if isinstance(node, tree.ListOf) else (node,)
        return tuple(self._whole(item, f"{what} of {self.name}") for item in items)

    def axes(self) -> dict[str, int]:
        """Return all further entries as sizes of axes."""
        names = [key for key in self.record.items if key != self.name]
        return {name: self.number(name, 0) for name in names}

    def _whole(self, node: tree.Expr, where: str) -> int:
        found = whole(node, where, self.params, self.record.collector)
        if found is None:
            raise _ReportedError
        return found


class _ReportedError(Exception):
    """Something is wrong, and was reported."""


class _WrongError(Exception):
    """Something is wrong; the message says what."""


def _rearrange(written: _Written, parts: int) -> Op:
    pattern = written.main()
    if not isinstance(pattern, tree.Text):
        raise _WrongError('rearrange takes a text such as "i h e -> (h e) i"')
    try:
        return read_rearrange(pattern.value, written.axes())
    except ValueError as error:
        raise _WrongError(str(error)) from None


def _reorder(written: _Written, parts: int) -> Op:
    order = written.numbers("order", "a part")
    if not order or sorted(order) != [*range(len(order))]:
        raise _WrongError("reorder takes `order`, a list that names each part once, from 0 on")
    return Reorder(written.axis(), order)


def _sized(kind: Callable[[int, int, Shape], Op]) -> _Reader:
    def read(written: _Written, parts: int) -> Op:
        sizes = written.sizes()
        if sizes and len(sizes) != parts:
            raise _WrongError(f"{len(sizes)} sizes for {parts} tensors")
        return kind(written.axis(), parts, sizes)

    return read


def _ended(kind: Callable[[int, int, int], Op]) -> _Reader:
    return lambda written, parts: kind(
        written.axis(), written.number("before", 0), written.number("after", 0)
    )


def _each(at_hand: int, wanted: int) -> tuple[int, int]:
    return 1, at_hand


def _join(at_hand: int, wanted: int) -> tuple[int, int]:
    return at_hand, 1


def _part(at_hand: int, wanted: int) -> tuple[int, int]:
    if at_hand != 1:
        raise _WrongError(f"takes one tensor; there are {at_hand}")
    return wanted, wanted


_Reader = Callable[[_Written, int], Op]
_Effect = Callable[[int, int], tuple[int, int]]
"""Tensors before, tensors wanted -> parts joined or made, tensors after."""

_OPS: Mapping[str, tuple[_Reader, _Effect]] = {
    "rearrange": (_rearrange, _each),
    "reorder": (_reorder, _each),
    "pad": (_ended(Pad), _each),
    "crop": (_ended(Crop), _each),
    "split": (_sized(Split), _part),
    "concat": (_sized(Concat), _join),
    "unstack": (lambda written, parts: Unstack(written.axis(), parts), _part),
    "stack": (lambda written, parts: Stack(written.axis(), parts), _join),
    "copy": (lambda written, parts: Copy(parts), _part),
    "tie": (lambda written, parts: Tie(parts), _join),
}

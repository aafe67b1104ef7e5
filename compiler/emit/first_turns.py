"""A first turn that differs from the others by what comes in becomes part of its loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from attnc.compiler.emit.code import (
    Assign,
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
)


def with_first_turns(statements: tuple[Statement, ...]) -> Iterator[Statement]:
    """Yield statements; a first turn that differs by what comes in joins its loop."""
    waiting: Statement | None = None
    for statement in statements:
        joined = None if waiting is None else _joined(waiting, statement)
        if joined is None and waiting is not None:
            yield waiting
        *before, waiting = joined or (statement,)
        yield from before
    if waiting is not None:
        yield waiting


def _joined(first: Statement, loop: Statement) -> tuple[Statement, ...] | None:
    """Return `x = a`, `for f in fs: x = f(x)` for `x = fs[0](a)`, `for f in fs[1:]: ...`."""
    match first, loop:
        case Assign(targets, made), For(
            (item,), Index(base, (Slice(Literal(1), stop),)), (Assign(carried, value) as turn,)
        ) if targets == carried:
            start = rewrite(value, lambda e: Index(base, (fixed(0),)) if e == Name(item) else None)
            incoming = _incoming(start, made, targets)
            if incoming is None:
                return None
            items = base if stop is None else Index(base, (Slice(None, stop),))
            return (*incoming, For((item,), items, (turn,)))
    return None


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

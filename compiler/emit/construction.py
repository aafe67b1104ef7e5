"""The statements of `__init__` that make what a block holds, in the order of the state dict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attnc.compiler.emit.code import (
    Assign,
    Attribute,
    Call,
    DictOf,
    Do,
    Each,
    Expr,
    ListOf,
    Literal,
    Name,
    Statement,
    TupleOf,
    dotted,
    literals_in,
    rewrite,
)
from attnc.compiler.emit.layout import WIDTH
from attnc.compiler.emit.members import SELF, Folder, Member, child
from attnc.compiler.emit.naming import identifier
from attnc.compiler.emit.text import flat

_ROOM = WIDTH - 36
"""Columns that a list of items may take before it is written as a generator."""


def statements(root: Folder, base: Expr = SELF) -> Iterator[Statement]:
    """Yield the statements that make all members."""
    for name, entry in root.entries.items():
        if isinstance(entry, Member):
            yield _made(base, name, entry)
            continue
        target = child(root, base, name)
        if entry.is_collection:
            yield Assign((target,), _collection(entry))
        else:
            yield Assign((target,), _container(entry))
            yield from statements(entry, target)


def _made(base: Expr, name: str, member: Member) -> Statement:
    if member.kind == "buffer":
        return Do(Call(Attribute(base, "register_buffer"), (Literal(name), member.made)))
    return Assign((Attribute(base, name),), _value(member))


def _container(folder: Folder) -> Expr:
    """Return a module, or a list of modules, that what the folder holds is put into."""
    blank = Member(Call(dotted("nn.Module")))
    if not folder.is_numbered or folder.has_buffers:
        return blank.made
    blanks = Folder()
    blanks.entries = dict.fromkeys(folder.entries, blank)
    return _collection(blanks)


def _value(member: Member) -> Expr:
    if member.kind == "parameter":
        return Call(dotted("nn.Parameter"), (member.made,))
    return member.made


# Collections ------------------------------------------------------------------------------


def _collection(folder: Folder) -> Expr:
    """Return a list or dict of modules or weights."""
    entries = list(folder.entries.values())
    made = [_value(entry) if isinstance(entry, Member) else _collection(entry) for entry in entries]
    weights = all(isinstance(entry, Member) and entry.kind == "parameter" for entry in entries)
    kind = "nn.Parameter" if weights else "nn.Module"
    if not folder.is_list:
        items = DictOf(tuple(zip(folder.entries, made, strict=True)))
        return Call(dotted(f"{kind}Dict"), (items,))
    return Call(dotted(f"{kind}List"), (_series(tuple(made)),))


def _series(made: tuple[Expr, ...]) -> Expr:
    """Return equal or nearly equal items as a generator, others as a list."""
    if all(item == made[0] for item in made):
        return Each(made[0], ("_",), Call(Name("range"), (Literal(len(made)),)))
    written = ListOf(made)
    calls = [item for item in made if isinstance(item, Call)]
    is_long = len(made) > 3 or len(flat(written)) > _ROOM
    varied = _varied(calls) if is_long and len(calls) == len(made) else None
    return varied or written


def _varied(calls: list[Call]) -> Each | None:
    """Return `Block(d, shift=shift) for shift in (0, 3)`, where calls differ in keywords only."""
    if len({rewrite(call, _blank) for call in calls}) > 1:
        return None
    first = calls[0]
    columns = list(zip(*map(literals_in, calls), strict=True))
    labels = {id(value): identifier(name) for name, value in first.keywords}
    differing = [column for column in columns if len(set(column)) > 1]
    if not all(id(column[0]) in labels for column in differing):
        return None
    names = {id(column[0]): labels[id(column[0])] for column in differing}
    rows = list(zip(*differing, strict=True))
    items = tuple(row[0] if len(row) == 1 else TupleOf(row) for row in rows)
    element = rewrite(first, lambda expr: _named(expr, names))
    return Each(element, tuple(names.values()), TupleOf(items))


def _blank(expr: Expr) -> Expr | None:
    return Name("_") if isinstance(expr, Literal) else None


def _named(expr: Expr, names: Mapping[int, str]) -> Expr | None:
    return Name(names[id(expr)]) if id(expr) in names else None

"""What `__init__` makes: modules, lists of modules, weights, in the order of the state dict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from attnc.compiler.emit.code import (
    Assign,
    Attribute,
    Call,
    DictOf,
    Do,
    Each,
    Expr,
    Index,
    ListOf,
    Literal,
    Name,
    Statement,
    TupleOf,
    dotted,
    fixed,
    literals_in,
    rewrite,
)
from attnc.compiler.emit.layout import WIDTH
from attnc.compiler.emit.naming import identifier
from attnc.compiler.emit.text import flat

SELF = Name("self")


@dataclass(frozen=True, slots=True)
class Member:
    """A module or weight.

    Attributes:
        made: the constructor of a module, or the tensor of a weight.
        kind: `module`, `parameter` or `buffer`.
    """

    made: Expr
    kind: str = "module"


class Folder:
    """What stands under one name: members and further folders. Add all before asking."""

    def __init__(self) -> None:
        self.entries: dict[str, Folder | Member] = {}

    def add(self, path: str, member: Member) -> None:
        """Put a member at a path."""
        first, _, rest = path.partition(".")
        if not rest:
            self.entries[first] = member
            return
        inner = self.entries.setdefault(first, Folder())
        if isinstance(inner, Folder):
            inner.add(rest, member)

    @cached_property
    def is_list(self) -> bool:
        """Say whether the names are 0, 1, 2 ..."""
        return list(self.entries) == [str(number) for number in range(len(self.entries))]

    @cached_property
    def is_numbered(self) -> bool:
        """Say whether all names are numbers, with gaps or not."""
        return all(name.isdigit() for name in self.entries)


def reference(root: Folder, path: str) -> Expr:
    """Return the expression that reads what is at `path`: `self.blocks[3]`."""
    expr: Expr = SELF
    here: Folder | Member = root
    for name in path.split("."):
        numbered = isinstance(here, Folder) and here is not root and here.is_numbered
        is_list = isinstance(here, Folder) and here.is_list
        if numbered:
            position = fixed(int(name) if is_list else name)
            expr = Index(expr, (position,))
        else:
            expr = Attribute(expr, name)
        if isinstance(here, Folder) and name in here.entries:
            here = here.entries[name]
    return expr


def lists(root: Folder, base: Expr = SELF) -> Iterator[tuple[str, int]]:
    """Yield `self.blocks` and the like with their lengths."""
    for name, entry in root.entries.items():
        if not isinstance(entry, Folder):
            continue
        inside = root.is_list and base is not SELF
        here = Index(base, (Literal(int(name)),)) if inside else Attribute(base, name)
        if entry.is_list:
            yield flat(here), len(entry.entries)
        yield from lists(entry, here)


def statements(root: Folder, base: Expr = SELF) -> Iterator[Statement]:
    """Yield the statements that make all members."""
    for name, entry in root.entries.items():
        target = Attribute(base, name)
        if isinstance(entry, Member):
            yield _made(base, name, entry)
        elif entry.is_numbered:
            yield Assign((target,), collection(entry))
        else:
            yield Assign((target,), Call(dotted("nn.Module")))
            yield from statements(entry, target)


def _made(base: Expr, name: str, member: Member) -> Statement:
    if member.kind == "buffer":
        call = Call(Attribute(base, "register_buffer"), (Literal(name), member.made))
        return Do(call)
    return Assign((Attribute(base, name),), _value(member))


def _value(member: Member) -> Expr:
    if member.kind == "parameter":
        return Call(dotted("nn.Parameter"), (member.made,))
    return member.made


def collection(folder: Folder) -> Expr:
    """Return a list or dict of modules or weights."""
    entries = list(folder.entries.values())
    made = [_value(entry) if isinstance(entry, Member) else collection(entry) for entry in entries]
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
    varied = _varied(made)
    if varied is not None and (len(made) > 3 or len(flat(written)) > WIDTH - 36):
        return varied
    return written


def _varied(made: tuple[Expr, ...]) -> Each | None:
    """Return `Block(d, shift=shift) for shift in (0, 3)`, where items differ in keywords only."""
    if not all(isinstance(item, Call) for item in made):
        return None
    calls = [item for item in made if isinstance(item, Call)]
    first = calls[0]
    columns = [tuple(literals_in(call)) for call in calls]
    if len({_bare(call) for call in calls}) > 1:
        return None
    names: dict[int, str] = {}
    given = dict(enumerate(literals_in(first)))
    for name, value in first.keywords:
        at = next((at for at, literal in given.items() if literal is value), None)
        if at is not None and len({column[at] for column in columns}) > 1:
            names[at] = identifier(name)
    differing = {at for at in given if len({column[at] for column in columns}) > 1}
    if differing != set(names) or not names:
        return None
    element = rewrite(first, lambda expr: _named(expr, given, names))
    rows = [tuple(column[at] for at in sorted(names)) for column in columns]
    items = tuple(row[0] if len(row) == 1 else TupleOf(row) for row in rows)
    return Each(element, tuple(names[at] for at in sorted(names)), TupleOf(items))


def _bare(call: Call) -> Expr:
    return rewrite(call, lambda expr: Name("_") if isinstance(expr, Literal) else None)


def _named(expr: Expr, given: Mapping[int, Literal], names: Mapping[int, str]) -> Expr | None:
    return next((Name(names[at]) for at in names if given[at] is expr), None)

"""What a block holds, by name: modules, weights, and lists of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from attnc.compiler.emit.code import (
    Attribute,
    Call,
    Expr,
    Index,
    Name,
    fixed,
)
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

    @cached_property
    def has_buffers(self) -> bool:
        """Say whether buffers are among what it holds itself; torch has no lists of buffers."""
        return any(isinstance(e, Member) and e.kind == "buffer" for e in self.entries.values())

    @cached_property
    def is_collection(self) -> bool:
        """Say whether it is a list or dict of modules or weights."""
        inner = [entry for entry in self.entries.values() if isinstance(entry, Folder)]
        return self.is_numbered and not self.has_buffers and all(e.is_collection for e in inner)


def child(folder: Folder, base: Expr, name: str) -> Expr:
    """Return the expression that reads an entry of a folder that `base` stands for."""
    if base == SELF or not folder.is_numbered:
        return Attribute(base, name)
    if folder.has_buffers:
        return Call(Attribute(base, "get_buffer"), (fixed(name),))
    return Index(base, (fixed(int(name) if folder.is_list else name),))


def reference(root: Folder, path: str) -> Expr:
    """Return the expression that reads what is at `path`: `self.blocks[3]`."""
    expr: Expr = SELF
    here: Folder | Member | None = root
    for name in path.split("."):
        if isinstance(here, Folder):
            expr, here = child(here, expr, name), here.entries.get(name)
        else:
            expr = Attribute(expr, name)
    return expr


def lists(root: Folder, base: Expr = SELF) -> Iterator[tuple[str, int]]:
    """Yield `self.blocks` and the like with their lengths."""
    for name, entry in root.entries.items():
        if isinstance(entry, Folder):
            here = child(root, base, name)
            if entry.is_list and not entry.has_buffers:
                yield flat(here), len(entry.entries)
            yield from lists(entry, here)

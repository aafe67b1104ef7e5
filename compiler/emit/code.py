"""The Python that is emitted, as a tree: expressions and statements, no more than models need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from enum import Enum, auto
from typing import TypeVar, Union, cast, get_args

Constant = Union[int, float, bool, str, None]


class Role(Enum):
    """What a literal is to the code around it."""

    NUMBER = auto()
    """It may become a parameter."""
    SIZE = auto()
    """The same; it is the size of a tensor."""
    TAKEN = auto()
    """The same; it is a size of what a layer takes, of which the spec is silent."""
    NOTE = auto()
    """It stands in a comment: a size, or the name of one."""
    STRUCTURE = auto()
    """It belongs to the code's structure, as an axis does, and never becomes a parameter."""


# Expressions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    """`x`, `torch`."""

    id: str


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of an FX node, until it gets a name or is put in place."""

    node: str


@dataclass(frozen=True, slots=True)
class Literal:
    """`384`, `"nearest"`, `None`.

    Attributes:
        said: the expression of the spec that asked for it.
        role: what it may become.
    """

    value: Constant
    said: Expr | None = field(compare=False, repr=False, default=None)
    role: Role = field(compare=False, default=Role.NUMBER)

    @property
    def is_fixed(self) -> bool:
        """Say whether it stays as it is in all bodies of a block."""
        return self.role is Role.STRUCTURE


@dataclass(frozen=True, slots=True)
class Dots:
    """`...`."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """`base.name`."""

    base: Expr
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """`function(*arguments, **keywords)`."""

    function: Expr
    arguments: tuple[Expr, ...] = ()
    keywords: tuple[tuple[str, Expr], ...] = ()


@dataclass(frozen=True, slots=True)
class Index:
    """`base[items]`."""

    base: Expr
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """`start:stop:step` inside an index."""

    start: Expr | None = None
    stop: Expr | None = None
    step: Expr | None = None


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x`, `~x`."""

    operator: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary:
    """`left * right`; also comparisons."""

    operator: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class TupleOf:
    """`(a, b)`."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class DictOf:
    """`{"a": x}`."""

    items: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Each:
    """`element for targets in iterable`, the only argument of a call."""

    element: Expr
    targets: tuple[str, ...]
    iterable: Expr


Expr = Union[
    Name, Ref, Literal, Dots, Attribute, Call, Index, Slice, Unary, Binary, TupleOf, ListOf,
    DictOf, Each,
]  # fmt: skip


# Statements -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign:
    """`targets = value  # shape`. A target is a name, `_`, or an attribute of self.

    Attributes:
        shape: of the value, to be shown in a comment.
        unpack: the value is taken apart, even where there is a single target.
    """

    targets: tuple[Expr, ...]
    value: Expr
    shape: ListOf | None = None
    unpack: bool = False


@dataclass(frozen=True, slots=True)
class Do:
    """An expression for its effect."""

    value: Expr


@dataclass(frozen=True, slots=True)
class Return:
    """`return value`."""

    value: Expr


@dataclass(frozen=True, slots=True)
class If:
    """`if condition:`."""

    condition: Expr
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class For:
    """`for targets in iterable:`."""

    targets: tuple[str, ...]
    iterable: Expr
    body: tuple[Statement, ...]


Statement = Union[Assign, Do, Return, If, For]
Tree = Union[Expr, Statement]


# Walking ----------------------------------------------------------------------------------

AnyTree = TypeVar("AnyTree", bound="Tree | tuple[Tree, ...]")

_EXPRESSIONS = get_args(Expr)
_NODES = (*_EXPRESSIONS, *get_args(Statement))
_PARTS = {node: tuple(part.name for part in fields(node) if part.compare) for node in _NODES}


def rewrite(tree: AnyTree, change: Callable[[Expr], Expr | None]) -> AnyTree:
    """Rebuild a tree, top down: where `change` gives an expression it stands in for the old one."""
    return cast(AnyTree, _rewritten(tree, change))


def _rewritten(part: object, change: Callable[[Expr], Expr | None]) -> object:
    if isinstance(part, tuple):
        items = [_rewritten(item, change) for item in part]
        same = all(new is old for new, old in zip(items, part, strict=True))
        return part if same else tuple(items)
    if not isinstance(part, _NODES):
        return part
    changed = change(part) if isinstance(part, _EXPRESSIONS) else None
    if changed is not None:
        return changed
    new = {}
    for name in _PARTS[type(part)]:
        old = getattr(part, name)
        rebuilt = _rewritten(old, change)
        if rebuilt is not old:
            new[name] = rebuilt
    return replace(part, **new) if new else part


def is_tree(part: object) -> bool:
    """Say whether something is an expression or statement."""
    return isinstance(part, _NODES)


def parts(tree: object) -> tuple[object, ...]:
    """Return what an expression or statement consists of, in the order in which it is written."""
    return tuple(getattr(tree, name) for name in _PARTS[type(tree)])


def walk(tree: object) -> Iterator[Tree]:
    """Yield a tree and all below it, in the order in which it is written."""
    if isinstance(tree, tuple):
        for item in tree:
            yield from walk(item)
    elif isinstance(tree, _NODES):
        yield tree
        for part in parts(tree):
            yield from walk(part)


def names_in(tree: object) -> set[str]:
    """Return the names that a tree reads or writes."""
    return {part.id for part in walk(tree) if isinstance(part, Name)}


def refs_in(tree: object) -> list[str]:
    """Return the nodes that a tree refers to, once for each occurrence, in order."""
    return [part.node for part in walk(tree) if isinstance(part, Ref)]


def literals_in(tree: object) -> list[Literal]:
    """Return the literals of a tree that may become parameters, in order."""
    return [part for part in walk(tree) if isinstance(part, Literal) and not part.is_fixed]


def fixed(value: Constant) -> Literal:
    """Return a literal that never becomes a parameter."""
    return Literal(value, role=Role.STRUCTURE)


def dotted(path: str) -> Expr:
    """Return the expression `a.b.c`."""
    first, *rest = path.split(".")
    expr: Expr = Name(first)
    for name in rest:
        expr = Attribute(expr, name)
    return expr

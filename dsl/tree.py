"""The surface tree: what both notations give, and what `fmt` prints. Every node has its span.

Nodes compare by content; spans and comments are left out of the comparison, so that
`parse(print(tree)) == tree` says just what it means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from attnc.dsl.spans import Span

Comments = tuple[str, ...]


# Expressions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """`12`, `1e-5`. An int stays an int."""

    value: int | float
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Text:
    """`"b n (h d) -> b h n d"`."""

    value: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Flag:
    """`true` or `false`."""

    value: bool
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Nothing:
    """`none`."""

    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A param, dim, tensor, list, operator or block."""

    id: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Star:
    """`*` or `*s` in a shape: any number of leading axes."""

    id: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`: a list, or a shape in an annotation."""

    items: tuple[Expr, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class MapOf:
    """`{key: value}`: keys are plain strings, in order. `comments` stand above the entries."""

    items: tuple[tuple[str, Expr], ...]
    span: Span = field(compare=False, repr=False)
    key_spans: tuple[Span, ...] = field(compare=False, repr=False, default=())
    comments: tuple[Comments, ...] = field(compare=False, repr=False, default=())


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call: positional where `name` is none."""

    name: str | None
    value: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """`linear(x, 64, bias=false)`; the function is a name or an attribute."""

    function: Expr
    arguments: tuple[Argument, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Use:
    """`use encoder(heads=8)`: one instance with one set of weights."""

    call: Call
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Slice:
    """`a:b:c` inside an index; each part may be missing."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Index:
    """`x[:, 0:1]`."""

    base: Expr
    items: tuple[Expr, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Attribute:
    """`topk(x, 4).index`."""

    base: Expr
    name: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x`, `not x`."""

    operator: str
    operand: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """`+ - * / // % **`, `== != < <= > >=`, `and or`, left to right as in Python."""

    operator: str
    left: Expr
    right: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Conditional:
    """`a if cond else b`, decided at compile time."""

    condition: Expr
    then: Expr
    otherwise: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Labelled:
    """`linear(x, 64) @fc1`; the label is a path with dots where it is quoted: `@"blocks.0"`."""

    value: Expr
    label: str
    span: Span = field(compare=False, repr=False)


Expr = Union[
    Number, Text, Flag, Nothing, Name, Star, ListOf, MapOf, Call, Use, Slice, Index, Attribute,
    Unary, Binary, Conditional, Labelled,
]  # fmt: skip


# Statements -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign:
    """`a, b = value`, `x += value`, `x: [b, n, d] = value`, `x[:, 0:1] = value`.

    A target is a Name, or an Index for a functional update of a slice.
    """

    targets: tuple[Expr, ...]
    operator: str
    value: Expr
    annotation: ListOf | None
    span: Span = field(compare=False, repr=False)
    comments: Comments = field(compare=False, default=(), repr=False)
    trailing: str | None = field(compare=False, default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Repeat:
    """`repeat count share as i { ... }`."""

    count: Expr
    index: str | None
    share: bool
    body: tuple[Statement, ...]
    span: Span = field(compare=False, repr=False)
    comments: Comments = field(compare=False, default=(), repr=False)
    trailing: str | None = field(compare=False, default=None, repr=False)


@dataclass(frozen=True, slots=True)
class For:
    """`for a, g in layers { ... }` over a compile-time list."""

    targets: tuple[str, ...]
    iterable: Expr
    body: tuple[Statement, ...]
    span: Span = field(compare=False, repr=False)
    comments: Comments = field(compare=False, default=(), repr=False)
    trailing: str | None = field(compare=False, default=None, repr=False)


@dataclass(frozen=True, slots=True)
class If:
    """`if cond { ... } else { ... }`, decided at compile time. `else if` nests."""

    condition: Expr
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]
    span: Span = field(compare=False, repr=False)
    comments: Comments = field(compare=False, default=(), repr=False)
    trailing: str | None = field(compare=False, default=None, repr=False)


@dataclass(frozen=True, slots=True)
class When:
    """`when train { ... }`: runs in training mode only."""

    body: tuple[Statement, ...]
    span: Span = field(compare=False, repr=False)
    comments: Comments = field(compare=False, default=(), repr=False)
    trailing: str | None = field(compare=False, default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Exit:
    """`exit aux = head(x)`: an extra output with a cut point."""

    name: str
    value: Expr
    span: Span = field(compare=False, repr=False)
    comments: Comments = field(compare=False, default=(), repr=False)
    trailing: str | None = field(compare=False, default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Return:
    """`return a, b`: the last statement of a block."""

    values: tuple[Expr, ...]
    span: Span = field(compare=False, repr=False)
    comments: Comments = field(compare=False, default=(), repr=False)
    trailing: str | None = field(compare=False, default=None, repr=False)


Statement = Union[Assign, Repeat, For, If, When, Exit, Return]


# Declarations -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Param:
    """A compile-time value.

    Attributes:
        default: an expression of earlier params; none where a value must be given.
        type: `int`, `float`, `bool`, `string`, `list`, `map`, `op` or none for any.
        minimum, maximum: bounds of a number, or of every number in a list.
        choices: the texts or numbers allowed, also as items of a list.
        fixed: the default is the only value.
    """

    name: str
    default: Expr | None
    span: Span = field(compare=False, repr=False)
    type: str | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    choices: tuple[str | int | float, ...] = ()
    doc: str | None = None
    comments: Comments = field(compare=False, default=(), repr=False)
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """A named set of overrides of params, with claims about it."""

    name: str
    overrides: tuple[tuple[str, Expr], ...]
    claims: MapOf | None
    span: Span = field(compare=False, repr=False)
    doc: str | None = None
    comments: Comments = field(compare=False, default=(), repr=False)
    key_spans: tuple[Span, ...] = field(compare=False, repr=False, default=())


@dataclass(frozen=True, slots=True)
class Port:
    """A tensor that a model or block takes: `x: [b, n, d]`.

    Without a shape a port takes any tensor, or a list of tensors. `optional` marks
    `x: [b, n, d] = none` of a block; `condition` says for which params a model takes it:
    `mask: [b, n] bool if masked`.
    """

    name: str
    shape: ListOf | None
    span: Span = field(compare=False, repr=False)
    dtype: str = "float"
    optional: bool = False
    condition: Expr | None = None
    comments: Comments = field(compare=False, default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Block:
    """A named, parametric sub-graph."""

    name: str
    ports: tuple[Port, ...]
    params: tuple[Param, ...]
    results: tuple[ListOf, ...]
    body: tuple[Statement, ...]
    span: Span = field(compare=False, repr=False)
    doc: str | None = None
    comments: Comments = field(compare=False, default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Output:
    """`output logits = linear(x, classes) @head`."""

    name: str
    value: Expr
    span: Span = field(compare=False, repr=False)
    comments: Comments = field(compare=False, default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole file. `paper`, `weights` and `parity` are plain data, read where they are used."""

    model: str
    span: Span = field(compare=False, repr=False)
    version: int = 1
    doc: str | None = None
    paper: MapOf | None = None
    params: tuple[Param, ...] = ()
    variants: tuple[Variant, ...] = ()
    inputs: tuple[Port, ...] = ()
    blocks: tuple[Block, ...] = ()
    graph: tuple[Statement, ...] = ()
    outputs: tuple[Output, ...] = ()
    weights: MapOf | None = None
    parity: MapOf | None = None
    comments: Comments = field(compare=False, default=(), repr=False)
    library: bool = False
    """A file of blocks only, as those of the standard library: no model."""

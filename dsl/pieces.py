"""What one item parses to: a statement, or a declaration before it is checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from attnc.dsl import tree
from attnc.dsl.spans import Span
from attnc.dsl.tree import Comments, Expr, ListOf, MapOf, Name, Output, Port, Statement


@dataclass(frozen=True, slots=True)
class VersionLine:
    """`attnc 1`."""

    number: int | float
    span: Span
    comments: Comments = ()


@dataclass(frozen=True, slots=True)
class DocLine:
    """`doc "prose"`."""

    text: str
    span: Span
    comments: Comments = ()


@dataclass(frozen=True, slots=True)
class ParamHeader:
    """`heads: int = 8 {min: 1}`; `facts` are what stands in the braces."""

    name: str
    type: Name | None
    default: Expr | None
    facts: MapOf | None
    span: Span
    comments: Comments = ()


@dataclass(frozen=True, slots=True)
class ModelHeader:
    """`model vit(size = 224) { ... }`."""

    name: str
    params: tuple[ParamHeader, ...]
    body: tuple[Piece, ...]
    span: Span
    comments: Comments = ()


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """`block mlp(x: [*, d]; ratio = 4) -> [*, d] { ... }`."""

    name: str
    ports: tuple[Port, ...]
    params: tuple[ParamHeader, ...]
    results: tuple[ListOf, ...]
    body: tuple[Piece, ...]
    span: Span
    comments: Comments = ()


@dataclass(frozen=True, slots=True)
class VariantHeader:
    """`variant small { dim = 192 }`."""

    name: str
    body: tuple[Piece, ...]
    span: Span
    comments: Comments = ()


@dataclass(frozen=True, slots=True)
class InputLine:
    """`input image: [b, 3, size, size]`."""

    port: Port
    span: Span
    comments: Comments = ()


Declaration = Union[
    VersionLine, DocLine, ModelHeader, BlockHeader, VariantHeader, InputLine, Output
]

Piece = Union[Statement, Declaration]

STATEMENTS = (
    tree.Assign, tree.Repeat, tree.For, tree.If, tree.When, tree.Exit, tree.Return,
)  # fmt: skip
"""The classes of `Statement`, to ask for at run time."""

DECLARATIONS = (
    VersionLine, DocLine, ModelHeader, BlockHeader, VariantHeader, InputLine, tree.Output,
)  # fmt: skip
"""The classes of `Declaration`, to ask for at run time."""

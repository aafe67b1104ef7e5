"""What an expression of the language may evaluate to, besides Python's scalars, lists and maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attnc.dsl.attention import Domain, Grid, ScoreTree, Source
from attnc.dsl.dims import Dim
from attnc.dsl.graph import Value
from attnc.dsl.tree import Block


class Poison:
    """Stands for a value whose computation failed and was reported; spreads without a word."""

    def __repr__(self) -> str:
        return "POISON"


POISON = Poison()


@dataclass(frozen=True, slots=True)
class OpRef:
    """An operator of the table, as a value: `act = gelu`."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Home:
    """The blocks that one file declares; they see each other and the standard library."""

    name: str
    blocks: Mapping[str, Block]


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block with the file it stands in."""

    home: Home
    name: str

    @property
    def block(self) -> Block:
        """The declaration."""
        return self.home.blocks[self.name]


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """`use f(...)`: one set of weights under `path`; calls share it."""

    function: OpRef | BlockRef
    positional: tuple[object, ...]
    keywords: Mapping[str, object]
    path: str
    owner: object


class Fields(tuple[object, ...]):
    """Several results, by position and by name: `topk(x, 4).index`."""

    names: tuple[str, ...]

    def __new__(cls, values: tuple[object, ...], names: tuple[str, ...]) -> Fields:
        """Pair `values` with `names`."""
        made = super().__new__(cls, values)
        made.names = names
        return made


@dataclass(frozen=True, slots=True)
class Captured:
    """A tree of the score language, with the tensors it loads by name."""

    tree: ScoreTree
    tensors: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True)
class DomainValue:
    """A domain, with the tensors its condition loads."""

    domain: Domain
    tensors: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True)
class SourceValue:
    """A key and value stream of `attend`, with the tensors its expressions load.

    k is none where the products with it are given. The domain is placed on the grid, and names
    such as `iy` and `slot` get their meaning, when the queries are known.
    """

    k: Value | None
    v: Value
    source: Source
    tensors: tuple[tuple[str, Value], ...] = ()
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class TrainOnly:
    """A name bound inside `when train`, seen from outside."""

    name: str


@dataclass(slots=True)
class Words:
    """Nouns for error messages."""

    table: Mapping[type, str] = field(
        default_factory=lambda: {
            bool: "a truth value", int: "a whole number", float: "a number", str: "a text",
            list: "a list", tuple: "a list", dict: "a map", Dim: "a size", Value: "a tensor",
            OpRef: "an operator", BlockRef: "a block", Instance: "an instance",
            DomainValue: "a domain", Captured: "a score expression", SourceValue: "a source",
            Fields: "several results", type(None): "none", TrainOnly: "a training value",
        }
    )  # fmt: skip


_WORDS = Words()


def noun(value: object) -> str:
    """Return what to call a value in a message: `a tensor [b, n, 384]`, `the text "x"`, `-4`."""
    if isinstance(value, Value):
        return f"a tensor {value.type}"
    if isinstance(value, (bool, int, float)):
        return shown(value)
    if isinstance(value, str):
        return f'the text "{value}"'
    if isinstance(value, (Dim,)):
        return f"the size {value}"
    return _WORDS.table.get(type(value), "something else")


def shown(value: object) -> str:
    """Return a compile-time value as the language writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (OpRef, BlockRef)):
        return value.name
    if isinstance(value, Value):
        return str(value.type)
    return str(value)

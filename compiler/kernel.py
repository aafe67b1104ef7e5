"""What the compiler and the backends say to each other about one attention node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Union

from attnc.dsl.attention import Attention
from attnc.dsl.graph import TensorType


@dataclass(frozen=True, slots=True)
class Target:
    """Where a module shall run: `cpu`, `cuda:90` or `hip:gfx942`.

    Attributes:
        kind: `cpu`, `cuda` or `hip`.
        arch: `90`, `gfx942`; empty for the CPU.
    """

    kind: str = "cpu"
    arch: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.arch}" if self.arch else self.kind


@dataclass(frozen=True, slots=True)
class Site:
    """An attention node as a backend sees it. Sizes may be symbolic.

    Attributes:
        name: a Python identifier for the kernel's entry function.
        attention: what to compute.
        q: [b, h, n, d].
        sources: (k [b, hk, m, d], v [b, hk, m, e]) for each source. Where `attention.given`, q
            is [b, h, n, m] and k, the identity [b, hk, m, m], is no operand.
        tensors: captured tensors, in the order of `attention.tensors`.
        vq: [b, h, n, f], the values of the query side, where there is a result `back`.
    """

    name: str
    attention: Attention
    q: TensorType
    sources: tuple[tuple[TensorType, TensorType], ...]
    tensors: tuple[TensorType, ...] = ()
    vq: TensorType | None = None


@dataclass(frozen=True, slots=True)
class Yes:
    """The backend can, exactly.

    Attributes:
        reasons: what speaks for it.
        reads: operands whose rows kernels can change as they read them (`Attention.prologues`) ->
            how often a forward pass reads each row; none where sizes that are not known tell.
    """

    reasons: tuple[str, ...] = ()
    reads: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class No:
    """The backend cannot, and why: each reason says what it would take."""

    reasons: tuple[str, ...]


Answer = Union[Yes, No]


Taken = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Target -> kernel -> `registers` per thread, `spills` (instructions that move registers to memory
and back), `shared` (bytes of memory per program), `tensor_core` (matrix instructions)."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Python text that computes one site.

    The entry is called as `name(q, k0, v0, k1, v1, ..., *tensors)`, with `vq` before the tensors
    and without `k0` where the site says so (`compiler.sites.site_operands` has the order). It
    returns `out`, or a tuple in the order of `attention.outputs` where there are several.

    Attributes:
        backend: who made it.
        name: the entry function.
        source: text for kernels.py, formatted; empty where `call` says it all.
        imports: import lines that the source needs, besides `import torch`.
        call: an inline expression with holes `{q} {k0} {v0} {vq} {t0}`; none to call the entry.
        resources: what the kernels take of a card, where measured.
    """

    backend: str
    name: str
    source: str = ""
    imports: tuple[str, ...] = ()
    call: str | None = None
    resources: Taken = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MachineCode:
    """Kernels compiled ahead, in a file of their own beside kernels.py.

    Attributes:
        file: its name.
        loader: text for the end of kernels.py, which makes use of the file.
        imports: import lines that the loader needs.
        build: from the whole text of kernels.py to the content of the file.
    """

    file: str
    loader: str
    imports: tuple[str, ...]
    build: Callable[[str], bytes]


class Backend(Protocol):
    """A way to compute attention nodes. One folder under backends/."""

    @property
    def name(self) -> str:
        """`reference`, `sdpa`, `triton` ..."""
        ...

    def can(self, site: Site, target: Target) -> Answer:
        """Say whether this backend computes the site exactly on the target, and why (not)."""
        ...

    def build(self, site: Site, target: Target) -> Kernel:
        """Generate the kernel; `can` must have said yes."""
        ...

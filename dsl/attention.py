"""The one attention operator in five pieces, as data: streams, domain, score, normaliser, reduction.

q: [b, h, n, d]; of each source k: [b, hk, m, d], v: [b, hk, m, e] with hk dividing h (head `x`
of q reads head `x // (h // hk)` of k and v); result: [b, h, n, e].

    s_ij = score(q_i . k_j, i, j, ...)      where mask and domain allow the pair, else -inf
    w_ij = normalise_j(s_ij)                statistics in float32 or better
    o_i  = sum_j w_ij v_j

Contracts: a query with no key gives output 0, gradient 0 and lse -inf; lse is differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from attnc.dsl.dims import Size

# The score and mask mini-language, typed --------------------------------------------------


@dataclass(frozen=True, slots=True)
class Constant:
    """A number or truth value known at compile time."""

    value: float | int | bool

    @property
    def type(self) -> str:
        """`bool`, `int` or `float`."""
        return type(self.value).__name__


@dataclass(frozen=True, slots=True)
class Extent:
    """A size that may be symbolic, such as the number of keys."""

    size: Size

    @property
    def type(self) -> str:
        """Always `int`."""
        return "int"


@dataclass(frozen=True, slots=True)
class Coordinate:
    """`i` query, `j` key, `h` head (of q), `b` batch: int indices of the pair at hand."""

    name: str

    @property
    def type(self) -> str:
        """Always `int`."""
        return "int"


@dataclass(frozen=True, slots=True)
class Dot:
    """`qk`: the product q_i . k_j, unscaled."""

    @property
    def type(self) -> str:
        """Always `float`."""
        return "float"


@dataclass(frozen=True, slots=True)
class Load:
    """`bias[h, i - j + 7]`: an element of a tensor of the graph. Rank 0 has no indices."""

    tensor: str
    indices: tuple["ScoreTree", ...]
    dtype: str = "float"

    @property
    def type(self) -> str:
        """`float`, `int` or `bool`: that of the tensor."""
        return self.dtype


@dataclass(frozen=True, slots=True)
class Apply:
    """A function of the mini-language applied to trees; see `scorelang.FUNCTIONS`."""

    function: str
    arguments: tuple["ScoreTree", ...]
    type: str


ScoreTree = Union[Constant, Extent, Coordinate, Dot, Load, Apply]


# Domains: which pairs ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class All:
    """Every key for every query."""


@dataclass(frozen=True, slots=True)
class Causal:
    """Keys j <= i + offset."""

    offset: Size = 0


@dataclass(frozen=True, slots=True)
class Band:
    """Keys i - left <= j <= i + right."""

    left: Size
    right: Size


@dataclass(frozen=True, slots=True)
class Where:
    """Keys for which a boolean tree holds."""

    condition: ScoreTree


Domain = Union[All, Causal, Band, Where]


# Normalisers ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SoftmaxKeys:
    """exp(s_ij - m_i) / sum_j exp(s_ij - m_i)."""


Normaliser = Union[SoftmaxKeys]


# The operator -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """One key and value stream under the query.

    Attributes:
        domain: the pairs considered.
        score: float tree; `qk * scale` unless stated.
        mask: bool tree that a pair must satisfy besides the domain, or none.
        weight: factor of this source's result where sources are summed: a number, or a
            float tree of `b` and `h` (a learned or given scalar).
    """

    domain: Domain
    score: ScoreTree
    mask: ScoreTree | None = None
    weight: ScoreTree | None = None


@dataclass(frozen=True, slots=True)
class Attention:
    """What an `attend` node computes. Tensors are named; the node holds the values.

    Attributes:
        sources: at least one.
        join: `softmax`, one softmax over the union of all keys, or `sum`, each source
            normalised alone, results added.
        tensors: names of captured tensors that scores and masks load, in argument order.
        outputs: `out` and any of `weights` [b, h, n, m], `scores` [b, h, n, m] (masked pairs
            -inf; m over all sources in order), `lse` [b, h, n].
    """

    sources: tuple[Source, ...]
    join: str = "softmax"
    normaliser: Normaliser = SoftmaxKeys()
    tensors: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("out",)

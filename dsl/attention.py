"""The attention operator in five pieces, as data: streams, domain, score, normaliser, reduction.

q: [b, h, n, d]; of each source k: [b, hk, m, d], v: [b, hk, m, e] with hk dividing h (head `x`
of q reads head `x // (h // hk)` of k and v); result: [b, h, n, e].

    s_ij = score(q_i . k_j, i, j, ...)      where mask and domain allow the pair, else -inf
    w_ij = normalise(s)_ij                  statistics in float32 or better
    w_ij = post(w_ij, i, j, ...)            if stated; a pair that is not allowed weighs 0
    o_i  = sum_j w_ij v_j

Contracts: a query with no key gives output 0, gradient 0 and lse -inf, whatever the normaliser;
so does a key with no query where queries are normalised over. A sink counts in lse, also of a
query with no key. lse is differentiable. Of equal scores arg-max takes the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from attnc.dsl.dims import Shape, Size
from attnc.dsl.prologues import Prologue

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


FRACTIONS = ("fz", "fy", "fx")
"""How far behind a whole position the centre of a sampled box lies, along each axis."""


@dataclass(frozen=True, slots=True)
class Coordinate:
    """`i` query, `j` key, `h` head (of q), `b` batch: int indices of the pair at hand.

    Until the domain is placed other names stand for what it gives, such as `slot` and FRACTIONS.
    In an epilogue `c` is the channel of the result.
    """

    name: str

    @property
    def type(self) -> str:
        """`int`; `float` of a fraction."""
        return "float" if self.name in FRACTIONS else "int"


@dataclass(frozen=True, slots=True)
class Dot:
    """`qk`: the product q_i . k_j, unscaled."""

    @property
    def type(self) -> str:
        """Always `float`."""
        return "float"


@dataclass(frozen=True, slots=True)
class L1:
    """`l1(q, k)`: the sum over d of |q_i - k_j|."""

    @property
    def type(self) -> str:
        """Always `float`."""
        return "float"


@dataclass(frozen=True, slots=True)
class Weight:
    """`w`: the normalised weight of the pair, in a post expression only."""

    @property
    def type(self) -> str:
        """Always `float`."""
        return "float"


@dataclass(frozen=True, slots=True)
class Result:
    """`o`: an element of the result, in an epilogue only."""

    @property
    def type(self) -> str:
        """Always `float`."""
        return "float"


@dataclass(frozen=True, slots=True)
class Load:
    """`bias[h, i - j + 7]`: an element of a tensor of the graph. Rank 0 has no indices."""

    tensor: str
    indices: tuple[ScoreTree, ...]
    dtype: str = "float"

    @property
    def type(self) -> str:
        """`float`, `int` or `bool`: that of the tensor."""
        return self.dtype


@dataclass(frozen=True, slots=True)
class Apply:
    """A function of the mini-language applied to trees; see `scorelang.FUNCTIONS`."""

    function: str
    arguments: tuple[ScoreTree, ...]
    type: str


@dataclass(frozen=True, slots=True)
class Among:
    """Whether an int is one of the elements of a row of an index: `j in keep[b, h, i]`.

    Attributes:
        value: int tree.
        row: the row; one index fewer than the tensor has axes.
        count: elements of the row are below this.
    """

    value: ScoreTree
    row: Load
    count: Size

    @property
    def type(self) -> str:
        """Always `bool`."""
        return "bool"


ScoreTree = Union[Constant, Extent, Coordinate, Dot, L1, Weight, Result, Load, Apply, Among]


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


@dataclass(frozen=True, slots=True)
class Grid:
    """How tokens stand in space, in raster order, last axis fastest: `(z, y, x)`, `(y, x)`, `(x,)`.

    Attributes:
        queries: sizes of the axes for the queries.
        keys: for the keys. Where they exceed those of the queries, domains that look around a
            query take the map of keys to be padded alike on both sides.
    """

    queries: Shape
    keys: Shape


@dataclass(frozen=True, slots=True)
class Windows:
    """Keys in the window of the query: boxes of the grid, cut off at its edges.

    With a dilation the tokens of a window are that far apart, and windows interleave. Sizes stand
    for one axis each, or one for all axes until the grid is known.

    Attributes:
        size: tokens of a window; none for the whole axis.
        shift: the first windows begin at `shift - size`, so that tokens below `shift` are cut off.
        dilation: distance of neighbours in a window.
        wrap: the tokens cut off join the last window: windows of cyclically shifted coordinates.
        grid: none until the source is known.
    """

    size: tuple[Size | None, ...]
    shift: tuple[Size, ...] = (0,)
    dilation: tuple[Size, ...] = (1,)
    wrap: bool = False
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class Stripes:
    """Windows of `width` along one axis, and the whole grid along all others.

    On a known grid these are `Windows`.
    """

    axis: int
    width: Size
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class Neighborhood:
    """The `kernel` keys around each query along every axis, `dilation` apart.

    Attributes:
        kernel: keys; an even number has one more before the query than behind.
        edge: `truncate`, keys outside the grid do not exist; `clamp`, at an edge the neighbourhood
            moves inwards, so that every query has all its keys.
        dilation: distance of neighbours.
        grid: none until the source is known.
    """

    kernel: tuple[Size, ...]
    edge: str = "truncate"
    dilation: tuple[Size, ...] = (1,)
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class Overlapping:
    """Keys in a box of `key_size` tokens around the window of `size` tokens of the query.

    Keys outside the grid of keys do not exist.
    """

    size: tuple[Size, ...]
    key_size: tuple[Size, ...]
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """Keys whose group number is that of the query: `query` is a tree of i, `key` of j."""

    query: ScoreTree
    key: ScoreTree


@dataclass(frozen=True, slots=True)
class Blocks:
    """Keys of the block that has the query's number: consecutive runs of given lengths."""

    queries: Shape
    keys: Shape


@dataclass(frozen=True, slots=True)
class RoutedRegions:
    """All keys of those regions that an index names for the region of the query.

    Attributes:
        index: [b, s, chosen] or [b, h, s, chosen], row-major numbers of regions, read at `b` or
            `b h`; the row of the query's region is yet to be added.
        chosen: regions for each.
        regions: how many along each axis of the grid; they divide it evenly.
        grid: none until the source is known.
    """

    index: Load
    chosen: Size
    regions: Shape
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class RoutedKeys:
    """The keys that an index names for each query.

    Attributes:
        index: [b, n, chosen] or [b, h, n, chosen], positions of keys, read at `b i` or `b h i`.
        chosen: keys for each query.
        grid: none until the source is known.
    """

    index: Load
    chosen: Size
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """Keys in a box around a centre of the query's own, `2 * radius + 2` along each axis.

    The box runs from floor(centre) - radius to floor(centre) + radius + 1, both included. Keys
    outside the grid do not exist.

    Attributes:
        centre: [b, n, axes] or [b, h, n, axes], float, in positions of the grid of keys, axes in
            the order of the grid; read at `b i` or `b h i`, the axis is yet to be added.
        radius: one for each axis, or one for all until the grid is known.
        grid: none until the source is known.
    """

    centre: Load
    radius: Shape
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class PerHeads:
    """A domain for each of several groups of heads, of one size and in order.

    Attributes:
        domains: for the first heads, the next, and so on.
        heads: of q; 0 until they are known.
    """

    domains: tuple[Domain, ...]
    heads: int = 0


Domain = Union[
    All, Causal, Band, Where, Windows, Stripes, Neighborhood, Overlapping, Groups, Blocks,
    RoutedRegions, RoutedKeys, Sampled, PerHeads,
]  # fmt: skip


# Normalisers ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SoftmaxKeys:
    """exp(s_ij) / (sum_j exp(s_ij) + exp(sink)).

    Attributes:
        sink: float tree of `b` and `h`, the score of a key without a value; none for no such
            key. With 0 this is softmax1.
    """

    sink: ScoreTree | None = None


@dataclass(frozen=True, slots=True)
class SoftmaxQueries:
    """exp(s_ij) / sum_i exp(s_ij): the queries compete for each key."""


@dataclass(frozen=True, slots=True)
class SoftmaxBoth:
    """Softmax over keys towards `out`, over queries towards `back`: one score product, two reads.

    back_j = sum_i (exp(s_ij) / sum_i' exp(s_i'j)) vq_i, with vq: [b, h, n, f], back: [b, h, m, f].
    """


@dataclass(frozen=True, slots=True)
class ArgmaxKeys:
    """1 for the best key of each query, the first of equals, else 0; no gradient to scores."""


@dataclass(frozen=True, slots=True)
class ArgmaxQueries:
    """1 for the best query of each key, the first of equals, else 0; no gradient to scores."""


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """1 / (1 + exp(-s_ij))."""


@dataclass(frozen=True, slots=True)
class ReluPower:
    """max(s_ij, 0) ** power."""

    power: float = 1.0


@dataclass(frozen=True, slots=True)
class Unnormalised:
    """s_ij itself."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """s_ij / (max(sum_j s_ij, floor) + eps)."""

    eps: float = 0.0
    floor: float | None = None


@dataclass(frozen=True, slots=True)
class Bilinear:
    """Softmax in each corner of a sampled box, mixed by where the centre lies between positions.

    A corner leaves out the first or the last position along each axis, so that `2 * radius + 1`
    stay. With f the fraction of the centre along an axis it counts 1 - f without the last, f
    without the first; along several axes these are multiplied. A corner without a key adds 0.
    """


Normaliser = Union[
    SoftmaxKeys, SoftmaxQueries, SoftmaxBoth, ArgmaxKeys, ArgmaxQueries, Sigmoid, ReluPower,
    Unnormalised, Ratio, Bilinear,
]  # fmt: skip

OVER_QUERIES = (SoftmaxQueries, SoftmaxBoth, ArgmaxQueries)
"""Normalisers by which a weight depends on other queries too."""


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
        post: float tree of the weight `w` and all that a score may read, or none.
    """

    domain: Domain
    score: ScoreTree
    mask: ScoreTree | None = None
    weight: ScoreTree | None = None
    post: ScoreTree | None = None


@dataclass(frozen=True, slots=True)
class Attention:
    """What an `attend` node computes. Tensors are named; the node holds the values.

    Attributes:
        sources: at least one.
        join: `softmax`, one softmax over the union of all keys, or `sum`, each source
            normalised alone, results added.
        tensors: names of captured tensors that the expressions load, in argument order.
        outputs: `out`, after it `back` where there is one, and any of
            `weights` [b, h, n, m], as values are multiplied by them (of softmax(keys, queries)
            those over keys); `scores` [b, h, n, m], masked pairs -inf; m is over all sources;
            `slot_weights` [b, h, n, slots], the weights by the slot of the key, 0 where the slot
            has none; of one source whose domain has a fixed number of slots;
            `received` [b, h, m], the sums of weights over queries;
            `lse` [b, h, n] of softmax over keys, sink included; [b, h, m] of that over queries;
            `index` of an arg-max: the key of each query [b, h, n] or the query of each key
            [b, h, m], int, -1 where there is none.
        renormalise: bool tree of `b h i`: rows whose weights are divided by their sum over keys,
            after post; a row that sums to 0 stays. None for no row.
        given: the products are computed elsewhere: q is [b, h, n, m], `qk` its element, and the
            only source has no k operand (its type is that of the identity, [b, hk, m, m]).
        epilogue: float tree of `o`, an element of `out`, and of elements `t[b, h, i, c]` of tensors
            of its shape or with some of its axes alone, in order: what takes its place. It is
            recognised, not written in specs.
        prologues: what q, or k of a source, is before it is multiplied, each operand at most once;
            no expression loads the tensors that they read. Likewise recognised.
    """

    sources: tuple[Source, ...]
    join: str = "softmax"
    normaliser: Normaliser = SoftmaxKeys()
    tensors: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("out",)
    renormalise: ScoreTree | None = None
    given: bool = False
    epilogue: ScoreTree | None = None
    prologues: tuple[Prologue, ...] = ()

"""Sites of one or two sources, and all their outputs written out as loops over single pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attnc.backends.reference import function
from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    All,
    Apply,
    Attention,
    Band,
    Causal,
    Constant,
    Coordinate,
    Domain,
    Dot,
    Extent,
    Load,
    ScoreTree,
    Source,
    Where,
)
from attnc.dsl.dims import Shape, Size, substitute, symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import FUNCTIONS, make

B, N, M = symbol("b"), symbol("n"), symbol("m")
B_, H_, I_, J_ = (Coordinate(name) for name in "bhij")
QK = Dot()
SIZES = {"b": 2, "n": 4, "m": 5}
HEADS, WIDTH, VALUE_WIDTH = 2, 3, 2


def number(value: float) -> ScoreTree:
    return Constant(value)


SCALED = make("mul", QK, number(0.5))
OFFSET = make("sub", I_, J_)


@dataclass(frozen=True)
class Case:
    """A site, by what differs from one source of m keys with all pairs allowed."""

    sources: tuple[Source, ...]
    tensors: Mapping[str, TensorType] | None = None
    join: str = "softmax"
    outputs: tuple[str, ...] = ("out",)
    keys: tuple[Size, ...] = (M,)
    groups: int = HEADS

    def site(self, n: Size = N) -> Site:
        """Return the site for `n` queries."""
        tensors = dict(self.tensors or {})
        attention = Attention(self.sources, self.join, tensors=tuple(tensors), outputs=self.outputs)
        streams = tuple(
            (
                TensorType((B, self.groups, m, WIDTH)),
                TensorType((B, self.groups, m, VALUE_WIDTH)),
            )
            for m in self.keys
        )
        q = TensorType((B, HEADS, n, WIDTH))
        return Site("attend", attention, q, streams, tuple(tensors.values()))


def one(
    domain: Domain | None = None,
    score: ScoreTree = SCALED,
    mask: ScoreTree | None = None,
    **tensors: TensorType,
) -> Case:
    """Return the case of one source."""
    return Case((Source(domain or All(), score, mask),), tensors)


TABLE = Load("table", (H_, make("add", OFFSET, number(4))))
PAD = Load("pad", (B_, J_), "bool")
SEGMENT = [Load("segment", (B_, c), "int") for c in (I_, J_)]
SOFTCAP = make("mul", make("tanh", make("div", SCALED, number(2.0))), number(2.0))
BLOCKS = make("ge", make("floordiv", I_, number(2)), make("floordiv", J_, number(2)))
GATE = Load("gate", (H_,))
HEAD, PAIR = TensorType((HEADS,)), TensorType((B, M), "bool")

CASES: dict[str, Case] = {
    "plain": one(),
    "negative scale": one(score=make("neg", QK)),
    "causal": one(Causal()),
    "causal to the end": one(Causal(M - N)),
    "causal with an empty row": one(Causal(-1)),
    "causal far off": one(Causal(-9)),
    "band": one(Band(1, 1)),
    "band beyond the keys": one(Band(-4, 5)),
    "band of nothing": one(Band(-3, 1)),
    "blocks": one(Where(BLOCKS)),
    "table": one(score=make("add", SCALED, TABLE), table=TensorType((HEADS, 8))),
    "table within a band": one(
        Band(1, 1),
        make("add", SCALED, Load("table", (H_, make("add", OFFSET, number(1))))),
        table=TensorType((HEADS, 3)),
    ),
    "bias by position": one(
        score=make("add", SCALED, Load("bias", (H_, I_, J_))), bias=TensorType((HEADS, N, M))
    ),
    "bias transposed": one(
        score=make("add", SCALED, Load("bias", (J_, B_, I_))), bias=TensorType((M, B, N))
    ),
    "longer bias": one(
        score=make("add", SCALED, Load("bias", (number(1), I_))), bias=TensorType((2, 9))
    ),
    "diagonal of a bias": one(
        score=make("add", SCALED, Load("bias", (J_, J_))), bias=TensorType((M, M))
    ),
    "slopes": one(Causal(), make("sub", SCALED, make("mul", GATE, OFFSET)), gate=HEAD),
    "temperature": one(
        score=make("mul", QK, make("exp", make("min", Load("t", ()), number(0.3)))),
        t=TensorType(()),
    ),
    "length scale": one(score=make("mul", SCALED, make("log", Extent(M + 1)))),
    "distance": one(
        Causal(-1), make("sub", SCALED, make("mul", GATE, make("log", OFFSET))), gate=HEAD
    ),
    "distance beyond the keys": one(
        Band(-3, 4),
        make("add", make("log", make("neg", OFFSET)),
             Load("ahead", (make("sub", J_, number(3)),))),
        ahead=TensorType((3,)),
    ),
    "decay": one(
        Band(2, 0), make("mul", QK, make("exp", make("mul", OFFSET, number(-900.0))))
    ),
    "softcap": one(Causal(), SOFTCAP),
    "square": one(score=make("neg", make("square", make("sub", QK, number(0.3))))),
    "no product": one(
        Causal(), make("add", GATE, make("div", make("neg", OFFSET), number(3.0))), gate=HEAD
    ),
    "constant": one(score=number(1.0)),
    "padding": one(mask=PAD, pad=PAIR),
    "causal padding": one(Causal(), make("add", SCALED, TABLE), PAD,
                          table=TensorType((HEADS, 8)), pad=PAIR),
    "segments": one(
        Where(make("or", make("le", J_, I_), make("eq", *SEGMENT))),
        segment=TensorType((B, 5), "int"),
    ),
    "mask by score": one(mask=make("gt", QK, number(0.1))),
    "mask by head": one(mask=make("gt", make("add", J_, H_), number(1))),
    "nothing allowed": one(Where(number(False))),
    "size condition": one(mask=make("or", make("gt", Extent(M), number(3)), make("lt", I_, J_))),
    "many functions": one(
        score=make("add", make("where", make("lt", I_, J_), number(0.25), number(-1.5)),
                   make("mul", make("sigmoid", SCALED), make("float", make("floor",
                        make("sqrt", make("abs", OFFSET))))))
    ),
    "two sources": Case(
        (Source(Causal(), SCALED), Source(All(), make("add", SCALED, TABLE), PAD)),
        {"table": TensorType((HEADS, 8)), "pad": PAIR}, keys=(N, M),
    ),
    "two sources, both restricted": Case(
        (Source(Causal(-1), SCALED), Source(Band(-2, 4), SOFTCAP)), keys=(N, M)
    ),
    "sum": Case(
        (Source(Causal(-1), SCALED), Source(All(), SOFTCAP, weight=GATE)),
        {"gate": HEAD}, "sum", keys=(N, M),
    ),
    "sum with numbers": Case(
        (Source(All(), SCALED, weight=number(0.5)), Source(Causal(), SCALED, weight=number(-2.0))),
        join="sum", keys=(M, N),
    ),
    "one weighted": Case(
        (Source(All(), SCALED, weight=make("tanh", GATE)),), {"gate": HEAD}, "sum"
    ),
    "grouped": replace(one(Causal()), groups=1),
    "grouped, two sources": Case(
        (Source(All(), SCALED), Source(All(), SCALED)), keys=(M, N), groups=1
    ),
}  # fmt: skip

OUTPUTS = ("out", "weights", "scores", "lse")


# The formulas, pair by pair ---------------------------------------------------------------


def value(tree: ScoreTree, at: Mapping[str, object]) -> object:
    """Compute a tree at one pair; `at` has qk, coordinates, sizes and tensors by name."""
    match tree:
        case Constant(known):
            return known
        case Extent(size):
            return substitute(size, SIZES)
        case Coordinate(name):
            return at[name]
        case Dot():
            return at["qk"]
        case Load(name, indices):
            tensor = at[name]
            assert isinstance(tensor, Tensor)
            return tensor[tuple(value(index, at) for index in indices)].item()  # type: ignore[index]
        case Apply(name, arguments):
            return FUNCTIONS[name].value(*(value(part, at) for part in arguments))
    raise AssertionError(tree)


def is_allowed(source: Source, at: Mapping[str, object]) -> bool:
    i, j = at["i"], at["j"]
    assert isinstance(i, int) and isinstance(j, int)
    match source.domain:
        case All():
            within: object = True
        case Causal(offset):
            within = j <= i + fixed(offset)
        case Band(left, right):
            within = i - fixed(left) <= j <= i + fixed(right)
        case Where(condition):
            within = value(condition, at)
    return bool(within and (source.mask is None or value(source.mask, at)))


def fixed(size: Size) -> int:
    known = substitute(size, SIZES)
    assert isinstance(known, int)
    return known


def row(
    case: Case, streams: Sequence[Tensor], tensors: Mapping[str, Tensor], place: tuple[int, ...]
) -> tuple[list[list[float]], list[float]]:
    """Return the scores of one query to the keys of each source, and each source's factor."""
    b, h, i = place
    rows, factors = [], []
    for number_, source in enumerate(case.sources):
        k = streams[1 + 2 * number_][b, h // (HEADS // case.groups)]
        scores = []
        for j in range(k.shape[0]):
            qk = sum(
                x * y for x, y in zip(streams[0][b, h, i].tolist(), k[j].tolist(), strict=True)
            )
            at = {"b": b, "h": h, "i": i, "j": j, "qk": qk, **tensors}
            if is_allowed(source, at):
                score = value(source.score, at)
                assert isinstance(score, (int, float))
                scores.append(float(score))
            else:
                scores.append(-math.inf)
        rows.append(scores)
        weight = 1.0 if source.weight is None else value(source.weight, {"b": b, "h": h, **tensors})
        assert isinstance(weight, float)
        factors.append(weight)
    return rows, factors


def exact(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def softmax(scores: list[float]) -> list[float]:
    if max(scores) == -math.inf:
        return [0.0] * len(scores)
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


def brute_force(
    case: Case, streams: Sequence[Tensor], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return every output."""
    b, h, n, _ = streams[0].shape
    m = sum(k.shape[2] for k in streams[1::2])
    found = {name: torch.zeros(b, h, n, m).double() for name in ("weights", "scores")}
    found["out"], found["lse"] = torch.zeros(b, h, n, VALUE_WIDTH).double(), torch.zeros(b, h, n)
    found["lse"] = found["lse"].double()
    for place in torch.cartesian_prod(*map(torch.arange, (b, h, n))).tolist():
        at = tuple(place)
        rows, factors = row(case, streams, tensors, at)
        union = [score for scores in rows for score in scores]
        alone = [weight for scores in rows for weight in softmax(scores)]
        weights = alone if case.join == "sum" else softmax(union)
        each = [factor for factor, scores in zip(factors, rows, strict=True) for _ in scores]
        group = at[1] // (HEADS // case.groups)
        values = torch.cat([v[at[0], group] for v in streams[2::2]])
        found["out"][at] = (exact(weights) * exact(each)) @ values
        found["weights"][at] = exact(weights)
        found["scores"][at] = exact(union)
        total = sum(math.exp(score) for score in union)
        found["lse"][at] = math.log(total) if total else -math.inf
    return found


# Inputs -----------------------------------------------------------------------------------


def shape(size: Shape) -> list[int]:
    return [fixed(axis) for axis in size]


def inputs(case: Case) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return q, k, v ... and the tensors, floats in float64."""
    generator = torch.Generator().manual_seed(11)

    def sample(type_: TensorType) -> Tensor:
        floats = torch.randn(shape(type_.shape), generator=generator, dtype=torch.float64)
        kinds = {"float": floats, "bool": floats > -0.3, "int": (floats > 0).long()}
        return kinds[type_.dtype]

    site = case.site()
    streams = [site.q, *(type_ for pair in site.sources for type_ in pair)]
    tensors = {name: sample(type_) for name, type_ in (case.tensors or {}).items()}
    if "pad" in tensors:
        tensors["pad"][0] = False  # rows without any key
    return [sample(type_) for type_ in streams], tensors


def computed(case: Case, arguments: Sequence[Tensor]) -> tuple[Tensor, ...]:
    found = function(case.site())(*arguments)
    return found if isinstance(found, tuple) else (found,)

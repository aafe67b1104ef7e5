"""Generated Triton kernels against float64: results and all gradients, in the interpreter.

An error counts as |x - exact| / |exact|. It may be 10 times that of the reference backend in
float32, which sums in another order, and 1.5 times that in half precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attnc.backends.reference import function
from attnc.compiler.kernel import Site
from attnc.dsl import scorelang
from attnc.dsl.attention import (
    All,
    Attention,
    Band,
    Causal,
    Domain,
    Grid,
    Neighborhood,
    ScoreTree,
    Where,
    Windows,
)
from attnc.dsl.attention import Source as Stream
from attnc.dsl.diagnostics import Collector
from attnc.dsl.dims import Size, symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.spans import Source
from attnc.dsl.text_reader import read_expression

if TYPE_CHECKING:
    from tests.backends.conftest import Entry, Harness

torch.set_num_threads(1)

B, N, M = symbol("b"), symbol("n"), symbol("m")
HEADS = 2


@dataclass(frozen=True)
class Case:
    """A site and the sizes to run it at.

    Attributes:
        scores: one for each source, as specs write them.
        domains: one for each source; conditions are `where` domains.
        masks, weights: likewise, or none.
        tensors: captured tensors.
        keys: number of keys of each source.
        tile: rows of q and of k in a tile.
    """

    scores: Sequence[str]
    domains: Sequence[Domain | str] = (All(),)
    masks: Sequence[str | None] = (None, None)
    weights: Sequence[str | None] = (None, None)
    tensors: Mapping[str, TensorType] = field(default_factory=dict)
    keys: Sequence[Size] = (M, M + 5)
    join: str = "softmax"
    outputs: tuple[str, ...] = ("out",)
    heads: int = HEADS
    groups: int = HEADS
    dims: tuple[int, int] = (16, 16)
    b: int = 2
    n: int = 50
    m: int = 50
    tile: tuple[int, int] = (32, 32)

    def lookup(self, name: str) -> scorelang.Known | None:
        """Give scores their names."""
        known: dict[str, scorelang.Known] = {"n": N, "m": M, **self.tensors}
        return known.get(name)

    def tree(self, text: str) -> ScoreTree:
        """Read an expression of the score language."""
        expr = read_expression(Source("test", text), 0, len(text), Collector())
        assert expr is not None
        return scorelang.build(expr, self)

    def site(self) -> Site:
        """Return the site, its lengths symbolic."""
        domains = [*self.domains] * len(self.scores)
        streams = tuple(
            Stream(
                Where(self.tree(domain)) if isinstance(domain, str) else domain,
                self.tree(score),
                None if mask is None else self.tree(mask),
                None if weight is None else self.tree(weight),
            )
            for score, domain, mask, weight in zip(
                self.scores, domains, self.masks, self.weights, strict=False
            )
        )
        attention = Attention(streams, self.join, tensors=tuple(self.tensors), outputs=self.outputs)
        d, e = self.dims
        pairs = tuple(
            (TensorType((B, self.groups, m, d)), TensorType((B, self.groups, m, e)))
            for m in self.keys[: len(streams)]
        )
        q = TensorType((B, self.heads, N, d))
        return Site("attend", attention, q, pairs, tuple(self.tensors.values()))


def table(*shape: Size) -> TensorType:
    return TensorType(shape)


def ints(*shape: Size) -> TensorType:
    return TensorType(shape, "int")


def bools(*shape: Size) -> TensorType:
    return TensorType(shape, "bool")


CASES: dict[str, Case] = {
    "plain": Case(["qk * 0.25"], n=100, m=70, dims=(40, 24), b=1),
    "one query": Case(["qk * 0.25"], n=1, m=17, dims=(8, 8)),
    "two keys": Case(["qk * 0.25"], n=17, m=2, dims=(8, 32)),
    "one tile": Case(["qk * 0.25"], n=64, m=64, tile=(64, 64)),
    "wide heads": Case(["qk * 0.06"], n=20, m=20, b=1, dims=(256, 130)),
    "causal": Case(["qk * 0.25"], [Causal()], n=100, m=100, dims=(24, 24), b=1),
    "causal to the end": Case(["qk * 0.25"], [Causal(M - N)], n=40, m=100, b=1),
    "causal with empty rows": Case(["qk * 0.25"], [Causal(-40)], n=70, m=70),
    "causal in uneven tiles": Case(["qk * 0.25"], [Causal()], n=70, m=70, b=1, tile=(32, 16)),
    "narrow band": Case(["qk * 0.25"], [Band(3, 2)], n=100, m=100, b=1),
    "wide band": Case(["qk * 0.25"], [Band(70, 40)], n=100, m=120, b=1, tile=(32, 32)),
    "band beyond the keys": Case(["qk * 0.25"], [Band(-20, 60)], n=80, m=50),
    "window by head": Case(
        ["qk * 0.25"], ["abs(i - j) <= window[h]"], tensors={"window": ints(HEADS)}
    ),
    "blocks": Case(["qk * 0.25"], ["i // 7 >= j // 7"]),
    "windows": Case(
        ["qk * 0.25"], [Windows((4, 4), (2, 2), (1, 1), grid=Grid((7, 7), (7, 7)))],
        n=49, m=49, b=1, keys=[49],
    ),
    "neighbourhood": Case(
        ["qk * 0.25"], [Neighborhood((3, 3), "clamp", (1, 1), grid=Grid((7, 7), (7, 7)))],
        n=49, m=49, b=1, keys=[49],
    ),
    "segments": Case(
        ["qk * 0.25"], ["segment[b, i] == segment[b, j]"], tensors={"segment": ints(B, N)}, m=50,
        keys=[N],
    ),
    "padding": Case(["qk * 0.25"], masks=["pad[b, j]"], tensors={"pad": bools(B, M)}),
    "causal padding": Case(
        ["qk * 0.25"], [Causal()], masks=["pad[b, j]"], tensors={"pad": bools(B, M)}
    ),
    "softcap": Case(["tanh(qk * 0.1) * 5"], [Causal()]),
    "a choice": Case(["where(i > j, qk * 0.25, qk * 0.1 - 1)"]),
    "no batch": Case(["qk * 0.25 + table[h, i // 5, j // 5]"], b=0,
                     tensors={"table": table(HEADS, 10, 10)}),
    "no keys": Case(["qk * 0.25 + table[h, i // 5, j // 5]"], m=0, outputs=("out", "lse"),
                    tensors={"table": table(HEADS, 10, 10)}),
    "length scale": Case(["qk * 0.1 * log(m + 1)"]),
    "slopes": Case(["qk * 0.25 - slope[h] * abs(i - j)"], tensors={"slope": table(HEADS)}),
    "temperature": Case(
        ["qk * exp(min(scale, 2.5))"], tensors={"scale": table()}, n=33, m=20
    ),
    "temperature by head": Case(["qk / heat[h]"], tensors={"heat": table(HEADS)}),
    "by query and by key": Case(
        ["qk * 0.25 * gain[b, i] + offset[h, j]"],
        tensors={"gain": table(B, N), "offset": table(HEADS, M)},
    ),
    "table": Case(
        ["qk * 0.25 + table[h, i - j + n - 1]"], tensors={"table": table(HEADS, 2 * N - 1)},
        keys=[N],
    ),
    "causal table": Case(
        ["qk * 0.25 + table[h, i - j]"], [Causal()], tensors={"table": table(HEADS, N)}, keys=[N]
    ),
    "clipped table": Case(
        ["qk * 0.25 + near[b, min(max(j - i, -3), 5) + 3] * heat[h, abs(i - j)]"],
        tensors={"near": table(B, 9), "heat": table(HEADS, 70)}, n=70, m=40,
    ),
    "tables of two kinds": Case(
        ["qk * 0.25 + table[h, i - j + n - 1] + table[h, i]"], ["i - j < 50"],
        tensors={"table": table(HEADS, 2 * N - 1)}, n=40, m=70,  keys=[M],
    ),
    "table of a grid": Case(
        ["qk * 0.25 + table[i // 7 - j // 7 + 6, i % 7 - j % 7 + 6, h]"],
        tensors={"table": table(13, 13, HEADS)}, n=49, m=49, b=3, keys=[49], dims=(32, 32),
    ),
    "table by index": Case(
        ["qk * 0.25 + table[index[i, j], h]"],
        tensors={"table": table(5, HEADS), "index": ints(N, M)},
    ),
    "two tables": Case(
        ["qk * 0.25 + (up2[h, i // 5, j // 7] + up2[h, j // 7, i // 5]) * gain"],
        tensors={"up2": table(HEADS, 10, 10), "gain": table()},
    ),
    "bias": Case(["qk * 0.25 + bias[b, h, i, j]"], tensors={"bias": table(B, HEADS, N, M)}),
    "shared bias": Case(
        ["qk * 0.25 + bias[i, j]"], [Causal()], tensors={"bias": table(N, M)}, n=70, m=130,
        tile=(64, 64),
    ),
    "forbidding bias": Case(["qk * 0.25 + forbid[h, i, j]"], tensors={"forbid": table(2, N, M)}),
    "no product": Case(["bias[h, i, j] * 2"], tensors={"bias": table(HEADS, N, M)}),
    "constant": Case(["1.0"], [Causal()]),
    "grouped": Case(["qk * 0.25"], [Causal()], groups=1, dims=(24, 40)),
    "grouped by head": Case(
        ["qk * heat[h] + offset[h, j]"], groups=1,
        tensors={"heat": table(HEADS), "offset": table(HEADS, M)},
    ),
    "groups of three": Case(
        ["qk * heat[b, h] + gain[h, i] + table[h, i - j + 59]"], [Band(9, 2)],
        tensors={"heat": table(B, 6), "gain": table(6, N), "table": table(6, 120)},
        heads=6, groups=2, n=60, m=60, outputs=("out", "lse"),
    ),
    "two sources of groups": Case(
        ["qk * 0.25", "qk * heat[h]"], [Causal(), All()], masks=["pad[b, j]", "h + 3 > j"],
        tensors={"heat": table(4), "pad": bools(B, M)}, heads=4, groups=2, n=21, m=21,
    ),
    "two sources": Case(["qk * 0.25", "qk * 0.25"], [Causal(), All()]),
    "two scores": Case(
        ["qk * 0.25 + table[h, j]", "qk * heat"], groups=1,
        tensors={"table": table(HEADS, M), "heat": table()},
    ),
    "sum": Case(
        ["qk * 0.25", "qk * 0.3"], [All(), Causal()], join="sum", weights=[None, "tanh(gate[h])"],
        tensors={"gate": table(HEADS)}, dims=(16, 24),
    ),
    "sum with bias": Case(
        ["qk * 0.25 + bias[h, i, j]", "qk * 0.3"], join="sum", weights=["0.5", "gate[b, h]"],
        tensors={"gate": table(B, HEADS), "bias": table(HEADS, N, M)}, groups=1,
    ),
    "lse": Case(["qk * 0.25"], [Causal(-4)], outputs=("out", "lse")),
    "lse of two": Case(["qk * 0.25", "qk * 0.5"], outputs=("lse", "out")),
    "row of nothing": Case(
        ["qk * 0.25 + table[h, i // 5, j // 5]"], masks=["pad[b, j]"],
        tensors={"table": table(HEADS, 10, 10), "pad": bools(B, M)}, outputs=("out", "lse"),
    ),
}  # fmt: skip


def interpreted(case: Case, harness: Harness) -> Entry:
    """Return the entry; without a fallback its kernels run on the CPU, in the interpreter."""
    return harness.interpreted(case.site(), case.tile)


def inputs(case: Case, harness: Harness, dtype: torch.dtype) -> list[Tensor]:
    return harness.inputs(case.site(), {"b": case.b, "n": case.n, "m": case.m}, dtype)


@pytest.mark.parametrize("name", CASES)
def test_float32(name: str, harness: Harness) -> None:
    case = CASES[name]
    entry, given = interpreted(case, harness), inputs(case, harness, torch.float32)
    harness.check(entry, case.site(), torch.float32, given)


HALF = [
    "plain",
    "causal",
    "wide band",
    "table",
    "clipped table",
    "bias",
    "grouped",
    "two sources",
    "lse",
    "softcap",
]


@pytest.mark.parametrize("name", HALF)
def test_float16(name: str, harness: Harness) -> None:
    case = CASES[name]
    entry, given = interpreted(case, harness), inputs(case, harness, torch.float16)
    harness.check(entry, case.site(), torch.float16, given)


def packed(given: Sequence[Tensor]) -> list[Tensor]:
    """Return q, k and v as slices of one tensor [b, n, 3, h, d], as one projection gives them."""
    b, h, n, d = given[0].shape
    together = torch.empty(b, n, 3, h, d, dtype=given[0].dtype)
    views = [together[:, :, place].transpose(1, 2) for place in range(3)]
    for view, x in zip(views, given, strict=True):
        view.copy_(x)
    return views


def shared_keys(given: Sequence[Tensor]) -> list[Tensor]:
    """Return k and v that are the same for the whole batch, with a stride of 0."""
    return [given[0], *(x[:1].expand(x.shape) for x in given[1:])]


def backwards(given: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors whose last axis is not the innermost."""
    return [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in given]


@pytest.mark.parametrize("layout", [packed, shared_keys, backwards])
def test_any_strides(layout: Callable[[Sequence[Tensor]], list[Tensor]], harness: Harness) -> None:
    case = Case(["qk * 0.25"], [Causal()], n=40, m=40, dims=(24, 24), keys=[N])
    entry = interpreted(case, harness)
    views = layout([x.float() for x in inputs(case, harness, torch.float32)])
    assert not all(x.is_contiguous() for x in views)
    expected = harness.run(entry, [x.contiguous() for x in views], torch.float32)
    ours = harness.run(entry, views, torch.float32)
    assert all(torch.equal(x, y) for x, y in zip(ours, expected, strict=True))


def test_pairs_outside_have_no_gradient_even_of_infinite_slope(harness: Harness) -> None:
    case = Case(["qk * 0.25 + log(near[i, j])"], ["near[i, j] > 0"], tensors={"near": table(N, M)})
    entry = interpreted(case, harness)
    given = inputs(case, harness, torch.float32)
    gradient = harness.run(entry, given, torch.float32)[4]
    exact = harness.run(function(case.site()), given, torch.float64)[4]
    assert torch.equal(gradient == 0, given[3] == 0)
    assert harness.error(gradient, exact.nan_to_num(nan=0.0)) < 1e-6


def test_gradients_of_tables_are_the_same_in_every_run(harness: Harness) -> None:
    case = CASES["table of a grid"]
    entry = interpreted(case, harness)
    given = inputs(case, harness, torch.float32)
    first, second = (harness.run(entry, given, torch.float32)[4] for _ in range(2))
    assert torch.equal(first, second)


def test_tables_by_distance_take_memory_as_tokens_do(harness: Harness) -> None:
    case = replace(CASES["table"], b=1, tile=(128, 128))
    interpreted(case, harness)
    module = vars(harness.module(case.site()))
    largest = []
    for n in (256, 512):
        given = [x.float() for x in inputs(replace(case, n=n), harness, torch.float32)]
        with Largest() as seen:
            results = module["attend_launch"](*given)
            module["attend_launch_backward"](results[0], *given, *results, [True])
        largest.append(seen.bytes)
    # tiles on 2 n / 128 - 1 diagonals, padded to twice their columns
    assert largest == [4 * HEADS * (2 * n // 128 - 1) * 128 * 256 for n in (256, 512)]


class Largest(TorchDispatchMode):
    """Notes how large the largest storage is that any operation gives."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        self.bytes = max([self.bytes, *(x.untyped_storage().nbytes() for x in tensors)])
        return result


def test_no_kernel_runs_for_a_table_that_needs_no_gradient(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES["table of a grid"]
    entry = interpreted(case, harness)
    q, k, v, bias = (x.float() for x in inputs(case, harness, torch.float32))
    monkeypatch.setitem(vars(harness.module(case.site())), "attend_pairs", None)
    result = entry(q.requires_grad_(), k, v, bias)
    assert isinstance(result, Tensor)
    torch.autograd.backward(result.sum())
    assert q.grad is not None and bias.grad is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_on_the_gpu(name: str, dtype: torch.dtype, harness: Harness) -> None:
    case = CASES[name]
    given = [x.cuda() for x in inputs(case, harness, dtype)]
    harness.check(vars(harness.module(case.site()))["attend"], case.site(), dtype, given)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("length", [1000, 4096])
@pytest.mark.parametrize("width", [32, 64, 128])
@pytest.mark.parametrize("name", ["plain", "causal", "wide band", "table", "bias", "grouped"])
def test_long_on_the_gpu(name: str, width: int, length: int, harness: Harness) -> None:
    """The tiles of long sequences, in the dtype that they are meant for."""
    case = replace(CASES[name], dims=(width, width), n=length, m=length, b=1)
    given = [x.cuda() for x in inputs(case, harness, torch.bfloat16)]
    harness.check(vars(harness.module(case.site()))["attend"], case.site(), torch.bfloat16, given)

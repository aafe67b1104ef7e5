"""The reference backend against the formulas, written out as loops over single pairs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from attnc.backends.reference import ReferenceBackend, function
from attnc.compiler.kernel import No, Site, Target, Yes
from attnc.dsl.attention import (
    All,
    Attention,
    Extent,
    Load,
    ScoreTree,
    Source,
)
from attnc.dsl.dims import Dim, symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import make
from tests.backends.formulas import (
    CASES,
    H_,
    HEAD,
    HEADS,
    J_,
    OUTPUTS,
    SCALED,
    WIDTH,
    B,
    Case,
    M,
    N,
    brute_force,
    computed,
    inputs,
    number,
    one,
)

torch.set_num_threads(1)


@pytest.mark.parametrize("name", CASES)
def test_against_the_formulas(name: str) -> None:
    case = replace(CASES[name], outputs=OUTPUTS)
    streams, tensors = inputs(case)
    expected = brute_force(case, streams, tensors)
    (out,) = computed(CASES[name], [*streams, *tensors.values()])
    torch.testing.assert_close(out, expected["out"], rtol=0, atol=1e-12)
    found = computed(case, [*streams, *tensors.values()])
    for output, tensor in zip(OUTPUTS, found, strict=True):
        torch.testing.assert_close(tensor, expected[output], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_gradients(name: str, check: object) -> None:
    assert callable(check)
    case = replace(CASES[name], outputs=("out", "weights", "lse"))
    streams, tensors = inputs(case)
    arguments = [*streams, *tensors.values()]
    for argument in arguments:
        argument.requires_grad_(argument.is_floating_point())

    def finite(*given: Tensor) -> tuple[Tensor, ...]:
        """Rows without a key have a constant lse of -inf: no gradient to compare."""
        out, weights, lse = computed(case, given)
        return out, weights, lse.masked_fill(lse.isneginf(), 0.0)

    assert check(finite, arguments, fast_mode=True)


@pytest.mark.parametrize("name", ["causal with an empty row", "padding", "nothing allowed", "sum"])
def test_rows_without_a_key_have_no_gradient(name: str) -> None:
    case = replace(CASES[name], outputs=OUTPUTS)
    streams, tensors = inputs(case)
    q = streams[0].requires_grad_()
    out, weights, _, lse = computed(case, [*streams, *tensors.values()])
    empty = lse.isneginf()
    assert empty.any() or name == "sum"
    assert not out[empty].any() and not weights[empty].any()
    (grad,) = torch.autograd.grad(out.sum() + lse.sum(), q)
    assert grad.isfinite().all() and not grad[empty].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["plain", "causal", "slopes", "table", "two sources", "sum"])
def test_half_precision_keeps_its_statistics_in_float32(name: str, dtype: torch.dtype) -> None:
    case = replace(CASES[name], outputs=OUTPUTS)
    streams, tensors = inputs(case)
    arguments = [t.to(dtype) if t.is_floating_point() else t for t in [*streams, *tensors.values()]]
    exact = computed(case, [t.double() if t.is_floating_point() else t for t in arguments])
    out, weights, scores, lse = computed(case, arguments)
    assert (out.dtype, weights.dtype) == (dtype, dtype)
    assert (scores.dtype, lse.dtype) == (torch.float32, torch.float32)
    unit = torch.finfo(dtype).eps
    # one rounding of the product, one of the weights, one of the output
    assert (out.double() - exact[0]).abs().max() < 4 * unit
    assert (lse.double() - exact[3]).abs().nan_to_num(0.0).max() < 4 * unit


def test_positions_are_exact_in_half_precision() -> None:
    """bfloat16 cannot tell 1001 from 1000; the score must."""
    tree = make("neg", make("abs", make("sub", J_, number(1001))))
    site = Site(
        "attend", Attention((Source(All(), tree),)), TensorType((B, 1, 1, 4)),
        ((TensorType((B, 1, M, 4)), TensorType((B, 1, M, 4))),),
    )  # fmt: skip
    k = torch.zeros(1, 1, 1100, 4, dtype=torch.bfloat16)
    v = torch.arange(1100.0).view(1, 1, 1100, 1).expand(1, 1, 1100, 4) - 1001
    out = function(site)(k[:, :, :1], k, v.to(torch.bfloat16))
    assert isinstance(out, Tensor) and out.abs().max() < 0.01


def test_tensors_may_be_called_like_our_own_names() -> None:
    names = ("q", "k", "scores", "wide", "n", "lambda", "layer.bias", "j")
    tree: ScoreTree = SCALED
    for name in names:
        tree = make("add", tree, Load(name, (H_,)))
    tree = make("add", tree, make("div", Extent(N), Extent(M)))
    case = Case((Source(All(), tree),), dict.fromkeys(names, HEAD))
    streams, tensors = inputs(case)
    (out,) = computed(case, [*streams, *tensors.values()])
    (plain,) = computed(CASES["plain"], streams)
    torch.testing.assert_close(out, plain, rtol=0, atol=1e-12)


def test_sizes_are_solved_from_the_shapes() -> None:
    wide = symbol("w")
    tree = make("add", SCALED, make("div", make("floordiv", J_, Extent(wide)), number(3.0)))
    site = replace(one(score=tree).site(), q=TensorType((B, HEADS, 2 * wide + 1, WIDTH)))
    source = ReferenceBackend().build(site, Target()).source
    assert "w = (q.shape[2] - 1) // 2" in source
    unknown = make("add", SCALED, make("mul", J_, Extent(symbol("x"))))
    answer = ReferenceBackend().can(one(score=unknown).site(), Target())
    assert answer == No(("no axis of q, k, v or a tensor tells the size x; make it a param",))


def test_can_says_why() -> None:
    answer = ReferenceBackend().can(CASES["two sources"].site(), Target("cuda", "90"))
    assert isinstance(answer, Yes) and answer.reasons


def test_one_site_gives_one_text() -> None:
    for case in CASES.values():
        built = [ReferenceBackend().build(case.site(), Target()) for _ in range(2)]
        assert built[0] == built[1]
        assert isinstance(case.site().q.shape[0], Dim)

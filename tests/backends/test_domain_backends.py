"""Attention over domains: gradients, what backends say of it, and messages."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from attnc.backends.reference import function
from attnc.backends.sdpa import SdpaBackend
from attnc.backends.triton.templates import reasons_against
from attnc.compiler.kernel import Target, Yes
from attnc.dsl.diagnostics import SpecError
from tests.backends.domain_calls import (
    HEADS,
    TOLERANCE,
    check,
    plain,
    site,
    streams,
)

torch.set_num_threads(1)


def test_gradients_of_tables_and_streams_are_exact() -> None:
    made = site(
        "grid = [2, 3], domain = windows(2, shift = 1), "
        "score = qk * scale + table[h, iy - jy + 1, ix - jx + 1] + log(key_count) * gain[h]",
        {"table": "[4, 3, 3]", "gain": "[4]"}, n=6,
    )  # fmt: skip
    table = torch.randn(HEADS, 3, 3, dtype=torch.float64)
    gain = torch.randn(HEADS, dtype=torch.float64)
    operands = [x.requires_grad_() for x in (*streams(6, 6), table, gain)]
    assert gradcheck(function(made), operands)


def test_gradients_pass_through_routed_attention() -> None:
    made = site("domain = routed(r)", {"r": "[2, 6, 2] int"}, n=6)
    index = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 0]]).expand(2, 6, 2)
    operands = [x.requires_grad_() for x in streams(6, 6)]
    assert gradcheck(lambda *x: function(made)(*x, index), operands)


DOMAINS = {
    "windows(2)": {}, "windows(3, shift = 1)": {}, "windows(2, shift = 1, wrap = true)": {},
    "windows(2, dilation = 2)": {}, "stripes(0, 2)": {}, "neighborhood(3)": {},
    "neighborhood(3, edge = clamp, dilation = 2)": {}, "overlapping(2, 4)": {},
    "per_heads(stripes(0, 2), stripes(1, 2))": {}, "blocks([20, 28])": {},
    "groups(t)": {"t": "[2, 48] int"}, "routed(t)": {"t": "[2, 48, 3] int"},
    "routed(t, regions = [2, 2])": {"t": "[2, 4, 2] int"},
}  # fmt: skip


@pytest.mark.parametrize("domain", DOMAINS)
def test_sdpa_takes_every_domain_as_a_mask(domain: str) -> None:
    made = site(f"grid = [6, 8], domain = {domain}", DOMAINS[domain])
    backend = SdpaBackend()
    assert isinstance(backend.can(made, Target()), Yes)
    namespace = {"torch": torch, "F": F, "Tensor": Tensor}
    exec(backend.build(made, Target()).source, namespace)
    draw = torch.Generator().manual_seed(0)
    shape = made.tensors[0].shape if made.tensors else ()
    index = [torch.randint(0, 4, shape, generator=draw)] if shape else []  # type: ignore[arg-type]
    operands = (*streams(), *index)
    expected = function(made)(*operands)
    entry = namespace["attend"]
    assert callable(entry)
    torch.testing.assert_close(entry(*operands), expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_triton_takes_keys_by_index_and_windows() -> None:
    routed = site("domain = routed(t)", {"t": "[2, 48, 3] int"})
    for made in (routed, site("domain = windows(8)")):
        assert not reasons_against(made, Target("cuda", "90"))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 4), st.integers(1, 3))
def test_windows_on_a_line_of_any_length(n: int, side: int, shift: int, step: int) -> None:
    def window(t: Tensor) -> Tensor:
        return (t - shift).div(side * step, rounding_mode="floor") * step + t % step

    t = torch.arange(n)
    other = window(t)[:, None] != window(t)[None, :]
    bias = torch.zeros(n, n, dtype=torch.float64).masked_fill(other, -torch.inf)
    made = site(f"domain = windows({side}, shift = {shift}, dilation = {step})", n=n)
    check(made, plain(*streams(n, n), bias), sizes=(n, n))


# Messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("domain = windows(3), grid = [6, 9]", "grid = [6, 9] does not hold 48 queries"),
        ("domain = windows([2, 2])", "2 sizes for a grid of 1 axis"),
        ("domain = windows(0)", "size is a size or a list of sizes from 1 on"),
        ("domain = windows(2, grid = [6, 8]), grid = [8, 6]", "state different grids"),
        ("domain = stripes(2, 2), grid = [6, 8]", "has no axis 2"),
        ("domain = neighborhood(3, edge = wrap)", "edge is truncate or clamp"),
        ("domain = overlapping(4, 2)", "key_size is at least size"),
        ("domain = blocks([1, 2])", "blocks of 3 queries in all, of which there are 48"),
        ("domain = per_heads(all, causal, all)", "4 heads do not part into 3 groups"),
        ("domain = per_heads(1)", "takes domains, not 1"),
        ("domain = routed(q)", "index is an int tensor"),
        ("score = qk + iy", "iy has no meaning here"),
        ("domain = causal, score = qk + slot", "slot has no meaning here"),
        ("key_grid = [6, 8]", "key_grid goes with grid"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_grid_is_said(arguments: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        site(arguments)
    assert message in " ".join(each.message for each in caught.value.diagnostics)

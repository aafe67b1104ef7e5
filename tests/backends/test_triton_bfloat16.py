"""Kernels of every template in bfloat16, by the rule of error: results and all gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from attnc.backends.triton import TritonBackend
from attnc.compiler.kernel import No
from tests.backends import bfloat16
from tests.backends.conftest import TARGET
from tests.backends.far_apart import CALLS

if TYPE_CHECKING:
    from tests.backends.conftest import Harness

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="kernels run on the GPU itself")


def test_numbers_are_rounded_as_torch_rounds_them() -> None:
    numbers = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 1e3
    numbers[:4] = torch.tensor([0.0, -0.0, torch.inf, 1 + 2**-8])
    bits = bfloat16.rounded(numbers.numpy())
    assert np.array_equal(bits, numbers.bfloat16().view(torch.int16).numpy().view(np.uint16))
    assert np.array_equal(bfloat16.widened(bits), numbers.bfloat16().float().numpy())
    assert np.isnan(bfloat16.widened(bfloat16.rounded(np.array([np.nan], np.float32))))


@pytest.mark.parametrize("name", CALLS)
def test_kernels_in_bfloat16(name: str, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    call = CALLS[name]
    site = call.site
    answer = TritonBackend().can(site, TARGET)
    if isinstance(answer, No):
        pytest.skip(f"no template computes it: {'; '.join(answer.reasons)}")
    bfloat16.patch(monkeypatch)
    module = harness.module(site)
    monkeypatch.setitem(vars(module), "card_of", lambda q: None)
    given = harness.inputs(site, {"b": 1, "n": call.n}, torch.bfloat16)
    harness.check(vars(module)[site.name], site, torch.bfloat16, given)

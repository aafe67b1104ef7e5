"""Every attention of the library at drawn sizes, strides, masks and patterns, on every backend.

In float64 a backend gives what the reference gives; in float32 its error may be 10 times that of
the reference. New memory is filled with NaN, so that what is read before it is written shows. With
ATTNC_EXAMPLES=50 in the environment so many uses of each attention are drawn anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings

from attnc.compiler.comparison import FACTORS, FLOAT64_LIMIT
from tests.backends.primitives import PRIMITIVES, chosen, errors, run
from tests.backends.uses import Use, uses

torch.set_num_threads(1)

EPSILON = torch.finfo(torch.float32).eps
BACKENDS = ("sdpa", "linear", "tiled")
ANEW = "ATTNC_EXAMPLES" in os.environ
DRAWN = settings(
    max_examples=int(os.environ.get("ATTNC_EXAMPLES", "2")),
    derandomize=not ANEW,
    phases=tuple(Phase) if ANEW else (Phase.generate,),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_backends_agree_with_the_reference(name: str) -> None:
    @DRAWN
    @given(use=uses(name))
    def agree(use: Use) -> None:
        operands = use.operands()
        exact = run(use.text, "reference", torch.float64, operands, laid=use.laid)
        assume(all(each.isfinite().all() for each in exact.values()))
        same = errors(run(use.text, "reference", torch.float32, operands, laid=use.laid), exact)
        usual = sorted(same.values())[len(same) // 2]
        assume(usual < 1e-4)  # else rounding changed what is chosen
        for backend in BACKENDS:
            if backend not in chosen(use.text, backend):
                continue
            wide = run(use.text, backend, torch.float64, operands, laid=use.laid)
            for key, each in errors(wide, exact).items():
                assert each <= FLOAT64_LIMIT, (backend, key)
            found = errors(run(use.text, backend, torch.float32, operands, laid=use.laid), exact)
            for key, each in found.items():
                most = FACTORS[torch.float32] * max(same[key], usual, EPSILON)
                assert each <= most, (backend, key)

    agree()

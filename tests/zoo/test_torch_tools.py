"""Emitted models in torch's own tools: opcheck, torch.compile, torch.export, AOTInductor.

A few systems stand for all in everyday tests; `make models` takes every one of the zoo.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attnc import zoo
from tests.zoo.small import small, tensors

EVERY = os.environ.get("ATTNC_MODELS") == "all"
with_operators = pytest.mark.parametrize(
    "name", zoo.names() if EVERY else ("cswin", "lookupvit", "sentence_encoder")
)
systems = pytest.mark.parametrize("name", zoo.names() if EVERY else ("sentence_encoder",))


class Operators(TorchDispatchMode):
    """Keeps the first call of every operator of generated kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[torch._ops.OpOverload, tuple[object, ...]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.namespace.startswith("attnc_"):
            self.calls.setdefault(func, args)
        return func(*args, **(kwargs or {}))


def close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """What a compiler reorders may differ in the last digits."""
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


@with_operators
def test_operators_pass_torch_s_own_checks(name: str) -> None:
    model = small(name).model().eval()
    with Operators() as seen, torch.no_grad():
        small(name).run(model)
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    for operator, arguments in seen.calls.items():
        given = tuple(x.detach() if isinstance(x, Tensor) else x for x in arguments)
        torch.library.opcheck(operator, given, test_utils=checks)


@systems
def test_it_compiles_as_one_graph_of_any_sizes(name: str) -> None:
    model = small(name).model().eval()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    torch.manual_seed(0)
    found = tensors(compiled(*small(name).inputs))
    close([x.detach() for x in found], [x.detach() for x in small(name).run(model)])


@systems
def test_it_is_exported_saved_and_loaded(name: str) -> None:
    model = small(name).model().eval()
    file = io.BytesIO()
    with torch.no_grad():
        torch.export.save(torch.export.export(model, tuple(small(name).inputs)), file)
        file.seek(0)
        loaded = torch.export.load(file).module()
        torch.manual_seed(0)
        close(tensors(loaded(*small(name).inputs)), small(name).run(model))


@pytest.mark.skipif(not EVERY, reason="a minute of C++ for each model: make models")
@systems
def test_it_is_compiled_ahead_of_time(name: str, tmp_path: Path) -> None:
    model = small(name).model().eval()
    with torch.no_grad():
        exported = torch.export.export(model, tuple(small(name).inputs))
        package = torch._inductor.aoti_compile_and_package(
            exported, package_path=str(tmp_path / "model.pt2")
        )
        loaded = torch._inductor.aoti_load_package(package)
        torch.manual_seed(0)
        close(tensors(loaded(*small(name).inputs)), small(name).run(model))

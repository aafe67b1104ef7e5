"""Emitted models in torch's own tools: opcheck, torch.compile, torch.export, AOTInductor.

What the spec leaves symbolic, the batch and lengths, is dynamic; sizes that params fix are not. A
few systems stand for all in everyday tests; `make models` takes every one of the zoo.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attnc import zoo
from attnc.compiler.example import random_inputs
from attnc.dsl.dims import symbols
from tests.zoo.small import EVERY, small, tensors

with_operators = pytest.mark.parametrize(
    "name", zoo.names() if EVERY else ("cswin", "lookupvit", "sentence_encoder")
)
systems = pytest.mark.parametrize("name", zoo.names() if EVERY else ("sentence_encoder",))

CHEAP = {"aot_inductor.compile_wrapper_opt_level": "O0"}
"""Options of inductor by which a compiler of C++ has less to do; what it computes is the same."""


class Operators(TorchDispatchMode):
    """Keeps the first call of every operator of generated kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[torch._ops.OpOverload, tuple[object, ...]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.namespace.startswith("attnc_"):
            self.calls.setdefault(func, args)
        return func(*args, **(kwargs or {}))


def inputs(name: str, more: bool = False) -> list[Tensor]:
    """Inputs of a small model; `more`: with half as much again of what is symbolic."""
    sizes: dict[str, int] = {}
    for kind, given in zip(small(name).graph.inputs.values(), small(name).inputs, strict=True):
        for size, number in zip(kind.shape, given.shape, strict=True):
            usual = max(number, 2)  # tracing takes a 1 for what is always 1
            sizes |= dict.fromkeys(symbols(size), usual + more * ((usual + 1) // 2))
    return random_inputs(small(name).graph.inputs, sizes)


def dynamic_axes(name: str) -> list[list[int]]:
    """For each input the axes whose sizes are symbolic."""
    kinds = small(name).graph.inputs.values()
    return [[axis for axis, size in enumerate(kind.shape) if symbols(size)] for kind in kinds]


def run(model: Callable[..., object], given: Sequence[Tensor]) -> list[Tensor]:
    """What a model gives; dropout drops the same at every call."""
    torch.manual_seed(0)
    return [each.detach() for each in tensors(model(*given))]


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
    model, given = small(name).model().eval(), inputs(name)
    for tensor, axes in zip(given, dynamic_axes(name), strict=True):
        torch._dynamo.mark_dynamic(tensor, axes)
        torch._dynamo.mark_static(tensor, [at for at in range(tensor.dim()) if at not in axes])
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    close(run(compiled, given), run(model, given))
    with torch._dynamo.config.patch(error_on_recompile=True):
        close(run(compiled, inputs(name, more=True)), run(model, inputs(name, more=True)))


@systems
def test_it_is_exported_for_any_sizes_saved_and_loaded(name: str) -> None:
    model = small(name).model().eval()
    shapes = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in dynamic_axes(name))
    file = io.BytesIO()
    with torch.no_grad():
        exported = torch.export.export(model, tuple(inputs(name)), dynamic_shapes=shapes)
        torch.export.save(exported, file)
        file.seek(0)
        loaded = torch.export.load(file).module()
        for given in (inputs(name), inputs(name, more=True)):
            close(run(loaded, given), run(model, given))


ROUNDED = ("matchattention",)
"""Systems that round what they compute to positions, where the last digits of float32 decide."""

COMPLEX = ("cab_s4d", "cab_s4d_bidirectional")
"""Systems that compute with complex numbers."""


@pytest.mark.skipif(not EVERY, reason="a minute of C++ for each model: make models")
@systems
def test_it_is_compiled_ahead_of_time(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name in COMPLEX:
        reason = "inductor writes no C++ for a complex tensor less a number"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    model, given = small(name).model().eval(), inputs(name)
    if name in ROUNDED:
        model = model.double()
        given = [each.double() if each.is_floating_point() else each for each in given]
    with torch.no_grad():
        package = torch._inductor.aoti_compile_and_package(
            torch.export.export(model, tuple(given)),
            package_path=str(tmp_path / "model.pt2"),
            inductor_configs=CHEAP,
        )
        loaded = torch._inductor.aoti_load_package(package)
        close(run(loaded, given), run(model, given))

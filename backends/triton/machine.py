"""Machine code of the kernels of a file, for a card that need not be here.

The launchers run on meta tensors with each kernel replaced by a recorder; what they would have
launched is compiled for the target, under the key by which Triton would look for it there.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel, make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from attnc.backends.triton.configs import CAPABILITIES
from attnc.backends.triton.operation import optional
from attnc.backends.triton.templates import by_passes, by_rows, computed, prepared
from attnc.compiler.kernel import Site, Target
from attnc.compiler.memory import import_package
from attnc.compiler.sites import site_types
from attnc.dsl import codes
from attnc.dsl.diagnostics import UsageError
from attnc.dsl.dims import substitute, symbols
from attnc.dsl.graph import TensorType

LENGTH = 1024
"""What symbols that are not given a value stand for."""


def kernels_of(text: str) -> ModuleType:
    """Import the text of a kernels.py; equal texts are imported once, under equal names."""
    package = import_package("kernels", {"__init__.py": "", "kernels.py": text})
    return importlib.import_module(f"{package.__name__}.kernels")


def compiled(
    module: ModuleType, site: Site, target: Target, dtype: torch.dtype, sizes: Mapping[str, int]
) -> Mapping[str, CompiledKernel]:
    """Compile all kernels of a site.

    Args:
        module: that holds them.
        site: what they compute.
        target: `cuda:90`, `hip:gfx942`.
        dtype: of q, k, v and captured float tensors.
        sizes: values of the symbols of the site's shapes.

    Returns:
        kernel name -> machine code.
    """
    if knobs.runtime.interpret:
        detail = "Triton is in its interpreter, which makes no machine code"
        raise UsageError([codes.OPTION.at(None, option="TRITON_INTERPRET", detail=detail)])
    names = {name for type_ in site_types(site) for size in type_.shape for name in symbols(size)}
    known = {name: sizes.get(name, LENGTH) for name in names}
    recorders = _launches(module, site, target, dtype, known)
    return {each.kernel.__name__: _compiled(each, target) for each in recorders}


@dataclass(slots=True)
class _Recorder:
    """Stands for a kernel in the module; keeps the arguments that it would be launched with."""

    kernel: JITFunction
    arguments: tuple[object, ...] = ()
    options: dict[str, object] = field(default_factory=dict)

    def __getitem__(self, grid: tuple[int, ...]) -> _Recorder:
        return self

    def __call__(self, *arguments: object, **options: object) -> None:
        self.arguments, self.options = arguments, options


def _launches(
    module: ModuleType, site: Site, target: Target, dtype: torch.dtype, sizes: Mapping[str, int]
) -> list[_Recorder]:
    """Run the launchers on tensors without storage."""
    names = vars(module)
    kept = {name: each for name, each in names.items() if _is_kernel(each)}
    recorders = {name: _Recorder(each) for name, each in kept.items()}
    card = CAPABILITIES[str(target)] if dtype.itemsize == 2 else None
    kept["card_of"] = names["card_of"]
    names.update(recorders, card_of=lambda q: card)
    try:
        for one in [each.site for each in by_passes(site)] or [site]:
            launch = _launch_rows if by_rows(one) else _launch
            launch(names, one, dtype, sizes)
    finally:
        names.update(kept)
    return [each for each in recorders.values() if each.arguments]


def _launch(
    names: Mapping[str, Any], site: Site, dtype: torch.dtype, sizes: Mapping[str, int]
) -> None:
    site = computed(site)
    problem = prepared(site)
    inputs = [_meta(type_, dtype, sizes, _BY_TOKEN) for type_ in site_types(site)]
    keep = (True,) if problem.if_kept else ()
    results = names[problem.private("launch")](*inputs, *keep)
    results = results if isinstance(results, tuple) else (results,)
    by_name = dict(zip(problem.results, results, strict=True))
    grads = (by_name[name] for name in problem.differentiable)
    saved = (by_name[name] for name in problem.saved)
    flags = [True for _ in optional(problem)]
    wanted = (flags,) if flags else ()
    names[problem.private("launch_backward")](*grads, *inputs, *saved, *wanted)


def _launch_rows(
    names: Mapping[str, Any], site: Site, dtype: torch.dtype, sizes: Mapping[str, int]
) -> None:
    q, k, v = (_meta(each, dtype, sizes, _BY_COLUMN) for each in (site.q, *site.sources[0]))
    scores = names["row_products_launch"](q, k)
    names["weighted_rows_launch"](scores, v)


def _is_kernel(value: object) -> bool:
    return isinstance(value, JITFunction) and {"BLOCK_I", "BLOCK_J"} <= {*value.arg_names}


_BY_TOKEN, _BY_COLUMN = (0, 2, 1, 3), (0, 3, 1, 2)
"""The order of axes in memory, as projections give q, k and v, or those of channels."""


def _meta(
    type_: TensorType, dtype: torch.dtype, sizes: Mapping[str, int], order: Sequence[int]
) -> torch.Tensor:
    """Return a tensor as a projection gives it where it has four axes."""
    shape = [int(str(substitute(size, sizes))) for size in type_.shape]
    kinds = {"float": dtype, "int": torch.int64, "bool": torch.bool}
    order = order if len(shape) == 4 else range(len(shape))
    made = torch.empty([shape[axis] for axis in order], dtype=kinds[type_.dtype], device="meta")
    return made.permute([order.index(axis) for axis in range(len(shape))])


def _compiled(launch: _Recorder, target: Target) -> CompiledKernel:
    kernel, gpu = launch.kernel, _gpu(target)
    backend = make_backend(gpu)
    bind = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, specialisation, _ = bind(*launch.arguments, **launch.options)
    options, signature, constants, attributes = kernel._pack_args(
        backend, launch.options, bound, specialisation, None
    )
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=gpu, options=vars(options))


def _gpu(target: Target) -> GPUTarget:
    if target.kind == "hip":
        return GPUTarget("hip", target.arch, 64)
    return GPUTarget("cuda", int(target.arch), 32)

"""Machine code for cards that are not in the room: registers, spills, shared memory, tensor cores.

The launchers of a generated file run on meta tensors with each kernel replaced by a recorder;
what they would have launched is compiled for a target as Triton would compile it there.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from attnc.backends.triton.backend import TritonBackend
from attnc.backends.triton.configs import CAPABILITIES, TILES
from attnc.backends.triton.examples import causal, causal_table
from attnc.backends.triton.problem import digest
from attnc.compiler.kernel import Site, Target
from attnc.compiler.sites import site_types
from attnc.compiler.targets import parse_target
from attnc.dsl.dims import substitute
from attnc.dsl.graph import TensorType

SHARED_MEMORY = {
    "cuda:80": 163 * 1024,
    "cuda:90": 227 * 1024,
    "cuda:100": 227 * 1024,
    "hip:gfx942": 64 * 1024,
}
"""Bytes of shared memory that one program may use."""

SIZES = {"b": 2, "n": 1000, "m": 1000}
LENGTHS = (16, 60, 1000)
"""One for each class of lengths, none a multiple of a tile."""

_TENSOR_CORE = re.compile(r"\b(?:HGMMA|HMMA|QGMMA|UTC\w*MMA)")
_SPILL = re.compile(r"\b(?:LDL|STL)\b")
_SHORT = {"float": torch.bfloat16, "int": torch.int64, "bool": torch.bool}


@dataclass(frozen=True, slots=True)
class Resources:
    """What one kernel takes of a card.

    Attributes:
        registers: per thread.
        spills: instructions that move registers to memory and back.
        shared: bytes of shared memory per program.
        tensor_core: matrix instructions.
    """

    registers: int
    spills: int
    shared: int
    tensor_core: int


def cross_compile(
    site: Site,
    target: Target,
    dtype: torch.dtype = torch.bfloat16,
    sizes: Mapping[str, int] | None = None,
) -> Mapping[str, Resources]:
    """Compile all kernels of a site for a target, which need not be here.

    Args:
        site: what to compute.
        target: `cuda:90`, `hip:gfx942`.
        dtype: of q, k, v and captured float tensors.
        sizes: values of the symbols of the site's shapes.

    Returns:
        kernel name, without the site's -> resources.
    """
    with tempfile.TemporaryDirectory() as folder:
        module = _module(site, target, Path(folder))
        launches = _launches(module, site, target, dtype, {**SIZES, **(sizes or {})})
        return {
            launch.kernel.__name__.removeprefix(f"{site.name}_"): _compiled(launch, target)
            for launch in launches
        }


def over_budget(resources: Resources, target: Target) -> list[str]:
    """Return what a kernel takes too much of, or lacks; nothing where it is within its budget."""
    limit = SHARED_MEMORY[str(target)]
    found = []
    if resources.spills:
        found.append(f"{resources.spills} spill instructions")
    if resources.shared > limit:
        found.append(f"{resources.shared} bytes of shared memory, of {limit}")
    if not resources.tensor_core:
        found.append("no tensor core instructions")
    return found


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


def _module(site: Site, target: Target, folder: Path) -> ModuleType:
    """Import the generated source from a file, where Triton can read it."""
    kernel = TritonBackend().build(site, target)
    path = folder / f"{site.name}_kernels.py"
    head = ["from __future__ import annotations", "import torch", *kernel.imports]
    path.write_text("\n".join([*head, kernel.source]))
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _launches(
    module: ModuleType, site: Site, target: Target, dtype: torch.dtype, sizes: Mapping[str, int]
) -> list[_Recorder]:
    """Run the launchers on tensors without storage."""
    problem = digest(site)
    names = vars(module)
    kernels = {name: each for name, each in names.items() if _is_kernel(each)}
    recorders = {name: _Recorder(each) for name, each in kernels.items()}
    card = CAPABILITIES[str(target)] if dtype.itemsize == 2 else None
    names.update(recorders, card_of=lambda q: card)
    inputs = [_meta(type_, dtype, sizes) for type_ in site_types(site)]
    results = names[problem.private("launch")](*inputs)
    results = results if isinstance(results, tuple) else (results,)
    by_name = dict(zip(problem.results, results, strict=True))
    grads = results[: 1 + problem.with_lse]
    saved = (by_name[name] for name in problem.saved)
    wanted = ([True] * len(problem.learned),) if problem.learned else ()
    names[problem.private("launch_backward")](*grads, *inputs, *saved, *wanted)
    return list(recorders.values())


def _is_kernel(value: object) -> bool:
    return isinstance(value, JITFunction) and {"BLOCK_I", "BLOCK_J"} <= {*value.arg_names}


def _meta(type_: TensorType, dtype: torch.dtype, sizes: Mapping[str, int]) -> torch.Tensor:
    """Return a tensor as a projection gives it: [b, n, h, d] in memory where it has four axes."""
    shape = [int(str(substitute(size, sizes))) for size in type_.shape]
    kinds = {"float": dtype, "int": torch.int64, "bool": torch.bool}
    if len(shape) == 4:
        shape[1], shape[2] = shape[2], shape[1]
    made = torch.empty(shape, dtype=kinds[type_.dtype], device="meta")
    return made.transpose(1, 2) if len(shape) == 4 else made


def _compiled(launch: _Recorder, target: Target) -> Resources:
    kernel, gpu = launch.kernel, _gpu(target)
    backend = make_backend(gpu)
    bind = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, specialisation, _ = bind(*launch.arguments, **launch.options)
    options, signature, constants, attributes = kernel._pack_args(
        backend, launch.options, bound, specialisation, None
    )
    source = ASTSource(kernel, signature, constants, attributes)
    made = triton.compile(source, target=gpu, options=vars(options))
    read = _of_amd if target.kind == "hip" else _of_nvidia
    return read(made.asm, made.metadata.shared)


def _gpu(target: Target) -> GPUTarget:
    if target.kind == "hip":
        return GPUTarget("hip", target.arch, 64)
    return GPUTarget("cuda", int(target.arch), 32)


def _of_nvidia(asm: Mapping[str, bytes], shared: int) -> Resources:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run([tool, flag, file.name], capture_output=True, text=True, check=True)
            for flag in ("-res-usage", "-sass")
        )
    registers = max(int(found) for found in re.findall(r"REG:(\d+)", usage.stdout))
    spills, products = len(_SPILL.findall(code.stdout)), len(_TENSOR_CORE.findall(code.stdout))
    return Resources(registers, spills, shared, products)


def _of_amd(asm: Mapping[str, str], shared: int) -> Resources:
    text = asm["amdgcn"]
    registers, spills = (
        max(int(found) for found in re.findall(rf"\.{name}:\s+(\d+)", text))
        for name in ("vgpr_count", "vgpr_spill_count")
    )
    return Resources(registers, spills, shared, text.count("v_mfma"))


def report(targets: Iterable[Target]) -> Iterator[tuple[str, bool]]:
    """Compile the whole table of tiles; yield the lines of a page in markdown.

    Each line comes with whether all in it is within budget.
    """
    yield "| target | head dim | keys | kernel | registers | shared memory | tensor core |", True
    yield "|---|---|---|---|---|---|---|", True
    for target in targets:
        for dim in TILES[str(target)]:
            for length in LENGTHS:
                yield from _rows(target, dim, length)


def _rows(target: Target, dim: int, length: int) -> Iterator[tuple[str, bool]]:
    for example in (causal, causal_table):
        made = cross_compile(example(dim), target, sizes={"n": length})
        for name, found in made.items():
            wrong = "; ".join(over_budget(found, target))
            what = f"{name}, {example.__name__.replace('_', ' ')}"
            figures = f"{found.registers} | {found.shared / 1024:.0f} KiB | {found.tensor_core}"
            note = f" **{wrong}**" if wrong else ""
            yield f"| {target} | {dim} | {length} | {what} | {figures}{note} |", not wrong


def main(names: list[str]) -> int:
    """Print the report for targets by name, or for all; return 1 where a budget is exceeded."""
    fine = True
    for line, is_fine in report(parse_target(name) for name in names or CAPABILITIES):
        print(line, flush=True)
        fine = fine and is_fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

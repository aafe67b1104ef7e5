"""Machine code for cards that are not in the room: registers, spills, shared memory, tensor cores.

What launchers would launch is compiled for a target as Triton would compile it there.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.compiler import CompiledKernel

from attnc.backends.triton.backend import TritonBackend
from attnc.backends.triton.machine import compiled, kernels_of
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.kernel import Site, Taken, Target

SHARED_MEMORY = {
    "cuda:80": 163 * 1024,
    "cuda:90": 227 * 1024,
    "cuda:100": 227 * 1024,
    "hip:gfx942": 64 * 1024,
}
"""Bytes of shared memory that one program may use."""

SIZES = {"b": 2, "n": 1000, "m": 1000}

_TENSOR_CORE = re.compile(r"\b(?:HGMMA|HMMA|QGMMA|UTC\w*MMA)")
_SPILL = re.compile(r"\b(?:LDL|STL)\b")


@dataclass(frozen=True, slots=True)
class Resources:
    """What one kernel takes of a card.

    Attributes:
        registers: per thread.
        spills: instructions that move registers to memory and back.
        shared: bytes of shared memory per program.
        tensor_core: matrix instructions.
        products: of tiles, which are to become such instructions.
    """

    registers: int
    spills: int
    shared: int
    tensor_core: int
    products: int


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
    kernel = TritonBackend().build(site, target)
    module = kernels_of(KernelFile({site: kernel}).text)
    made = compiled(module, site, target, dtype, {**SIZES, **(sizes or {})})
    return {
        name.removeprefix(f"{site.name}_"): resources_of(each, target)
        for name, each in made.items()
    }


def taken(site: Site, targets: Iterable[Target], sizes: Mapping[str, int]) -> Taken:
    """Return what all kernels of a site take of several cards, as plain data."""
    measured = {str(each): cross_compile(site, each, sizes=sizes) for each in targets}
    return {
        target: {name: asdict(each) for name, each in made.items()}
        for target, made in measured.items()
    }


def over_budget(
    resources: Resources, target: Target, dtype: torch.dtype = torch.bfloat16
) -> list[str]:
    """Return what a kernel takes too much of, or lacks; nothing where it is within its budget.

    Products in float32 are exact, which no tensor core is.
    """
    limit = SHARED_MEMORY[str(target)]
    found = []
    if resources.spills:
        found.append(f"{resources.spills} spill instructions")
    if resources.shared > limit:
        found.append(f"{resources.shared} bytes of shared memory, of {limit}")
    if dtype.itemsize == 2 and resources.products and not resources.tensor_core:
        found.append("no tensor core instructions")
    return found


def resources_of(made: CompiledKernel, target: Target) -> Resources:
    """Read what a kernel takes off its machine code."""
    read = _of_amd if target.kind == "hip" else _of_nvidia
    return read(made.asm, made.metadata.shared)


def _of_nvidia(asm: Mapping[str, Any], shared: int) -> Resources:
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
    return Resources(registers, spills, shared, products, _products(asm))


def _of_amd(asm: Mapping[str, Any], shared: int) -> Resources:
    text = asm["amdgcn"]
    registers, spills = (
        max(int(found) for found in re.findall(rf"\.{name}:\s+(\d+)", text))
        for name in ("vgpr_count", "vgpr_spill_count")
    )
    return Resources(registers, spills, shared, text.count("v_mfma"), _products(asm))


def _products(asm: Mapping[str, str]) -> int:
    return asm["ttir"].count("tt.dot ")

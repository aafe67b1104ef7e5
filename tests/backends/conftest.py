"""What tests of generated kernels share: Triton's interpreter, and files of kernels as modules."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Union

import pytest
import torch
from torch import Tensor

import attnc
from attnc.backends.reference import function
from attnc.backends.triton import TritonBackend
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.kernel import Kernel, Site, Target, Yes
from attnc.compiler.sites import site_of, site_operands
from attnc.dsl.dims import substitute
from attnc.dsl.graph import TensorType

# Without a GPU kernels run in Triton's interpreter, which is chosen when triton is imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

Load = Callable[[Site, Kernel], ModuleType]
Entry = Callable[..., Union[Tensor, tuple[Tensor, ...]]]

TARGET = Target("cuda", "90")
FACTORS = {torch.float32: 10.0, torch.float16: 1.5, torch.bfloat16: 1.5}


@pytest.fixture(scope="session")
def load_kernels(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Import the file that holds the kernel of a site."""
    folder = tmp_path_factory.mktemp("kernels")
    modules: dict[str, ModuleType] = {}

    def load(site: Site, kernel: Kernel) -> ModuleType:
        text = KernelFile({site: kernel}).text
        if text not in modules:
            modules[text] = import_file(folder / f"kernels_{len(modules)}.py", text)
        return modules[text]

    return load


def import_file(path: Path, text: str) -> ModuleType:
    """Write and import a module; Triton reads the source of kernels from the file."""
    path.write_text(text)
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Harness:
    """Runs kernels of sites and judges them against float64.

    An error counts as |x - exact| / |exact|. It may be 10 times that of the reference backend in
    float32, which sums in another order, and 1.5 times that in half precision.
    """

    load: Load
    monkeypatch: pytest.MonkeyPatch

    @staticmethod
    def site(call: str, inputs: Mapping[str, str]) -> Site:
        """Return the site of `attend(...)` in a spec with these inputs."""
        declared = "".join(f" input {name}: {of}\n" for name, of in inputs.items())
        made = ["o", *(["back"] if "vq" in call else []), *(["l"] if "outputs" in call else [])]
        outputs = "".join(f" output {name}_out = {name}\n" for name in made)
        text = f"model m {{\n{declared} {', '.join(made)} = {call}\n{outputs}}}"
        graph = attnc.check(attnc.loads(text, "m.attn"))
        return site_of(next(each for each in graph.body.nodes if each.op == "attend"), "attend")

    def module(self, site: Site) -> ModuleType:
        """Return the kernels of a site."""
        return self.load(site, TritonBackend().build(site, TARGET))

    def interpreted(self, site: Site, tile: tuple[int, int]) -> Entry:
        """Return the entry; without a fallback its kernels run on the CPU, in the interpreter."""
        if torch.cuda.is_available():
            pytest.skip("there is a GPU: the same cases run on it")
        answer = TritonBackend().can(site, TARGET)
        assert isinstance(answer, Yes), answer
        entry: Entry = vars(self.module(site))[site.name]
        # operators of equal text are those of the module that was loaded last
        for name in [each for each in sys.modules if each.startswith("kernels_")]:
            names = vars(sys.modules[name])
            if "tile_for" in names:
                choice = lambda tiles, length, q: (*tile, 4, 1)  # noqa: E731
                self.monkeypatch.setitem(names, "tile_for", choice)
        return entry

    def check_interpreted(
        self, site: Site, tile: tuple[int, int], dtype: torch.dtype, given: Sequence[Tensor]
    ) -> None:
        """Hold a site's kernels to the rule of error, run in the interpreter."""
        self.check(self.interpreted(site, tile), site, dtype, given)

    def inputs(self, site: Site, sizes: Mapping[str, int], dtype: torch.dtype) -> list[Tensor]:
        """Return random arguments of the entry, representable in `dtype`, as float64 or ints."""
        generator = torch.Generator().manual_seed(7)
        operands = list(site_operands(site))
        names = [name for name, _ in operands[: len(operands) - len(site.tensors)]]
        made = []
        for name, (_, type_) in zip([*names, *site.attention.tensors], operands, strict=True):
            shape = [int(str(substitute(size, sizes))) for size in type_.shape]
            made.append(_random(name, type_, shape, generator))
        return [x.to(dtype).double() if x.is_floating_point() else x for x in made]

    @staticmethod
    def run(entry: Entry, given: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
        """Return results and all gradients of a random combination of the results, as float64."""
        arguments = [
            x.detach().to(dtype).requires_grad_() if x.is_floating_point() else x for x in given
        ]
        results = entry(*arguments)
        results = results if isinstance(results, tuple) else (results,)
        generator = torch.Generator().manual_seed(8)
        loss = torch.zeros((), dtype=torch.float64, device=given[0].device)
        for result in results:
            factor = torch.randn(result.shape, generator=generator, dtype=torch.float64)
            finite = result.masked_fill(result.isneginf(), 0.0)
            loss = loss + (finite.double() * factor.to(dtype).double().to(loss.device)).sum()
        torch.autograd.backward(loss)
        floats = [x for x in arguments if x.is_floating_point()]
        grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in floats]
        return [x.detach().double() for x in (*results, *grads)]

    @staticmethod
    def error(x: Tensor, exact: Tensor) -> float:
        """Return |x - exact| / |exact|, -inf counting as a number of its own."""
        x, exact = (each.masked_fill(each.isneginf(), -9.0) for each in (x, exact))
        return float((x - exact).norm() / exact.norm().clamp_min(1e-30))

    def check(self, entry: Entry, site: Site, dtype: torch.dtype, given: Sequence[Tensor]) -> None:
        """Compare with float64 by the rule of error.

        A scalar's error may be small by luck; each result may have that of the median one.
        """
        plain = function(site)
        exact = self.run(plain, given, torch.float64)
        ours = self.run(entry, given, dtype)
        same = self.run(plain, given, dtype)
        eager = [self.error(x, true) for x, true in zip(same, exact, strict=True)]
        for place, (x, own, true) in enumerate(zip(ours, eager, exact, strict=True)):
            allowed = FACTORS[dtype] * max(own, median(eager))
            assert self.error(x, true) <= allowed, f"result {place} of {[*x.shape]}"


@pytest.fixture
def harness(load_kernels: Load, monkeypatch: pytest.MonkeyPatch) -> Harness:
    """Fill new tensors with NaN: what a kernel forgets to write, or reads too early, shows."""
    empty = torch.empty

    def nan(*args: object, **options: object) -> Tensor:
        made: Tensor = empty(*args, **options)  # type: ignore[call-overload]
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", nan)
    return Harness(load_kernels, monkeypatch)


def _random(name: str, type_: TensorType, shape: list[int], generator: torch.Generator) -> Tensor:
    if type_.dtype == "int":
        return torch.randint(0, 5, shape, generator=generator)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    if type_.dtype == "bool":
        return (uniform > 0.3) & (torch.arange(shape[0]) > 0).view(-1, *[1] * (len(shape) - 1))
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    special = {
        "near": lambda: drawn.relu(),
        "heat": lambda: uniform + 0.5,
        "forbid": lambda: torch.where(uniform > 0.6, -torch.inf, drawn),
    }
    return special.get(name, lambda: drawn)()

"""Full-size models of the zoo on the CPU: emitted, by the reference backend, of other libraries.

    python -m benchmarks.zoo_cpu [PATTERN] [--most-gflops 60] [--rounds 9]

float32, two threads, inference, batches of 1 and 8. Speeds are ratios of medians of runs that take
turns in one process: how many times faster the emitted model is. Memory is what one forward pass
adds to a process of its own. Results go to benchmarks/results/zoo_cpu.json; those of models that do
not match the pattern stay. Other libraries come with the extra `bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor, nn

import attnc
from attnc import zoo
from attnc.compiler.cost import flops
from attnc.compiler.example import random_inputs
from attnc.dsl.claims import symbolic_sizes
from attnc.dsl.graph import Graph
from benchmarks.measuring import RETURNING, medians, peak

RESULTS = Path(__file__).parent / "results" / "zoo_cpu.json"
BATCHES = (1, 8)
SIDE, LENGTH = 224, 128
"""What symbolic sizes stand for: sides of images, and all others but batches."""

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Other:
    """A model of another library: an attribute of a module, called with a name of the model."""

    module: str
    function: str
    model: str

    @property
    def package(self) -> str:
        """The distribution it comes with."""
        return self.module.partition(".")[0]

    def make(self) -> nn.Module:
        """Build it, with random weights."""
        model: nn.Module = getattr(import_module(self.module), self.function)(self.model)
        return model


def _timm(**models: str) -> Iterator[tuple[str, Other]]:
    for ours, theirs in models.items():
        yield ours.replace("__", "/"), Other("timm", "create_model", theirs)


OTHERS: Mapping[str, Other] = dict(
    _timm(
        vit__tiny="vit_tiny_patch16_224",
        vit__small="vit_small_patch16_224",
        vit__base="vit_base_patch16_224",
        crossvit__crossvit_tiny_224="crossvit_tiny_240",
        crossvit__crossvit_small_224="crossvit_small_240",
        crossvit__crossvit_base_224="crossvit_base_240",
        crossvit__crossvit_9_224="crossvit_9_240",
        crossvit__crossvit_15_224="crossvit_15_240",
        crossvit__crossvit_18_224="crossvit_18_240",
        crossvit__crossvit_9_dagger_224="crossvit_9_dagger_240",
        crossvit__crossvit_15_dagger_224="crossvit_15_dagger_240",
        crossvit__crossvit_18_dagger_224="crossvit_18_dagger_240",
        crossvit__crossvit_15_dagger_384="crossvit_15_dagger_408",
        crossvit__crossvit_18_dagger_384="crossvit_18_dagger_408",
        davit__tiny="davit_tiny",
        davit__small="davit_small",
        davit__base="davit_base",
    )
)
"""`system/variant` -> the same model elsewhere."""


def cases(pattern: str, most_gflops: float) -> Iterator[tuple[str, Graph]]:
    """Yield the models that match, with their graphs, leaving out what takes too long."""
    for system in zoo.names():
        spec = attnc.load(f"zoo:{system}")
        for variant in [each.name for each in spec.variants] or [""]:
            case = f"{system}/{variant}" if variant else system
            if fnmatch(case, pattern):
                graph = attnc.check(spec, variant or None)
                if flops(graph, sizes(graph, 1)) / 1e9 <= most_gflops:
                    yield case, graph
                else:
                    print(f"{case}: left out, over {most_gflops:g} GFLOPs")


def sizes(graph: Graph, batch: int) -> dict[str, int]:
    """Return numbers for the symbolic sizes of a model's inputs."""
    images = {
        str(size) for kind in graph.inputs.values() if len(kind.shape) == 4 for size in kind.shape
    }
    return {
        name: batch if is_batch else SIDE if name in images else LENGTH
        for name, is_batch in symbolic_sizes(graph.spec).items()
    }


def sides(case: str) -> dict[str, Callable[[], nn.Module]]:
    """Return what makes the models to compare, ours first."""
    system, _, variant = case.partition("/")

    def ours(target: str) -> Callable[[], nn.Module]:
        return lambda: attnc.compile(f"zoo:{system}", variant or None, target=target)

    found = {"emitted": ours("cpu"), "reference": ours("reference")}
    other = OTHERS.get(case)
    if other is not None and installed(other.package) != "not installed":
        found[other.package] = other.make
    return found


def installed(package: str) -> str:
    """Return the version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def runs(case: str, batch: int) -> dict[str, Callable[[], object]]:
    """Return one forward pass of each side, on the same inputs."""
    system, _, variant = case.partition("/")
    graph = attnc.check(f"zoo:{system}", variant or None)
    given = random_inputs(graph.inputs, sizes(graph, batch))
    return {name: forward(make().eval(), given) for name, make in sides(case).items()}


def forward(model: nn.Module, given: list[Tensor]) -> Callable[[], object]:
    """Return a forward pass without gradients."""

    def run() -> object:
        with torch.inference_mode():
            return model(*given)

    return run


def measure(case: str, batch: int, rounds: int) -> Json:
    """Return speeds over the other sides, and MiB of all."""
    made = runs(case, batch)
    ours, *others = medians([*made.values()], rounds)
    names = [*made][1:]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.zoo_cpu", "--peak", case, "--batch", str(batch)],
        capture_output=True, text=True, check=True, env={**os.environ, **RETURNING},
    )  # fmt: skip
    speed = {name: round(each / ours, 3) for name, each in zip(names, others, strict=True)}
    other = OTHERS.get(case)
    missing = {} if other is None or other.package in made else {other.package: "not installed"}
    print(
        f"{case}, batch {batch}: {1000 * ours:.0f} ms, {speed | missing}, MiB {done.stdout}", end=""
    )
    return {"speed": speed | missing, "mib": json.loads(done.stdout)}


def peaks(case: str, batch: int) -> dict[str, float]:
    """Return the MiB that one forward pass of each side adds to this process."""
    return {name: round(peak(run), 1) for name, run in runs(case, batch).items()}


def main() -> None:
    """Measure all that match, or print the memory of one."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("pattern", nargs="?", default="*")
    options.add_argument("--most-gflops", type=float, default=60)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--peak", metavar="CASE", help=argparse.SUPPRESS)
    options.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    asked = options.parse_args()
    torch.set_num_threads(2)
    if asked.peak:
        print(json.dumps(peaks(asked.peak, asked.batch)))
        return
    found = json.loads(RESULTS.read_text())["results"] if RESULTS.exists() else {}
    for case, _ in cases(asked.pattern, asked.most_gflops):
        for batch in BATCHES:
            found[f"{case}, batch {batch}"] = measure(case, batch, asked.rounds)
    packages = ("torch", "timm", "transformers", "diffusers")
    versions = {"python": platform.python_version(), **{each: installed(each) for each in packages}}
    results = {"versions": versions, "results": dict(sorted(found.items()))}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

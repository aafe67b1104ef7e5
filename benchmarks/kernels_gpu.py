"""Generated kernels on a GPU: rates, and ratios to other ways that run beside them.

    python -m benchmarks.kernels_gpu [PART ...] [--skip PART ...] [--dry-run]

bfloat16. Sides take turns in one process, with events of the GPU and an emptied L2 cache; times are
medians. Results go to benchmarks/results/<card>.json with versions; those of parts that do not run
stay. What fails is in the file as well, and the exit code is 1.

`--dry-run` needs no GPU: every case runs small, its kernels in Triton's interpreter, in float32;
results and gradients of all sides are compared with the reference in float64. Nothing is written.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

if "--dry-run" in sys.argv:  # read when kernels are imported
    os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton

from attnc.api import Compilation
from attnc.backends.triton.configs import CAPABILITIES
from benchmarks import gpu_models
from benchmarks.gpu_cases import CASES, Attention, Case, Function, OnCard, module
from benchmarks.gpu_measuring import (
    Json,
    arguments,
    beyond,
    copied,
    figures,
    microseconds,
    numbers,
    prepared,
    same_every_time,
)

RESULTS = Path(__file__).parent / "results"
MODELS = "models"
PARTS = (*dict.fromkeys(case.part for case in CASES), MODELS)
DEFAULT = "cuda:90"
"""The card whose kernels run on one that is not listed: there they take tiles that fit all."""


def card() -> str:
    """Return the target that stands for the GPU of this machine."""
    capability = torch.cuda.get_device_capability()
    known = {value: target for target, value in CAPABILITIES.items()}
    return known.get(capability, DEFAULT)


def ours(attention: Attention, on: str, interpreted: bool = False) -> Function:
    """Return the generated kernels of an attention, whatever the plan would prefer."""
    compilation = OnCard(attention.graph, "triton", card=on, interpreted=interpreted)
    chosen = {site.chosen for site in compilation.plan.sites}
    assert chosen == {"triton"}, f"{attention.call} is computed by {chosen}"
    return module(compilation)


# On the GPU -------------------------------------------------------------------------------


def measure(case: Case) -> Json:
    """Return the figures of a case."""
    on = card()
    kernels = ours(case.full, on)
    sides = {"ours": kernels, **{name: make(case.full) for name, make in case.others.items()}}
    given = arguments(case.full, torch.bfloat16, "cuda", case.mode)
    runs: dict[str, Callable[[], object]] = {
        name: prepared(side, given, case.mode) for name, side in sides.items()
    }
    if case.plain is not None:
        whole = arguments(case.plain, torch.bfloat16, "cuda", case.mode)
        runs["plain"] = prepared(ours(case.plain, on), whole, case.mode)
    found = figures(case, microseconds({**runs, "copy": copied()}), on)
    if case.mode != "forward":
        found["same_gradients"] = same_every_time(kernels, given)
    return found


def environment() -> Json:
    """Return what the figures depend on."""
    return {
        "card": torch.cuda.get_device_name(),
        "driver": _driver(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda or torch.version.hip or "unknown",
        "triton": triton.__version__,
        "date": datetime.date.today().isoformat(),
    }


def _driver() -> str:
    """Return the version of NVIDIA's driver; of others there is no such tool."""
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip() or "unknown"


def run(parts: Sequence[str]) -> int:
    """Measure and write; return 1 where something failed."""
    name = re.sub(r"[^a-z0-9]+", "_", torch.cuda.get_device_name().lower()).strip("_")
    path = RESULTS / f"{name}.json"
    results: Json = json.loads(path.read_text())["results"] if path.exists() else {}
    failed = False
    for label, figure in _figures(parts):
        try:
            results[label] = figure()
        except Exception as error:
            results[label] = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
            failed = True
        print(f"{label}: {json.dumps(results[label])}", flush=True)
        written = {"versions": environment(), "results": dict(sorted(results.items()))}
        path.write_text(json.dumps(written, indent=1) + "\n")
    return int(failed)


def _figures(parts: Sequence[str]) -> Iterator[tuple[str, Callable[[], Json]]]:
    for case in CASES:
        if case.part in parts:
            yield case.name, lambda case=case: measure(case)  # type: ignore[misc]
    for model in gpu_models.MODELS if MODELS in parts else ():
        yield model, lambda model=model: gpu_models.measure(model, card())  # type: ignore[misc]


# Without one ------------------------------------------------------------------------------


def check(case: Case) -> list[str]:
    """Return where a side of the small case is not what the reference computes."""
    plain = module(Compilation(case.tiny.graph, "reference"))
    sides = {"ours": ours(case.tiny, DEFAULT, interpreted=True)}
    sides |= {name: make(case.tiny) for name, make in case.others.items()}
    wrong = []
    for name, side in sides.items():
        # FlexAttention has no gradients on a CPU
        mode = "forward" if name == "flex" else case.mode
        exact, eager = (
            numbers(plain, case.tiny, dtype, mode) for dtype in (torch.float64, torch.float32)
        )
        found = numbers(side, case.tiny, torch.float32, mode)
        wrong += [f"{name}: {each}" for each in beyond(found, eager, exact, torch.float32)]
    return wrong


def dry_run(parts: Sequence[str]) -> int:
    """Check numbers of all that would be measured; return 1 where some are wrong."""
    torch.manual_seed(0)
    labels: list[tuple[str, Callable[[], list[str]]]] = [
        (case.name, lambda case=case: check(case))  # type: ignore[misc]
        for case in CASES if case.part in parts
    ]  # fmt: skip
    if MODELS in parts:
        labels += [
            (name, lambda name=name: gpu_models.check(name))  # type: ignore[misc]
            for name in gpu_models.MODELS
        ]
    failed = False
    for label, checked in labels:
        wrong = checked()
        print(f"{label}: {'; '.join(wrong) or 'equal'}", flush=True)
        failed = failed or bool(wrong)
    return int(failed)


def main() -> int:
    """Measure, or check numbers."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    options.add_argument("--skip", nargs="*", default=[], metavar="PART", choices=PARTS)
    options.add_argument("--dry-run", action="store_true")
    asked = options.parse_args()
    if unknown := sorted({*asked.parts} - {*PARTS}):
        options.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    parts = [part for part in asked.parts or PARTS if part not in asked.skip]
    if asked.dry_run:
        return dry_run(parts)
    if not torch.cuda.is_available():
        print(
            "no CUDA device on this machine; --dry-run checks the numbers without", file=sys.stderr
        )
        return 3
    return run(parts)


if __name__ == "__main__":
    sys.exit(main())

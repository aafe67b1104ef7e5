"""Whole models of the zoo on a GPU: emitted and by the reference backend, both compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import attnc
from attnc.api import Compilation
from attnc.compiler.example import Example, random_inputs
from attnc.dsl.claims import symbolic_sizes
from benchmarks.gpu_cases import OnCard, module
from benchmarks.gpu_measuring import Json, beyond, gradients, microseconds, tensors

MODELS = (
    "biformer/small", "cswin/tiny", "davit/tiny", "crossvit/crossvit_15_224", "lookupvit/example",
    "transnext/tiny",
)  # fmt: skip
BATCH, SIDE = 64, 224
GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "parity"
"""Small configurations, for runs that only check numbers."""


def measure(case: str, card: str) -> Json:
    """Return times and peak memory of forward passes and training steps, and ratios."""
    system, _, variant = case.partition("/")
    graph = attnc.check(f"zoo:{system}", variant)
    sizes = {
        name: BATCH if is_batch else SIDE for name, is_batch in symbolic_sizes(graph.spec).items()
    }
    given = [
        each.to("cuda", torch.bfloat16) if each.is_floating_point() else each.cuda()
        for each in random_inputs(graph.inputs, sizes)
    ]
    result: Json = {}
    for mode, make in (("forward", _forward), ("step", _step)):
        runs, memory = {}, {}
        for side, target in (("ours", card), ("reference", "reference")):
            model = module(Compilation(graph, target)).to("cuda", torch.bfloat16)
            runs[side] = make(model.train(mode == "step"), given)
            memory[side] = _peak(runs[side])
        times = microseconds(runs)
        result[mode] = {
            "us": {side: round(time, 1) for side, time in times.items()},
            "speed": round(times["reference"] / times["ours"], 3),
            "peak_mib": memory,
        }
    return result


def _forward(model: nn.Module, given: list[Tensor]) -> Callable[[], object]:
    compiled = torch.compile(model)

    def run() -> object:
        with torch.no_grad():
            return compiled(*given)

    return run


def _step(model: nn.Module, given: list[Tensor]) -> Callable[[], object]:
    compiled = torch.compile(model)

    def run() -> None:
        model.zero_grad(set_to_none=True)
        results = [each for each in tensors(compiled(*given)) if each.requires_grad]
        loss = torch.stack([each.float().square().mean() for each in results]).sum()
        torch.autograd.backward(loss)

    return run


def _peak(run: Callable[[], object]) -> float:
    """Return how many MiB a second call adds to what is held before it."""
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)


def check(case: str) -> list[str]:
    """Compare a small configuration, its kernels interpreted, with the reference in float64."""
    system = case.partition("/")[0]
    spec = attnc.load(f"zoo:{system}")
    example = Example.read(spec, GOLDEN / f"{system}.safetensors")
    graph = attnc.check(spec, overrides=example.params)
    plain = module(Compilation(graph, "reference"))
    ours = module(OnCard(graph, "triton", interpreted=True))
    ours.load_state_dict(plain.state_dict())
    given = example.inputs(graph.inputs, torch.float32, torch.device("cpu"))
    found, same = (_numbers(model, given, torch.float32) for model in (ours, plain))
    return beyond(found, same, _numbers(plain, given, torch.float64), torch.float32)


def _numbers(model: nn.Module, given: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return results and the gradients of float inputs."""
    cast = [x.to(dtype, copy=True).requires_grad_() if x.is_floating_point() else x for x in given]
    made = tensors(model.to(dtype).eval()(*cast))
    floats = [each for each in cast if each.is_floating_point()]
    grads = gradients(made, floats) if floats else ()
    return [each.detach().double() for each in (*made, *grads)]

"""Attention on the CPU: training against eager and sdpa, vision forward, growth with the length.

float32, two threads. Times are medians of runs interleaved in one process,
by the clock and of the processors; memory is what one
step adds to the peak of a process of its own. Ratios are theirs over ours: above 1 ours is the
better one. Writes benchmarks/results/attention_cpu.json.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import attnc
from benchmarks.measuring import peak
from benchmarks.vision_attention import STAGES

Attend = Callable[..., Tensor]
HEADS, WIDTH = 4, 64
LENGTHS = (1024, 4096)
TABLE = "score = qk * scale + table[h, i - j + n - 1]"
WINDOW = "domain = band(128, 127)"
TRAINED: Mapping[str, str] = {
    "dense": "",
    "dense with a table": f", {TABLE}",
    "window 256": f", {WINDOW}",
    "window 256 with a table": f", {WINDOW}, {TABLE}",
}
GROWN: Mapping[str, str] = {
    "dense": "q, k, v",
    "dense with a table": f"q, k, v, {TABLE}",
    "window 256": f"q, k, v, {WINDOW}",
    "causal linear": "q, k, v, domain = causal, normalize = none, score = qk * exp(-0.1 * (i - j))",
    "linear": "q, k, v, normalize = ratio(eps = 1e-6)",
    "latents": "z, k, v, normalize = softmax(queries)",
}


def ours(call: str, n: int, heads: int = HEADS, width: int = WIDTH) -> Attend:
    """Return the emitted module of one attention, by the backend that is preferred."""
    inputs = "".join(
        f"  input {name}: {shape}\n"
        for name, shape in {
            "q": f"[b, {heads}, {n}, {width}]", "z": f"[b, {heads}, 32, {width}]",
            "k": f"[b, {heads}, {n}, {width}]", "v": f"[b, {heads}, {n}, {width}]",
            "table": f"[{heads}, {2 * n - 1}]",
        }.items() if name in call.replace(",", " ").replace("[", " ").split()
    )  # fmt: skip
    call = call.replace("+ n - 1", f"+ {n - 1}")
    spec = f"model attention {{\n{inputs}  output out = attend({call})\n}}"
    return attnc.compile(attnc.loads(spec, "attention.attn"), target="cpu")


def bias_of(case: str, n: int, table: Tensor | None) -> Tensor | None:
    """Return the bias of all pairs that sdpa and eager code take."""
    i, j = torch.arange(n)[:, None], torch.arange(n)
    bias = None if table is None else table[:, i - j + n - 1]
    if WINDOW in case:
        outside = (j < i - 128) | (j > i + 127)
        bias = torch.zeros(n, n) if bias is None else bias
        bias = bias.masked_fill(outside, -torch.inf)
    return bias


def eager(case: str) -> Attend:
    """Return the attention as usually written."""

    def attend(q: Tensor, k: Tensor, v: Tensor, table: Tensor | None = None) -> Tensor:
        scores = q @ k.transpose(-2, -1) * WIDTH**-0.5
        bias = bias_of(case, q.shape[2], table)
        scores = scores if bias is None else scores + bias
        out: Tensor = scores.softmax(dim=-1) @ v
        return out

    return attend


def fused(case: str) -> Attend:
    """Return the attention by torch's own function with a bias of all pairs, 0 where none is."""

    def attend(q: Tensor, k: Tensor, v: Tensor, table: Tensor | None = None) -> Tensor:
        bias = bias_of(case, q.shape[2], table)
        n = q.shape[2]
        bias = q.new_zeros(n, n) if bias is None else bias
        bias = bias[(None,) * (4 - bias.dim())]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    return attend


def sides(case: str, n: int) -> Mapping[str, Callable[[], Attend]]:
    """Return the ways to compute a case; one that needs no bias has torch's own call as well."""
    call = "q, k, v" + TRAINED[case]
    made: dict[str, Callable[[], Attend]] = {
        "ours": lambda: ours(call, n),
        "eager": lambda: eager(TRAINED[case]),
        "sdpa": lambda: fused(TRAINED[case]),
    }
    if not TRAINED[case]:
        made["bare"] = lambda: F.scaled_dot_product_attention
    return made


def step(attend: Attend, case: str, n: int) -> Callable[[], None]:
    """Return a training step: forward, backward."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, HEADS, n, WIDTH)] * 3 + [(HEADS, 2 * n - 1)] * ("table" in case)
    given = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    factor = torch.randn(1, HEADS, n, WIDTH, generator=generator)

    def run() -> None:
        for each in given:
            each.grad = None
        torch.autograd.backward(attend(*given), factor)

    return run


Times = dict[str, dict[str, float]]
"""Median seconds by the clock and of the processors, which other processes disturb less."""


def medians(runs: Mapping[str, Callable[[], object]], rounds: int) -> Times:
    """Return the times of each, interleaved, after one round that does not count."""
    clocks = {"clock": time.perf_counter, "processors": time.process_time}
    taken: dict[str, dict[str, list[float]]] = {
        clock: {name: [] for name in runs} for clock in clocks
    }
    for turn in range(rounds + 1):
        for name, run in list(runs.items())[:: -1 if turn % 2 else 1]:  # none is always the first
            start = {clock: read() for clock, read in clocks.items()}
            run()
            for clock, read in clocks.items() if turn else ():
                taken[clock][name].append(read() - start[clock])
    return {
        clock: {name: statistics.median(times) for name, times in each.items()}
        for clock, each in taken.items()
    }


def ratios(times: Times, others: Sequence[str]) -> dict[str, float]:
    """Return by how much the best of the others takes longer, by each clock."""
    return {
        clock: min(each[name] for name in others) / each["ours"] for clock, each in times.items()
    }


def training() -> dict[str, object]:
    """Compare training steps."""
    results: dict[str, object] = {}
    for n in LENGTHS:
        for case in TRAINED:
            made = {side: make() for side, make in sides(case, n).items()}
            runs = {side: step(attend, case, n) for side, attend in made.items()}
            times = medians(runs, 3 if n > 1024 else 9)
            row: dict[str, object] = {"seconds": times, "ratio": ratios(times, ("eager", "sdpa"))}
            if "bare" in runs:  # the call that a bare attention is compiled to
                row["to the bare call"] = ratios(times, ("bare",))
            if n == 4096:
                row["peak_mib"] = {side: child("--step", case, side, str(n)) for side in runs}
            results[f"{case}, n = {n}"] = row
            shown = [row[each] for each in row if each != "seconds"]
            print(f"{case:26} n {n:5}", *shown, flush=True)
    return results


def vision() -> dict[str, object]:
    """Compare forward passes of the attentions of vision systems."""
    results: dict[str, object] = {}
    for name, stage in STAGES.items():
        model, given = stage.model(), stage.draw()
        with torch.inference_mode():
            torch.testing.assert_close(model(*given), stage.usual(*given), rtol=1e-3, atol=1e-4)
            runs = {"ours": partial(model, *given), "usual": partial(stage.usual, *given)}
            times = medians(runs, 40)
        results[name] = {"seconds": times, "ratio": ratios(times, ("usual",))}
        print(f"{name:26} {ratios(times, ('usual',))}", flush=True)
    return results


def growth() -> dict[str, object]:
    """Measure a forward pass from 1k to 64k tokens: one head of 16, seconds and MiB of peak."""
    results: dict[str, object] = {}
    for case in GROWN:
        rows: dict[int, dict[str, float]] = {}
        for n in (1024, 4096, 16384, 65536):
            rows[n] = {"mib": child("--forward", case, str(n))}
            if "dense" not in case:
                rows[n]["seconds"] = child("--seconds", case, str(n))
            print(f"{case:26} n {n:6} {rows[n]}", flush=True)
        results[case] = rows
    return results


def child(*arguments: str) -> float:
    """Return the number that a process of its own prints."""
    command = [sys.executable, "-m", "benchmarks.attention_cpu", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def grown(case: str, n: int) -> Callable[[], object]:
    """Return one forward pass."""
    attend = ours(GROWN[case], n, heads=1, width=16)
    given = [torch.rand(1, 1, n, 16) for _ in range(3)]
    if GROWN[case].startswith("z"):
        given[0] = torch.rand(1, 1, 32, 16)
    if "table" in GROWN[case]:
        given.append(torch.randn(1, 2 * n - 1))

    def run() -> object:
        with torch.inference_mode():
            return attend(*given)

    return run


def main() -> None:
    """Measure everything, or one figure for the process that asked."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    match sys.argv[1:]:
        case ["--step", name, side, n]:
            print(peak(step(sides(name, int(n))[side](), name, int(n))))
        case ["--forward", name, n]:
            print(peak(grown(name, int(n))))
        case ["--seconds", name, n]:
            print(medians({"ours": grown(name, int(n))}, 5)["processors"]["ours"])
        case parts:
            known = {"training": training, "vision": vision, "growth": growth}
            target = Path(__file__).parent / "results" / "attention_cpu.json"
            results = json.loads(target.read_text())["results"] if target.exists() else {}
            results |= {name: known[name]() for name in parts or known}
            versions = {"torch": torch.__version__, "python": platform.python_version()}
            load = {"load": os.getloadavg()[0]}
            written = {"versions": versions, "machine": load, "results": results}
            target.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Times of interleaved runs, and how far a run raises the memory of this process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

WARM = 2
"""Turns before times count."""


def medians(runs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median seconds of each run; all take turns, on an equally busy machine."""
    taken: list[list[float]] = [[] for _ in runs]
    for turn in range(rounds + WARM):
        for run, times in zip(runs, taken, strict=True):
            start = time.perf_counter()
            run()
            if turn >= WARM:
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


def peak(run: Callable[[], object]) -> float:
    """Return how many MiB a second call of `run` adds to what the process holds before it. Linux.

    Freed memory has to go back at once: start the process with `RETURNING`.
    """
    run()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


RETURNING = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Environment of a process that gives freed memory back."""


def resident(field: str) -> float:
    """Return a figure of the memory of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

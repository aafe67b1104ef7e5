"""The benchmark of a GPU: its cases run small without one, and its figures are counted right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from attnc.compiler.floors import RATES
from benchmarks.gpu_cases import CASES, Case, banded
from benchmarks.gpu_measuring import TILE, beyond, figures, least, same_every_time, visited

ROOT = Path(__file__).parents[2]


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.kernels_gpu", *arguments],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the figures themselves are had")
def test_a_dry_run_compares_all_sides_with_the_reference() -> None:
    before = sorted((ROOT / "benchmarks" / "results").iterdir())
    done = benchmark("causal", "window", "table", "duplex", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == sum(
        case.part in ("causal", "window", "table", "duplex") for case in CASES
    )  # fmt: skip
    assert all(line.endswith(": equal") for line in lines)
    assert sorted((ROOT / "benchmarks" / "results").iterdir()) == before


def test_a_part_that_is_not_there_is_refused() -> None:
    done = benchmark("widow", "--dry-run")
    assert done.returncode == 2
    assert "no part widow; there are dense, causal," in done.stderr


def test_wrong_numbers_are_seen() -> None:
    exact = [torch.ones(4, dtype=torch.float64)]
    eager = [exact[0] * (1 + 1e-7)]
    assert beyond([exact[0] * (1 + 9e-7)], eager, exact, torch.float32) == []
    assert beyond([exact[0] * (1 + 2e-6)], eager, exact, torch.float32) == ["result 0: 2e-06"]
    assert len(beyond([exact[0] * float("nan")], eager, exact, torch.float32)) == 1


@pytest.mark.parametrize(("before", "after"), [(0, 0), (128, 127), (63, 0), (500, 500)])
def test_tiles_with_a_pair_are_counted(before: int, after: int) -> None:
    n, (rows, columns) = 512, TILE
    i, j = torch.arange(n)[:, None], torch.arange(n)
    allowed = (i - j <= before) & (j - i <= after)
    tiles = allowed.view(n // rows, rows, n // columns, columns).any(3).any(1)
    assert visited(banded(1, 1, n, 16, before, after)) == float(tiles.float().mean())


def test_gradients_that_change_from_run_to_run_are_seen() -> None:
    x = torch.ones(3, requires_grad=True)
    assert same_every_time(lambda given: given.exp(), [x])
    assert not same_every_time(lambda given: given * torch.rand(3), [x])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_figures_are_shares_of_what_runs_beside(case: Case) -> None:
    (card,) = RATES
    floor = sum(each.microseconds for each in least(case, card))
    times = {"ours": 2 * floor, "plain": 8.0, "copy": 500.0, **dict.fromkeys(case.others, floor)}
    found = figures(case, times, card)
    assert found["of_floor"] == 0.5
    assert found["speed"] == dict.fromkeys(case.others, 0.5)
    assert ("per_flop" in found) == (case.plain is not None)
    assert ("of_blocks" in found) == (case.full.band is not None)

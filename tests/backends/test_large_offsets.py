"""Offsets beyond 2^31 elements: every kernel reads and writes tensors that are spread so far.

In processes of their own: an offset that overflows an int32 ends one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="untouched memory is free on Linux")
ROOT = Path(__file__).parents[2]


def far_apart(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.backends.far_apart", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_kernels_reach_elements_that_are_far_apart() -> None:
    done = far_apart()
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    found = dict(line.split(": ") for line in done.stdout.splitlines())
    assert set(found.values()) <= {"equal", "refused"}, found
    assert [*found.values()].count("equal") >= 7


@pytest.mark.parametrize("name", ["bias", "fading"])
def test_without_wide_offsets_they_do_not(name: str) -> None:
    done = far_apart(name, "--narrow")
    assert done.returncode != 0 or "differs" in done.stdout

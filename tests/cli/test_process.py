"""The command as a process: what it imports, how it ends, what a closed pipe does to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import SPEC

LIGHT = [
    ["--help"],
    ["check", "small.attn"],
    ["show", "small.attn", "--flops"],
    ["fmt", "--check", "small.attn"],
    ["zoo", "list"],
    ["explain", "E203"],
]
PROBE = """\
import sys
from attnc.cli import main
try:
    main()
except SystemExit:
    heavy = {"torch", "triton", "sympy", "networkx", "numpy"} & set(sys.modules)
    sys.exit(f"imported {sorted(heavy)}" if heavy else 0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.attn").write_text(SPEC)
    return tmp_path


@pytest.mark.parametrize("arguments", LIGHT, ids=lambda words: words[0])
def test_light_verbs_import_nothing_heavy(arguments: list[str], folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_closed_pipe_is_quiet(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "attnc", "explain"],
            stdout=closed, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")


def test_output_that_the_terminal_cannot_show_is_escaped(folder: Path) -> None:
    (folder / "bad.attn").write_text("attnc 1\nmodel m() {\n  注 = 1\n}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "attnc", "check", "bad.attn"],
        cwd=folder, capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 1
    assert rb"\u6ce8" in done.stderr and b"Traceback" not in done.stderr

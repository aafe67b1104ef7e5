"""The command as a process: what it imports, how it ends, what a closed pipe does to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.conftest import SPEC

YAML = "attnc: 1\nmodel: m\ninputs: {x: [b, n, 8]}\noutputs: {y: 'linear(x, 8)'}\n"
PROBE = """\
import sys
from attnc.cli import main

for arguments in (
    "--help", "check small.attn", "check small.yaml", "show small.attn --flops",
    "resolve small.attn", "resolve --unroll small.attn", "fmt --check small.attn", "zoo list",
    "diff small.attn", "draw small.attn", "explain E203", "explain mlp",
):
    sys.argv[1:] = arguments.split()
    try:
        main()
    except SystemExit as end:
        heavy = {"torch", "triton", "sympy", "networkx", "numpy"} & set(sys.modules)
        if end.code or heavy:
            sys.exit(f"{arguments}: exit code {end.code}, imported {sorted(heavy)}")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.attn").write_text(SPEC)
    (tmp_path / "small.yaml").write_text(YAML)
    return tmp_path


def test_light_verbs_import_nothing_heavy(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=folder, capture_output=True, text=True, check=False
    )
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


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_long_work_tells_a_terminal_what_it_is_at(folder: Path) -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "attnc", "compile", "small.attn", "-o", "out"],
        cwd=folder, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(theirs)
        seen = b"".join(read_all(ours))
        assert process.stdout is not None and process.stdout.read() == b""
    assert process.returncode == 0
    assert b"choosing backends" in seen and b"wrote out" in seen


def read_all(terminal: int) -> Iterator[bytes]:
    """What is written to a terminal until its last writer is gone."""
    with os.fdopen(terminal, "rb", buffering=0) as screen, suppress(OSError):
        while part := screen.read(4096):
            yield part


def test_output_that_the_terminal_cannot_show_is_escaped(folder: Path) -> None:
    (folder / "bad.attn").write_text("attnc 1\nmodel m() {\n  注 = 1\n}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "attnc", "check", "bad.attn"],
        cwd=folder, capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 1
    assert rb"\u6ce8" in done.stderr and b"Traceback" not in done.stderr

"""The text of emitted models: formatters and linters have nothing to say about it.

The models for a GPU of a few systems stand for all; `make models` takes every one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from attnc import zoo
from attnc.api import Compilation
from attnc.compiler.emit.layout import WIDTH
from tests.zoo.small import EVERY, small

FOR_GPU = zoo.names() if EVERY else ["cab_longshort_causal", "matchattention"]
LINT = "E,W,F,I,B,UP"


def ruff(*command: str) -> str:
    """What ruff has to say, nothing of it being configured here."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", command[0], "--isolated", f"--line-length={WIDTH}",
         *command[1:]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


def write(name: str, target: str, directory: Path) -> None:
    """Write the Python files of a model."""
    made = small(name).compilation if target == "cpu" else Compilation(small(name).graph, target)
    directory.mkdir()
    for file, text in made.artefact.files.items():
        if file.endswith(".py"):
            (directory / file).write_text(text)


def test_models_are_formatted_and_free_of_lint(tmp_path: Path) -> None:
    for name in zoo.names():
        write(name, "cpu", tmp_path / name)
    assert ruff("format", "--diff", str(tmp_path)) == ""
    assert ruff("check", f"--select={LINT}", str(tmp_path)) == ""


def test_models_for_a_gpu_are_free_of_lint(tmp_path: Path) -> None:
    for name in FOR_GPU:
        write(name, "cuda:90", tmp_path / name)
    assert ruff("check", f"--select={LINT}", str(tmp_path)) == ""

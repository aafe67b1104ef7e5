"""The Triton texts of the function table: run by the interpreter, compiled for two cards.

Both run in a process of their own, since Triton reads its mode when it is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from attnc.dsl.arithmetic import ArithmeticFault
from attnc.dsl.scorelang import FUNCTIONS, Function, fill

pytest.importorskip("triton")

POINTS = [-2.5, -1.0, -0.3, -0.01, 0.0, 0.004, 0.25, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 11.0, 40.0]
WHOLES = [-7, -5, -4, -3, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13]
DIVISORS = [3, -3, 2, 2, -2, 5, 1, 7, -4, 4, 2, 3, -7, 5, 4, -5]
TRUTHS = [True, False] * 8
KERNEL = '''
@triton.jit
def row_{name}(x, y, i, k, c, out):
    """{name}"""
    at = tl.arange(0, 16)
    x, y, c = tl.load(x + at), tl.load(y + at), tl.load(c + at) != 0
    i, k = tl.load(i + at), tl.load(k + at)
    tl.store(out + at, {text})
'''
RUN = """
import json, sys
import torch
import rows
given = [torch.tensor(values) for values in json.loads(sys.argv[1])]
found = {}
for name in json.loads(sys.argv[2]):
    out = torch.empty(16)
    getattr(rows, f"row_{name}")[(1,)](*given, out)
    found[name] = [repr(value) for value in out.tolist()]
print(json.dumps(found))
"""
COMPILE = """
import json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import rows
types = ["*fp32", "*fp32", "*i32", "*i32", "*i8", "*fp32"]
for target in (GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx942", 64)):
    signature = dict(zip(("x", "y", "i", "k", "c", "out"), types))
    triton.compile(ASTSource(rows.row_everything, signature), target=target)
print("compiled")
"""


def variables(row: Function) -> list[str]:
    """Return the variables a row is tried on: x y floats, i k ints, c a truth value."""
    floats, wholes = iter("xy"), iter("ik")
    return [
        {"bool": "c", "any": "i"}.get(kind) or next(wholes if kind == "int" else floats)
        for kind in row.arguments
    ]


def value(row: Function, values: Sequence[float]) -> float | None:
    """Return what the row gives; none where it has no value, as log(-1)."""
    try:
        found = row.value(*values)
    except (ArithmeticError, ArithmeticFault, ValueError):
        return None
    assert isinstance(found, (bool, int, float))
    return float(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the module `rows` with one kernel for each row, and one that sums all of them."""
    where = tmp_path_factory.mktemp("triton")
    definitions = [row.triton_definition for row in FUNCTIONS.values()]
    texts = {name: fill(row.triton, *variables(row)) for name, row in FUNCTIONS.items()}
    texts["everything"] = " + ".join(f"tl.cast({text}, tl.float32)" for text in texts.values())
    kernels = [KERNEL.format(name=name, text=text) for name, text in texts.items()]
    source = ["import triton", "import triton.language as tl", *definitions, *kernels]
    (where / "rows.py").write_text("\n".join(source))
    return where


def output(folder: Path, script: str, *arguments: str, interpret: bool) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "TRITON_INTERPRET": str(int(interpret))}
    command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_interpreted(folder: Path) -> None:
    columns: dict[str, Sequence[float]] = {
        "x": POINTS,
        "y": POINTS[::-1],
        "i": WHOLES,
        "k": DIVISORS,
        "c": TRUTHS,
    }
    given = [[int(value) if key == "c" else value for value in column]
             for key, column in columns.items()]  # fmt: skip
    arguments = json.dumps(given), json.dumps(list(FUNCTIONS))
    found = json.loads(output(folder, RUN, *arguments, interpret=True))
    for name, row in FUNCTIONS.items():
        for at in range(len(POINTS)):
            values = [columns[variable][at] for variable in variables(row)]
            expected = value(row, values)
            if expected is not None:
                got = float(found[name][at])
                assert got == pytest.approx(expected, rel=2e-6), (name, values)


def test_compiled(folder: Path) -> None:
    assert output(folder, COMPILE, interpret=False).strip() == "compiled"

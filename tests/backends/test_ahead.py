"""Machine code that is shipped beside the kernels: files, bytes, and that Triton finds it.

A process of its own compiles: in this one Triton may be in its interpreter. There is no card here,
so that no kernel is launched; all up to that runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import attnc
from attnc.api import Compilation
from attnc.compiler.artefact import write
from attnc.dsl.diagnostics import UsageError

SPEC = """
model tiny {
  input q: [b, 2, n, 16]
  input k: [b, 2, n, 16]
  input v: [b, 2, n, 16]
  o = attend(q, k, v, domain = causal)
  output out = o
}
"""

COMPILE = """
import sys
from pathlib import Path
import attnc
from attnc.api import Compilation
from attnc.compiler.artefact import write

graph = attnc.check(attnc.load(sys.argv[1]))
made = Compilation(graph, "triton", ahead=("cuda:90",), resources=True)
write(made.artefact, Path(sys.argv[2]))
"""

FIND = """
import importlib, sys
import torch
import triton.compiler.compiler as compiler
import attnc
from attnc.api import Compilation
from attnc.backends.triton.machine import compiled
from attnc.compiler.targets import parse_target

class Compiles(Exception):
    pass

def refuse(*arguments, **options):
    raise Compiles

kernels = importlib.import_module("made.kernels")
(site,) = Compilation(attnc.check(attnc.load(sys.argv[1])), "triton").kernels
compiler.ASTSource.make_ir = refuse
target = parse_target("cuda:90")

def found(dtype):
    try:
        return sorted(compiled(kernels, site, target, dtype, {"b": 2, "n": 1024}))
    except Compiles:
        return "compiles"

print(found(torch.bfloat16))
kernels.use_machine_code("cuda-90")
print(found(torch.bfloat16))
print(found(torch.float16))
"""


def run(script: str, *arguments: str, cwd: Path, cache: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    path = f"{Path(attnc.__file__).parents[1]}{os.pathsep}{cwd}"
    environment |= {"TRITON_CACHE_DIR": str(cwd / cache), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package `made`, compiled ahead."""
    made = tmp_path_factory.mktemp("ahead")
    (made / "tiny.attn").write_text(SPEC)
    run(COMPILE, "tiny.attn", "made", cwd=made, cache="first")
    return made


def test_the_package_holds_machine_code_and_says_what_it_takes(folder: Path) -> None:
    with zipfile.ZipFile(folder / "made" / "machine_code.zip") as files:
        names = [name.split("/") for name in files.namelist()]
        assert all(files.read(name)[:4] == b"\x7fELF" for name in files.namelist()[::2])
    kernels = ("forward", "keys", "queries")
    assert {card for card, _, _ in names} == {"cuda-90"}
    assert sorted(name for _, _, name in names) == sorted(
        f"tiny_{kernel}.{kind}" for kernel in kernels for kind in ("cubin", "json")
    )
    manifest = json.loads((folder / "made" / "manifest.json").read_text())
    data = (folder / "made" / "machine_code.zip").read_bytes()
    assert manifest["files"]["machine_code.zip"] == hashlib.sha256(data).hexdigest()
    (kernel,) = manifest["kernels"]
    assert sorted(kernel["resources"]["cuda:90"]) == sorted(kernels)
    assert all(each["spills"] == 0 for each in kernel["resources"]["cuda:90"].values())


def test_the_same_spec_gives_the_same_bytes(folder: Path) -> None:
    run(COMPILE, "tiny.attn", "again", cwd=folder, cache="second")
    for name in ("machine_code.zip", "kernels.py", "manifest.json"):
        assert (folder / "made" / name).read_bytes() == (folder / "again" / name).read_bytes()


def test_triton_finds_the_machine_code_and_compiles_what_is_not_there(folder: Path) -> None:
    lines = run(FIND, "tiny.attn", cwd=folder, cache="third").splitlines()
    assert lines == ["compiles", str([f"tiny_{x}" for x in ("forward", "keys", "queries")]),
                     "compiles"]  # fmt: skip


def test_without_it_kernels_are_as_ever(tmp_path: Path) -> None:
    made = Compilation(attnc.check(attnc.loads(SPEC, "tiny.attn")), "triton")
    assert "machine_code" not in made.artefact.files["kernels.py"]
    write(made.artefact, tmp_path / "made")
    assert not (tmp_path / "made" / "machine_code.zip").exists()


def test_the_interpreter_makes_no_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton import knobs

    monkeypatch.setattr(knobs.runtime, "interpret", True)
    compilation = Compilation(attnc.check(attnc.loads(SPEC, "t.attn")), "triton", resources=True)
    with pytest.raises(UsageError, match="interpreter"):
        assert compilation.plan

"""The package list, the links for static tools, the public names, sizes of files and functions."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.oldest import constraints

ROOT = Path(__file__).parent.parent
FOLDERS = ("dsl", "compiler", "backends", "zoo")
SOURCES = [
    path for folder in ("attnc/cli", *FOLDERS) for path in sorted((ROOT / folder).rglob("*.py"))
] + [ROOT / "attnc/api.py"]


def test_every_package_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(settings["tool"]["setuptools"]["packages"])
    found = {"attnc", "attnc.cli"}
    for folder in FOLDERS:
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add("attnc." + ".".join(init.parent.relative_to(ROOT).parts))
    assert listed == found


@pytest.mark.parametrize("folder", FOLDERS)
def test_links_for_static_tools_point_right(folder: str) -> None:
    link = ROOT / "attnc" / folder
    assert link.is_symlink()
    assert link.resolve() == ROOT / folder


def test_public_names_are_few_and_stay() -> None:
    import attnc

    assert attnc.__all__ == [
        "AttncError", "Edit", "__version__", "capture", "check", "compile", "edit", "emit", "load",
        "loads", "parameter_count", "plan", "verify", "zoo",
    ]  # fmt: skip
    assert all(getattr(attnc, name) is not None for name in attnc.__all__)


def test_the_version_stands_in_one_way() -> None:
    import attnc

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["project"]["version"] == attnc.__version__


def test_every_dependency_has_a_lowest_release() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = [*constraints(settings["project"]["dependencies"])]
    assert {"torch==2.11.*", "triton==3.6.*; sys_platform == 'linux'"} <= {*found}
    with pytest.raises(ValueError, match="lark<2 names no lowest release"):
        [*constraints(["lark<2"])]


def test_importing_and_checking_need_no_torch() -> None:
    program = (
        "import sys, attnc; attnc.check('zoo:crossvit'); "
        "heavy = {'torch', 'triton', 'networkx', 'sympy'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 600
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_no_module_is_a_drawer() -> None:
    names = {path.stem for path in SOURCES}
    assert names.isdisjoint({"utils", "helpers", "common", "misc", "base"})

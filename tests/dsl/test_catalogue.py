"""Every entry of the catalogue is complete, raised somewhere, and its examples tell the truth."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from attnc import api
from attnc.cli.app import app
from attnc.dsl import codes
from attnc.dsl.codes import CATALOGUE, Problem
from attnc.dsl.diagnostics import SpecError
from attnc.dsl.graph import Graph
from attnc.dsl.state import weights

ROOT = Path(__file__).resolve().parents[2]
CONSTANTS = {name: each for name, each in vars(codes).items() if isinstance(each, Problem)}
TEXTS = ("title", "message", "meaning", "wrong", "right")

WITHOUT_FILES = ("E100", "E208", "E210", "E401", "E403", "E507", "E600", "E611", "E612", "E613")
"""Codes whose example is a command that needs no file but those it writes."""


def nothing_more(graph: Graph) -> None: ...


def lowered(graph: Graph) -> object:
    return api.Compilation(graph).module


STAGES: dict[str, Callable[[Graph], object]] = {
    "E1": nothing_more, "E2": nothing_more, "E302": weights, "E303": lowered,
}  # fmt: skip
"""How far to take the examples of a code, or a group, which are specs."""


def is_command(text: str) -> bool:
    return text.startswith("$ ")


def stage(code: str) -> Callable[[Graph], object] | None:
    return STAGES.get(code, STAGES.get(code[:2]))


SPECS = sorted(
    code for code, each in CATALOGUE.items() if stage(code) and not is_command(each.wrong)
)


def found(text: str, go_on: Callable[[Graph], object]) -> list[str]:
    """The codes that reading, elaborating and going on with a spec gives."""
    try:
        go_on(api.check(api.loads(text)))
    except SpecError as error:
        return [diagnostic.code for diagnostic in error.diagnostics]
    return []


@pytest.mark.parametrize("code", SPECS)
def test_an_example_fails_with_its_code_alone_and_its_remedy_mends_it(code: str) -> None:
    problem, go_on = CATALOGUE[code], stage(code)
    assert go_on is not None
    assert found(problem.wrong, go_on) == [code]
    assert found(problem.right, go_on) == []


@pytest.mark.parametrize("code", WITHOUT_FILES)
def test_a_command_fails_with_its_code_and_is_mended(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("wrong", "right"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "wrong")
    assert f"error[{code}]" in run(CATALOGUE[code].wrong)
    monkeypatch.chdir(tmp_path / "right")
    assert "error[" not in run(CATALOGUE[code].right)


def run(commands: str) -> str:
    """What the commands of an example print to stderr."""
    runs = [
        CliRunner().invoke(app, shlex.split(line.removeprefix("$ attnc ")))
        for line in commands.splitlines()
    ]
    return "".join(each.stderr for each in runs)


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_an_entry_is_complete(code: str) -> None:
    problem = CATALOGUE[code]
    assert problem.code == code and re.fullmatch(r"E[1-6]\d\d", code)
    assert all(getattr(problem, name).strip() for name in TEXTS)
    assert problem.wrong != problem.right
    assert problem.meaning.endswith(".") and "  " not in problem.meaning
    assert not problem.title.endswith(".") and not problem.message.endswith(".")


def test_every_entry_has_one_constant_and_every_group_its_module() -> None:
    assert sorted(each.code for each in CONSTANTS.values()) == sorted(CATALOGUE)
    groups = {"1": "reading", "2": "values", "3": "lowering", "4": "backends", "5": "weights",
              "6": "environment"}  # fmt: skip
    for name, problem in CONSTANTS.items():
        module = (ROOT / f"dsl/codes/{groups[problem.code[1]]}.py").read_text()
        assert f'{name} = _problem(\n    "{problem.code}"' in module


@pytest.mark.parametrize("name", sorted(CONSTANTS))
def test_every_entry_is_raised_somewhere(name: str) -> None:
    assert re.search(rf"\bcodes\.{name}\b|\b{name}\.at\(", raising())


def raising() -> str:
    """All sources outside the catalogue."""
    folders = [ROOT / each for each in ("attnc/cli", "dsl", "compiler", "backends")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    files += (ROOT / "attnc").glob("*.py")
    return "".join(path.read_text() for path in files if path.parent.name != "codes")


def test_a_code_is_taken_once() -> None:
    from attnc.dsl.codes.problem import problem

    with pytest.raises(ValueError, match="E203 is taken"):
        problem("E203", "again", "again", meaning="", wrong="", right="")


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_explain_prints_all_of_an_entry(code: str) -> None:
    from attnc.cli.explain import explain

    problem, text = CATALOGUE[code], explain(code).text
    assert text.startswith(f"{code}: {problem.title}\n")
    folded = " ".join(text.split())
    for part in (problem.meaning, problem.wrong, problem.right):
        assert " ".join(part.split()) in folded

"""Outcomes and errors become output and exit codes in one place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnc.cli.outcome import Outcome
from attnc.cli.present import Style, present
from attnc.dsl import codes
from attnc.dsl.diagnostics import AttncError, EnvironmentLacks, SpecError, UsageError

FOUND = codes.UNDEFINED.at(None, name="x")

Captured = pytest.CaptureFixture[str]


def failing(error: BaseException) -> Outcome:
    raise error


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(Outcome(), 0), (Outcome(ok=False), 1), (Outcome(diagnostics=(FOUND,)), 1)],
)
def test_exit_code_of_an_outcome(outcome: Outcome, code: int) -> None:
    assert present("check", lambda: outcome, Style()) == code


@pytest.mark.parametrize(
    ("error", "code"), [(SpecError, 1), (UsageError, 2), (EnvironmentLacks, 3)]
)
def test_exit_code_of_an_error(error: type[AttncError], code: int, capsys: Captured) -> None:
    assert present("check", lambda: failing(error([FOUND], dropped=2)), Style()) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "error[E201]: 'x' is not defined here\n1 error, 2 more not shown\n"


def test_artefacts_go_to_stdout_and_messages_to_stderr(capsys: Captured) -> None:
    outcome = Outcome("text\n", messages=("done",), details=("more",))
    present("fmt", lambda: outcome, Style())
    assert capsys.readouterr() == ("text\n", "done\n")
    present("fmt", lambda: outcome, Style(quiet=True))
    assert capsys.readouterr() == ("text\n", "")
    present("fmt", lambda: outcome, Style(verbose=True))
    assert capsys.readouterr() == ("text\n", "done\nmore\n")


def test_json_is_one_object_and_nothing_else(capsys: Captured) -> None:
    outcome = Outcome("text\n", {"a": 1}, messages=("done",))
    assert present("fmt", lambda: outcome, Style(json=True)) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out) == {
        "version": 1, "command": "fmt", "ok": True, "diagnostics": [], "result": {"a": 1},
    }  # fmt: skip


@pytest.mark.parametrize("error", [SpecError([FOUND]), ValueError("odd")])
def test_json_of_a_failure_is_not_ok(error: Exception, capsys: Captured) -> None:
    present("check", lambda: failing(error), Style(json=True))
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert not answer["ok"] and len(answer["diagnostics"]) == 1
    assert shown.err == ""


def test_an_internal_error_saves_a_report_and_shows_no_traceback(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ATTNC_TRACEBACK", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert present("check", lambda: failing(KeyError("odd")), Style()) == 70
    shown = capsys.readouterr().err
    (report,) = tmp_path.iterdir()
    assert "internal error: KeyError: 'odd'" in shown and str(report) in shown
    assert "Traceback" not in shown
    assert "Traceback" in report.read_text()


def test_the_traceback_is_shown_on_request(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ATTNC_TRACEBACK", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert present("check", lambda: failing(RecursionError()), Style()) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_missing_package_is_a_fault_of_the_machine(capsys: Captured) -> None:
    error = ModuleNotFoundError("No module named 'spam.eggs'", name="spam.eggs")
    assert present("demo", lambda: failing(error), Style()) == 3
    assert "pip install spam" in capsys.readouterr().err


def test_interrupt() -> None:
    assert present("check", lambda: failing(KeyboardInterrupt()), Style()) == 130


@pytest.mark.parametrize("form", ["github", "sarif"])
def test_reports_for_machines_go_to_stdout(form: str, capsys: Captured) -> None:
    present("check", lambda: Outcome(diagnostics=(FOUND,), report=form), Style())
    shown = capsys.readouterr()
    assert "E201" in shown.out and shown.err == ""


def test_color_always_colours_diagnostics(capsys: Captured) -> None:
    present("check", lambda: Outcome(diagnostics=(FOUND,)), Style(color="always"))
    assert "\x1b[1;31m" in capsys.readouterr().err

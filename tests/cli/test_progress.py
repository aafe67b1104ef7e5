"""The line that says what long work is at: for people only, and never on stdout."""

from __future__ import annotations

import sys
from io import StringIO

import pytest

from attnc.cli.outcome import Outcome
from attnc.cli.present import Style, present
from attnc.cli.progress import at
from tests.cli.test_terminal import Screen

GREEN = "\x1b[32m"


def working() -> Outcome:
    at("first [part]")
    at("second", 2, 3)
    return Outcome("text\n")


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def shown(monkeypatch: pytest.MonkeyPatch, stream: StringIO, style: Style) -> str:
    """What a verb writes to stderr."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        assert present("compile", working, style) == 0
    return stream.getvalue()


def test_a_terminal_sees_every_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = shown(monkeypatch, Screen(), Style())
    assert "first [part]" in seen and "2/3 second" in seen and GREEN in seen
    assert seen.endswith("\x1b[2K"), "the line is gone at the end"
    assert capsys.readouterr().out == "text\n"


@pytest.mark.parametrize("style", [Style(json=True), Style(quiet=True)])
def test_machines_see_nothing(monkeypatch: pytest.MonkeyPatch, style: Style) -> None:
    assert shown(monkeypatch, Screen(), style) == ""


def test_files_and_dumb_terminals_see_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, StringIO(), Style()) == ""
    monkeypatch.setenv("TERM", "dumb")
    assert shown(monkeypatch, Screen(), Style()) == ""


def test_no_color_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    seen = shown(monkeypatch, Screen(), Style())
    assert "2/3 second" in seen and GREEN not in seen
    assert GREEN not in shown(monkeypatch, Screen(), Style(color="never"))


def test_nobody_is_told_outside_a_verb() -> None:
    at("nothing")

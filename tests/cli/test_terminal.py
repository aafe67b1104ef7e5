"""When colours are written."""

from __future__ import annotations

from io import StringIO
from typing import get_args

import pytest

from attnc.cli.terminal import ColorChoice, has_color


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "on_screen", "in_pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_environment(
    environment: dict[str, str], on_screen: bool, in_pipe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert has_color(Screen(), "auto") is on_screen
    assert has_color(StringIO(), "auto") is in_pipe


def test_the_option_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert has_color(StringIO(), "always")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not has_color(Screen(), "never")
    assert get_args(ColorChoice) == ("auto", "always", "never")

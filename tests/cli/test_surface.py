"""The frozen command line: a new verb or option shows here first, and is meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from attnc.cli.app import app


def test_verbs_and_options_are_as_listed(golden: Callable[[Path | str, str], None]) -> None:
    golden("cli.txt", "".join(f"{line}\n" for line in _listing(get_command(app), "attnc")))


def test_every_verb_and_option_has_help() -> None:
    for path, command in _commands(get_command(app), "attnc"):
        assert command.help, path
        assert all(parameter.help for parameter in command.params), path


def _listing(command: Any, path: str) -> Iterator[str]:
    for name, each in _commands(command, path):
        yield name
        yield from sorted(f"  {_shown(parameter)}" for parameter in each.params)


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{path} {name}")


def _shown(parameter: Any) -> str:
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    marks = [
        f" {parameter.metavar}" if parameter.metavar else "",
        " required" if parameter.required else "",
        " repeatable" if getattr(parameter, "multiple", False) else "",
        f" = {parameter.default}" if parameter.default not in (None, False, "") else "",
    ]
    return names + "".join(marks)

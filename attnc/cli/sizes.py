"""`--size b=1`: numbers for the symbolic sizes of the inputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from attnc.dsl import codes
from attnc.dsl.diagnostics import UsageError

SizeOption = Annotated[
    list[str] | None,
    typer.Option("--size", metavar="NAME=NUMBER", help="Count for this input size; repeatable."),
]


def parse_sizes(given: Iterable[str]) -> dict[str, int]:
    """Return the sizes by name.

    Raises:
        UsageError: one is not `NAME=NUMBER` with a number above 0.
    """
    return dict(_size(text) for text in given)


def _size(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if not (name and value.isdecimal() and int(value)):
        detail = f"{text!r} is not NAME=NUMBER"
        raise UsageError([codes.OPTION.at(None, option="--size", detail=detail)])
    return name, int(value)

"""`attnc explain`: an error code, a block of the standard library, or an operator."""

from __future__ import annotations

from textwrap import fill, indent
from typing import Annotated

import typer

from attnc.cli.outcome import Outcome
from attnc.dsl.codes import CATALOGUE, UNKNOWN_TOPIC, Problem
from attnc.dsl.diagnostics import UsageError
from attnc.dsl.suggest import did_you_mean

WIDTH = 80
"""Columns of prose."""

INDENT = "    "


def complete_topic(_incomplete: str) -> list[str]:
    """Complete codes, blocks and operators."""
    return topics()


TopicArgument = Annotated[
    str,
    typer.Argument(metavar="[NAME]", help="E203, mlp, linear ...", autocompletion=complete_topic),
]


def explain(name: TopicArgument = "") -> Outcome:
    """Explain an error code, or print the definition of a block or operator."""
    if not name:
        return Outcome("".join(f"{topic}\n" for topic in topics()), list(topics()))
    text = _explained(name)
    return Outcome(text, text)


def topics() -> list[str]:
    """Return all that can be explained: codes, then blocks, then operators."""
    from attnc.dsl import library
    from attnc.dsl.ops import TABLE

    blocks = library.names()
    return [*sorted(CATALOGUE), *sorted(blocks), *sorted(set(TABLE) - blocks)]


def _explained(name: str) -> str:
    from attnc.dsl import library
    from attnc.dsl.ops import TABLE

    if name.upper() in CATALOGUE:
        return _problem(CATALOGUE[name.upper()])
    if name in library.names():
        return library.text(name)
    if name in TABLE:
        row = TABLE[name]
        return f"{name}: {row.signature}\n\n{row.doc}\n"
    hint = did_you_mean(name, topics())
    raise UsageError([UNKNOWN_TOPIC.at(None, name=name, hint=hint)])


def _problem(problem: Problem) -> str:
    parts = [
        f"{problem.code}: {problem.title}",
        fill(problem.meaning, WIDTH),
        f"Wrong:\n{indent(problem.wrong, INDENT)}",
        f"Right:\n{indent(problem.right, INDENT)}",
    ]
    if problem.help:
        parts.append(f"Remedy: {problem.help}")
    return "\n\n".join(parts) + "\n"

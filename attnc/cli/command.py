"""Verbs as typer commands: each gets the options that all share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from attnc.cli.outcome import Outcome
from attnc.cli.present import Style, present
from attnc.cli.terminal import ColorChoice

Verb = Callable[..., Outcome]


def _shared(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    color: Annotated[ColorChoice, typer.Option(help="When to use colours.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell more.")] = False,
) -> Style:
    return Style(json, color, quiet, verbose)


def command(name: str, verb: Verb) -> Callable[..., None]:
    """Return `verb` as a typer command called `name`, with the shared options added.

    A verb is a plain function from the values of its options to an `Outcome`.
    """
    own = inspect.signature(verb, eval_str=True)
    shared = inspect.signature(_shared, eval_str=True)

    def run(**values: Any) -> None:
        style = _shared(**{key: values.pop(key) for key in shared.parameters})
        raise typer.Exit(present(name, partial(verb, **values), style))

    parameters = [*own.parameters.values(), *shared.parameters.values()]
    keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    run.__dict__["__signature__"] = inspect.Signature(keywords)
    run.__annotations__ = {each.name: each.annotation for each in keywords}
    run.__doc__ = verb.__doc__
    return run

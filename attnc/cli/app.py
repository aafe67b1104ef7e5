"""All verbs in one table. What a verb needs beyond the front end, it imports when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from attnc import __version__
from attnc.cli import weights, zoo
from attnc.cli.check import check
from attnc.cli.command import Verb, command
from attnc.cli.compile import compile
from attnc.cli.diff import diff
from attnc.cli.doctor import doctor
from attnc.cli.draw import draw
from attnc.cli.explain import explain
from attnc.cli.fmt import fmt
from attnc.cli.new import new
from attnc.cli.plan import plan
from attnc.cli.resolve import resolve
from attnc.cli.schema import schema
from attnc.cli.show import show
from attnc.cli.tune import tune
from attnc.cli.verify import verify
from attnc.cli.version import version

VERBS: Mapping[str, Verb] = {
    "check": check,
    "show": show,
    "resolve": resolve,
    "diff": diff,
    "draw": draw,
    "fmt": fmt,
    "compile": compile,
    "plan": plan,
    "verify": verify,
    "explain": explain,
    "new": new,
    "schema": schema,
    "tune": tune,
    "doctor": doctor,
    "version": version,
}

GROUPS: Mapping[str, tuple[str, Mapping[str, Verb]]] = {
    "weights": (
        "Official checkpoints: check, convert, inspect.",
        {"check": weights.check, "convert": weights.convert, "inspect": weights.inspect},
    ),
    "zoo": (
        "Published systems as specs.",
        {"list": zoo.listed, "show": zoo.shown, "copy": zoo.copied, "check": zoo.checked},
    ),
}

HELP = "Compile attention architectures, written as short checked specs, to readable PyTorch."
EPILOG = "Exit codes: 0 done, 1 the spec is wrong, 2 wrong usage, 3 this machine cannot, 70 a bug."


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"attnc {__version__}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


def _group(help: str, epilog: str | None = None) -> typer.Typer:
    return typer.Typer(
        name="attnc", help=help, epilog=epilog,
        no_args_is_help=True, pretty_exceptions_enable=False,
    )  # fmt: skip


def _application() -> typer.Typer:
    application = _group(HELP, EPILOG)
    application.callback()(_root)
    for name, verb in VERBS.items():
        application.command(name)(command(name, verb))
    for group, (help, verbs) in GROUPS.items():
        inner = _group(help)
        for name, verb in verbs.items():
            inner.command(name)(command(f"{group} {name}", verb))
        application.add_typer(inner, name=group)
    return application


app = _application()
"""The typer application."""

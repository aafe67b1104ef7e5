"""Write the command line reference from the commands themselves."""

from collections.abc import Mapping
from typing import Any

import mkdocs_gen_files
import typer

from attnc.cli.app import app


def below(command: Any) -> Mapping[str, Any]:
    """Return the commands of a group; typer may carry a click of its own, so no type is asked."""
    return getattr(command, "commands", {})


def write(command: Any, name: str, level: int) -> None:
    """Write one command, then those below it."""
    context = typer.Context(command, info_name=name)
    print(f"{'#' * level} {name}\n", file=page)
    print(f"{(command.help or '').strip()}\n", file=page)
    usage = command.get_usage(context).removeprefix("Usage: ")
    print(f"```text\n{usage}\n```\n", file=page)
    options = [
        (", ".join(parameter.opts), parameter.help or "")
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.hidden
    ]
    if options:
        print("| option | meaning |\n|---|---|", file=page)
        for flags, meaning in options:
            print(f"| `{flags}` | {meaning.replace('|', chr(92) + '|')} |", file=page)
        print(file=page)
    for child in sorted(below(command)):
        write(below(command)[child], f"{name} {child}", level + 1)


top = typer.main.get_command(app)
if not below(top):
    raise SystemExit("the command line has no commands to document")
with mkdocs_gen_files.open("reference/cli.md", "w") as page:
    write(top, "attnc", 1)

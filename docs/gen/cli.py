"""Write the command line reference from the commands themselves."""

import click
import mkdocs_gen_files
import typer

from attnc.cli.app import app


def write(command: click.Command, name: str, level: int) -> None:
    """Write one command, then those below it."""
    context = click.Context(command, info_name=name)
    print(f"{'#' * level} {name}\n", file=page)
    print(f"{(command.help or '').strip()}\n", file=page)
    usage = command.get_usage(context).removeprefix("Usage: ")
    print(f"```text\n{usage}\n```\n", file=page)
    options = [
        (", ".join(parameter.opts), parameter.help or "")
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
    ]
    if options:
        print("| option | meaning |\n|---|---|", file=page)
        for flags, meaning in options:
            print(f"| `{flags}` | {meaning.replace('|', chr(92) + '|')} |", file=page)
        print(file=page)
    if isinstance(command, click.Group):
        for child in sorted(command.commands):
            write(command.commands[child], f"{name} {child}", level + 1)


with mkdocs_gen_files.open("reference/cli.md", "w") as page:
    write(typer.main.get_command(app), "attnc", 1)

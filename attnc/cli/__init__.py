"""The command line."""

from __future__ import annotations


def main() -> None:
    """Run `attnc` with the arguments of the process."""
    import io
    import sys

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from attnc.cli.app import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)

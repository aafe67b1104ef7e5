"""What long work is at: one line on stderr, where a person watches, gone when it is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

from attnc.cli.terminal import ColorChoice, has_color

if TYPE_CHECKING:
    from rich.live import Live

REFRESHED = 12.5
"""How often the line is drawn in a second."""


class _Line:
    """The line; it appears when there is something to say."""

    def __init__(self, stream: TextIO, has_color: bool) -> None:
        self.stream, self.has_color = stream, has_color
        self.live: Live | None = None

    def say(self, what: str) -> None:
        from rich.spinner import Spinner
        from rich.text import Text

        if self.live is None:
            self.live = self._started()
        self.live.update(Spinner("dots", Text(what), style="green"), refresh=True)

    def _started(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self.stream, force_terminal=True, no_color=not self.has_color)
        live = Live(
            console=console, transient=True, refresh_per_second=REFRESHED, redirect_stdout=False
        )
        live.start()
        return live

    def stop(self) -> None:
        if self.live is not None:
            self.live.stop()


_LINE: ContextVar[_Line | None] = ContextVar("line", default=None)


def at(what: str, number: int = 0, total: int = 0) -> None:
    """Say what is being done now; silent where nobody watches.

    Args:
        number, total: which of several things this is, from 1 on.
    """
    line = _LINE.get()
    if line is not None:
        line.say(f"{number}/{total} {what}" if total else what)


@contextmanager
def watched(silent: bool, color: ColorChoice) -> Iterator[None]:
    """Let `at` write to stderr inside, if that is a terminal."""
    stream = sys.stderr
    shown = not silent and stream.isatty() and os.environ.get("TERM") != "dumb"
    line = _Line(stream, has_color(stream, color)) if shown else None
    token = _LINE.set(line)
    try:
        yield
    finally:
        _LINE.reset(token)
        if line is not None:
            line.stop()

"""When to colour: the option, then NO_COLOR, FORCE_COLOR, TERM, and whether a person reads."""

from __future__ import annotations

import os
from typing import Literal, TextIO

ColorChoice = Literal["auto", "always", "never"]


def has_color(stream: TextIO, choice: ColorChoice) -> bool:
    """Say whether to write colours to `stream`.

    Sources: no-color.org, force-color.org. The option wins over the environment.
    """
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()

"""`attnc version`."""

from __future__ import annotations

from attnc import __version__
from attnc.cli.outcome import Outcome


def version() -> Outcome:
    """Print the version."""
    return Outcome(f"attnc {__version__}\n", __version__)

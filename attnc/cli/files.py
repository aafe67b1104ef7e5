"""Writing files: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from attnc.dsl import codes
from attnc.dsl.diagnostics import EnvironmentLacks, UsageError


def write(path: str, text: str) -> None:
    """Write `text` to a file in one step: readers see the old file or the new one.

    Raises:
        EnvironmentLacks: the path cannot be written.
    """
    target = Path(path).resolve()
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        with tempfile.NamedTemporaryFile(
            "w", dir=target.parent, prefix=f".{target.name}.", delete=False,
            encoding="utf-8", newline="",
        ) as draft:  # fmt: skip
            draft.write(text)
        Path(draft.name).chmod(mode)
        Path(draft.name).replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EnvironmentLacks([codes.UNWRITABLE.at(None, name=path, reason=reason)]) from error


def create(path: str, text: str, force: bool) -> None:
    """Write a file that must be new, unless `force`.

    Raises:
        UsageError: it exists already.
        EnvironmentLacks: the path cannot be written.
    """
    if Path(path).exists() and not force:
        raise UsageError([codes.EXISTS.at(None, name=path)])
    write(path, text)


def _umask() -> int:
    """Return the umask; it can be read only by setting it."""
    current = os.umask(0)
    os.umask(current)
    return current

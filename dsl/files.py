"""Reading a file, or stdin, safely."""

from __future__ import annotations

import sys
from pathlib import Path

from attnc.dsl import codes
from attnc.dsl.diagnostics import Collector
from attnc.dsl.spans import Source

LARGEST = 4 * 1024 * 1024
"""Bytes that a spec may have."""

STDIN = "-"


def read_source(path: Path | str, collector: Collector, shown: str = "") -> Source | None:
    """Read a spec file as UTF-8; `-` is stdin. `shown` is its name in messages, else the path.

    Returns none where that fails (E100 unreadable, E101 not UTF-8, E102 too large), which is
    reported. Never reads more than the largest size allowed.
    """
    name = shown or ("<stdin>" if str(path) == STDIN else str(path))
    try:
        data, size = _stdin() if str(path) == STDIN else _file(Path(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        collector.add(codes.UNREADABLE.at(None, name=name, reason=reason.lower()))
        return None
    if size > LARGEST:
        collector.add(codes.TOO_LARGE.at(None, name=name, size=size, limit=LARGEST))
        return None
    try:
        return Source(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        byte = f"0x{error.object[error.start]:02x}"
        offset = error.start + len(data) - len(error.object)  # a byte order mark is left out
        collector.add(codes.NOT_UTF8.at(None, name=name, byte=byte, offset=offset))
        return None


def _file(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
        return data, max(len(data), path.stat().st_size)


def _stdin() -> tuple[bytes, int]:
    data = sys.stdin.buffer.read(LARGEST + 1)
    return data, len(data)

"""Published systems as specs: data, not code."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from pathlib import Path


@cache
def entries() -> dict[str, Path]:
    """Return the spec file of every system, by name, in order."""
    with as_file(files("attnc.zoo")) as root:
        found = [*root.glob("*/*.yaml"), *root.glob("*/*.attn")]
    return {path.stem: path for path in sorted(found, key=lambda path: path.stem)}


def names() -> list[str]:
    """Return the names of all systems, in order."""
    return [*entries()]


def family(name: str) -> str:
    """Return the family that a system stands in: `vision`, `language` ..."""
    return entries()[name].parent.name

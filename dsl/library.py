"""The standard library: blocks in the language itself, one file each under std/."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from attnc.dsl.diagnostics import Collector
from attnc.dsl.spans import Source
from attnc.dsl.values import BlockRef, Home


@cache
def names() -> frozenset[str]:
    """Return the names of all blocks of the standard library; none is read for this."""
    entries = files("attnc.dsl.std").iterdir()
    return frozenset(
        entry.name.removesuffix(".attn") for entry in entries if entry.name.endswith(".attn")
    )


@cache
def text(name: str) -> str:
    """Return the file that defines block `name`."""
    return files("attnc.dsl.std").joinpath(f"{name}.attn").read_text(encoding="utf-8")


@cache
def block(name: str) -> BlockRef:
    """Return block `name`.

    Raises:
        SpecError: the file is at fault, which a test excludes.
        KeyError: there is no such block.
    """
    from attnc.dsl.text_reader import read_text

    if name not in names():
        raise KeyError(name)
    collector = Collector()
    spec = read_text(Source(f"std:{name}", text(name)), collector)
    collector.raise_if_any()
    if spec is None:
        raise KeyError(name)
    return BlockRef(Home(f"std:{name}", {each.name: each for each in spec.blocks}), name)

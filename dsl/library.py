"""The standard library: blocks in the language itself, one file each under std/."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
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


_EXAMPLE = re.compile(r"^# Example: (?P<call>.*\)), (?P<inputs>\w+: \[.*)$", re.MULTILINE)
_INPUT = re.compile(r"(\w+): (\[[^\]]*\](?: int| bool)?)")


@dataclass(frozen=True, slots=True)
class Example:
    """A use of a block, the last line of its file.

    Attributes:
        call: such as `cross_attention(x, z, heads=2)`.
        inputs: name -> shape and dtype, as a spec declares them.
        results: how many tensors it gives.
    """

    call: str
    inputs: Mapping[str, str]
    results: int

    @property
    def text(self) -> str:
        """A model that makes this call, as a spec; its block is called `f`."""
        names = [f"y{number}" for number in range(1, self.results + 1)]
        lines = [f"input {name}: {kind}" for name, kind in self.inputs.items()]
        lines += [f"{', '.join(names)} = {self.call} @f"]
        lines += [f"output out{name[1:]} = {name}" for name in names]
        return "model example {\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def example(name: str) -> Example | None:
    """Return the example of block `name`; none where its file has none."""
    found = _EXAMPLE.search(text(name))
    if found is None:
        return None
    results = max(len(block(name).block.results), 1)
    return Example(found["call"], dict(_INPUT.findall(found["inputs"])), results)

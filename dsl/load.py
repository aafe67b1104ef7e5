"""Specs by path, by `zoo:name`, or from text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from attnc.dsl import codes
from attnc.dsl.diagnostics import Collector, EnvironmentLacks, UsageError
from attnc.dsl.files import read_source
from attnc.dsl.spans import Source
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.tree import Spec

Zoo = Callable[[], Mapping[str, Path]]
"""Gives the spec file of each zoo system, when it is asked for."""

ZOO = "zoo:"


def read_spec(path: Path | str, collector: Collector, shown: str = "") -> Spec | None:
    """Read a spec file in the notation that its name or, for stdin, its text says.

    Args:
        shown: what to call it in messages; none for the path.
    """
    source = read_source(path, collector, shown)
    return None if source is None else parse(source, collector)


def parse(source: Source, collector: Collector) -> Spec | None:
    """Parse a source in either notation.

    The name decides: `.attn` is text, `.yaml` and `.yml` are YAML. For any other name the first
    word does: a YAML spec begins with a key and a colon.
    """
    if is_text(source):
        from attnc.dsl.text_reader import read_text

        return read_text(source, collector)
    from attnc.dsl.yaml_reader import read_yaml

    return read_yaml(source, collector)


def is_text(source: Source) -> bool:
    """Say whether a source is in the text notation; else it is YAML."""
    suffix = Path(source.name).suffix
    if suffix in (".attn", ".yaml", ".yml"):
        return suffix == ".attn"
    for line in source.text.splitlines():
        words = line.split("#")[0].split()
        if words:
            return not words[0].endswith(":")
    return False


def load_spec(name: str, zoo: Zoo = dict) -> Spec:
    """Read a spec from a path, `-`, or `zoo:name`.

    Raises:
        SpecError: what was read is wrong.
        UsageError: there is no such zoo system.
        EnvironmentLacks: the file cannot be read.
    """
    collector = Collector()
    path: Path | str = name
    shown = ""
    if name.startswith(ZOO):
        path = find_system(name.removeprefix(ZOO), zoo)
        shown = f"{name}{path.suffix}"
    spec = read_spec(path, collector, shown)
    if any(found.code == codes.UNREADABLE.code for found in collector.found):
        raise EnvironmentLacks(collector.found)
    collector.raise_if_any()
    if spec is None:
        raise UsageError([codes.UNREADABLE.at(None, name=name, reason="nothing was read")])
    return spec


def find_system(name: str, zoo: Zoo) -> Path:
    """Return the spec file of a zoo system.

    Raises:
        UsageError: there is none of that name.
    """
    systems = zoo()
    if name not in systems:
        raise UsageError([
            codes.UNKNOWN_ZOO.at(None, name=name, hint=did_you_mean(name, systems))
        ])  # fmt: skip
    return systems[name]
